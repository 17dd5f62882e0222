import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import EARLIER_RUNS, ROOT, small_config, write_npz

from vaelib import data
from vaelib.config import ARCHS, InputError, TrainingConfig
from vaelib.models import objective
from vaelib.training import Run, loop, pick_precision, seeded, step, train

CPU = torch.device("cpu")
ARITHMETIC = "d5a7b29238ee762d"  # of the machine that the earlier runs were made on, see arithmetic below


def weights(run):
    return torch.cat([p.flatten() for p in run.model().parameters()])


@pytest.mark.parametrize("arch", ARCHS)
def test_the_same_seed_gives_the_same_weights_to_the_bit(arch, tmp_path):
    widths = {"linear": (32,), "conv": (8, 8), "convbn": (8, 8)}[arch]
    first, second = (
        train(small_config(tmp_path / name, arch=arch, encoder_widths=widths, epochs=1)) for name in ("a", "b")
    )
    assert torch.equal(weights(first), weights(second))


def test_another_seed_gives_other_weights(finished_run, tmp_path):
    assert not torch.equal(weights(finished_run), weights(train(small_config(tmp_path, seed=1))))


@pytest.mark.parametrize("arch", ["linear", "convbn"])
def test_a_resumed_run_ends_where_an_undisturbed_one_does(arch, clothes, tmp_path, monkeypatch):
    dataset = str(write_npz(tmp_path / "clothes.npz", clothes))
    settings = dict(dataset=dataset, arch=arch, encoder_widths=(8, 8), epochs=3, batch_size=18, noise="salt-pepper:0.1")
    undisturbed = train(small_config(tmp_path / "whole", **settings))

    config = small_config(tmp_path / "broken", **settings)
    epoch, calls = loop.train_epoch, []

    def interrupted(*arguments):
        calls.append(arguments[4])
        for index, seen in enumerate(epoch(*arguments)):
            if len(calls) == 2 and index == 3:
                raise KeyboardInterrupt
            yield seen

    monkeypatch.setattr(loop, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert (config.run_path / "resume.pt").is_file()
    resumed = train(config)
    assert calls == [1, 2, 2, 3]
    assert (config.run_path / "resume.pt").exists() == (config.schedule == "constant")
    assert torch.equal(weights(resumed), weights(undisturbed))
    for run in (resumed, undisturbed):
        assert run.history().epoch.tolist() == [1, 1, 2, 2, 3, 3]
    assert np.array_equal(resumed.snapshots()["test_mu"], undisturbed.snapshots()["test_mu"])


def test_a_failed_write_of_the_last_history_loses_nothing(tmp_path, monkeypatch, finished_run):
    config, whole, calls = small_config(tmp_path), loop.write, []

    def full(path, content):
        calls.append(path.name)
        if calls.count("history.csv") == 2:
            raise OSError(28, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(loop, "write", full)
    with pytest.raises(OSError, match="No space left"):
        train(config)
    monkeypatch.setattr(loop, "write", whole)
    assert train(config).final() == finished_run.final()


def test_a_killed_process_goes_on_where_it_was(tmp_path):
    """SIGKILL in the middle of 20 epochs; the weights are those of an undisturbed run."""
    settings = dict(epochs=20, encoder_widths=(16,))
    config = small_config(tmp_path / "killed", **settings)
    command = [sys.executable, "-m", "vaelib.cli", "train", "--dataset=digits", "--epochs=20", "--encoder-widths=16"]
    process = subprocess.Popen([*command, f"--runs-root={tmp_path / 'killed'}"], cwd=ROOT)
    while process.poll() is None and not (config.run_path / "resume.pt").exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (config.run_path / "model.safetensors").exists()
    seconds = time.time_ns()
    resumed = train(config)
    assert resumed.path.joinpath("config.json").stat().st_mtime_ns < seconds, "it began again"
    assert torch.equal(weights(resumed), weights(train(small_config(tmp_path / "whole", **settings))))


@pytest.mark.slow
@pytest.mark.skipif("VAELIB_DATA" not in os.environ, reason="$VAELIB_DATA names no folder with MNIST")
def test_the_textbook_model_reaches_its_known_likelihood_in_little_memory(tmp_path):
    """784-400-20, batch 128, Adam 1e-3, 10 epochs: pytorch/examples prints 105.6 on the test images."""
    program = (
        "import resource, sys; from vaelib.cli import main; code = main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )
    arguments = ["train", "--preset=textbook", "--latent-dim=20", "--epochs=10", f"--runs-root={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    run, kilobytes = done.stdout.splitlines()[-2:]
    assert Run.load(run).final()["negative_elbo_nats"] < 107
    if sys.platform == "linux":
        assert int(kilobytes) < 1.5e6


@pytest.mark.slow
@pytest.mark.skipif("VAELIB_DATA" not in os.environ, reason="$VAELIB_DATA names no folder with MNIST")
@pytest.mark.parametrize(("arch", "below"), [("linear", 98.5), ("conv", 95)])
def test_a_tuned_model_reaches_its_likelihood(arch, below, tmp_path):
    run = train(TrainingConfig(arch=arch, latent_dim=10, runs_root=str(tmp_path)))
    assert run.final()["negative_elbo_nats"] < below


def test_a_finished_run_is_not_trained_again(run, monkeypatch):
    monkeypatch.setattr(loop, "_train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(loop.sets, "load", lambda *_: pytest.fail("a finished run needs no images"))
    assert train(run.config).path == run.path


def test_snapshots_follow_the_same_images_through_every_epoch(finished_run, digits):
    shots = finished_run.snapshots()
    assert shots["test_recon"].shape == shots["train_recon"].shape == (2, 10, 28, 28)
    assert shots["test_mu"].shape == (2, 360, 2)
    assert shots["test_labels"].tolist() == digits.test_labels.tolist()
    for split, images, labels in (
        ("train", digits.train_images, digits.train_labels),
        ("test", digits.test_images, digits.test_labels),
    ):
        assert np.array_equal(shots[f"{split}_x"], images[data.one_per_class(labels), 0])
    model = finished_run.model()
    with torch.no_grad():
        x = data.as_float(digits.test_images)
        mu = model.posterior(x)[0]
        shown = model.logits(mu[data.one_per_class(digits.test_labels)]).sigmoid()[:, 0]
    np.testing.assert_allclose(shots["test_mu"][-1], mu, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(shots["test_recon"][-1] / 255, shown, atol=0.6 / 255)


def test_tensorboard_holds_the_history(finished_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished_run.path)).Reload()
    history = finished_run.history()
    for split in ("train", "test"):
        for term in ("recon", "kl", "loss"):
            written = [event.value for event in events.Scalars(f"{split}/{term}")]
            assert written == pytest.approx(history[history.split == split][term].tolist(), rel=1e-5)


def test_bfloat16_is_used_and_close_to_float32(tmp_path):
    runs = [train(small_config(tmp_path, epochs=1, precision=precision)) for precision in ("float32", "bfloat16")]
    a, b = (run.final()["negative_elbo_nats"] for run in runs)
    assert a != b
    assert a == pytest.approx(b, rel=0.02)


def test_a_loss_that_is_no_number_stops_and_says_what_to_lower(tmp_path):
    with pytest.raises(InputError, match=r"not a number after epoch 1: lower lr 10"):
        train(small_config(tmp_path, lr=10.0, epochs=3, arch="linear", encoder_widths=(400, 400)))


def test_the_callers_threads_and_generator_are_put_back(tmp_path):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(small_config(tmp_path, epochs=1, batch_size=700, threads=2 if threads == 1 else 1))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_held_out_images_are_measured_in_the_place_of_the_test_images(digits, tmp_path):
    run = train(small_config(tmp_path, held_out=200, epochs=1))
    assert run.history().split.tolist() == ["train", "validation"]
    shown = run.snapshots()["test_x"]
    held_out, test = data.hold_out(digits, 200).test_images[:, 0].numpy(), digits.test_images[:, 0].numpy()
    assert all(any(np.array_equal(image, other) for other in held_out) for image in shown)
    assert not any(np.array_equal(shown[0], other) for other in test)
    recon, kl = objective.elbo_terms(run.model(), data.hold_out(digits, 200).test_images, seeded(0, 0, CPU))
    assert run.final()["negative_elbo_nats"] == pytest.approx((recon + kl).mean().item(), rel=1e-6)


def test_the_schedule_goes_on_where_it_was(tmp_path, monkeypatch):
    """Its rate is that of the step among all the steps, not of the steps since a start."""
    rates = []
    set_rate = step.set_rate
    monkeypatch.setattr(step, "set_rate", lambda optimizer, rate: (rates.append(rate), set_rate(optimizer, rate)))
    config = small_config(tmp_path, epochs=4, batch_size=500)
    train(config)
    assert rates == pytest.approx([step.learning_rate(config, (index + 0.5) / 12) for index in range(12)])


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_batch_of_one_image_is_refused_for_batch_norm(batch_size, tmp_path):
    """4 leaves one of the 1,437 digits for the last batch."""
    config = small_config(tmp_path, norm="batch", batch_size=batch_size)
    with pytest.raises(InputError, match=f"batch_size {batch_size}: batch norm cannot learn from a batch of one"):
        train(config)
    assert not config.run_path.exists()


def test_settings_by_name_are_a_config(finished_run, monkeypatch):
    monkeypatch.setattr(loop, "_train", lambda *_: pytest.fail("trained again"))
    settings = dict(dataset="digits", epochs="2", encoder_widths=[32], runs_root=finished_run.config.runs_root)
    assert train(**settings).path == finished_run.path
    with pytest.raises(InputError, match="a config and epochs: accepted is one of the two"):
        train(finished_run.config, epochs=3)
    with pytest.raises(InputError, match="unknown setting 'z_dim'"):
        train(z_dim=2)


def test_training_shows_nothing_where_there_is_no_terminal(tmp_path, capfd):
    train(small_config(tmp_path, epochs=1))
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def own_runs(clothes, tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    settings = dict(dataset=clothes, epochs=2, encoder_widths=(8,), batch_size=32, runs_root=str(root))
    return [train(arch=arch, **settings) for arch in ARCHS]


def test_every_architecture_learns_own_images(own_runs, clothes):
    for run, arch in zip(own_runs, ARCHS, strict=True):
        assert run.path == run.path.parents[1] / "clothes" / f"{arch}-d2-s0-epochs2-batch_size32-encoder_widths8"
        assert run.config.dataset == "./clothes"
        assert run.shape == run.model().shape == (12, 12)
        assert run.provenance["data_sha256"] == clothes.checksum
        terms = objective.elbo_terms(run.model(), clothes.test_images, seeded(0, 0, CPU))
        assert run.final()["negative_elbo_nats"] == pytest.approx(sum(terms).mean().item(), rel=1e-5)
        first, last = run.history().query("split == 'test'").loss
        assert last < first
        shots = run.snapshots()
        assert shots["test_recon"].shape == (2, 3, 12, 12)
        assert np.array_equal(shots["test_x"], clothes.test_images[data.one_per_class(clothes.test_labels), 0])


def test_the_same_images_are_the_same_run_wherever_they_lie(own_runs, clothes, tmp_path, monkeypatch):
    """Arrays, and files of the same images in two folders."""
    monkeypatch.setattr(loop, "_train", lambda *_: pytest.fail("trained again"))
    run = own_runs[0]
    settings = run.config.settings() | {"runs_root": run.config.runs_root}
    paths = [str(write_npz(tmp_path / folder / "clothes.npz", clothes)) for folder in ("a", "b")]
    for dataset in (clothes, *paths):
        assert train(**(settings | {"dataset": dataset})).path == run.path


def test_a_path_trains_what_its_images_do(own_runs, clothes, tmp_path):
    path = write_npz(tmp_path / "clothes.npz", clothes)
    settings = own_runs[0].config.settings() | dict(dataset=str(path), runs_root=str(tmp_path))
    run = train(TrainingConfig(**settings))
    assert run.config.dataset == str(path)
    assert torch.equal(weights(run), weights(own_runs[0]))


def test_other_images_of_the_same_name_are_refused(own_runs, clothes, tmp_path):
    run = own_runs[0]
    before = (run.path / "model.safetensors").read_bytes()
    path = write_npz(tmp_path / "clothes.npz", data.hold_out(clothes, 20))
    config = TrainingConfig(**(run.config.settings() | dict(dataset=str(path), runs_root=run.config.runs_root)))
    with pytest.raises(InputError, match=r"learnt other images of that name: give another --runs-root or --name"):
        train(config)
    assert (run.path / "model.safetensors").read_bytes() == before


def test_images_that_borrow_a_known_name_are_refused(digits, finished_run, tmp_path):
    """A finished run of a known set is given back without a look at the images."""
    settings = dict(epochs=2, encoder_widths=(32,), runs_root=finished_run.config.runs_root)
    assert train(dataset=digits, **settings).path == finished_run.path
    with pytest.raises(InputError, match="images named digits that are not that set: accepted is a name of their own"):
        train(dataset=data.hold_out(digits, 10), **(settings | {"runs_root": str(tmp_path)}))
    assert list(tmp_path.iterdir()) == []


def outdate(run, key="code_sha256"):
    """Makes the run one of other code, and its weights twice what they were."""
    file = run.path / "config.json"
    content = json.loads(file.read_text())
    content["provenance"][key] = "other"
    file.write_text(json.dumps(content))
    path = run.path / "model.safetensors"
    state = {name: 2 * tensor for name, tensor in safetensors.torch.load_file(path).items()}
    path.write_bytes(safetensors.torch.save(state))


def stop_at_epoch(monkeypatch, last, during=lambda: None):
    """Training stops at that epoch, as by a full disk; the epochs that were begun."""
    epoch, begun = step.train_epoch, []

    def stopped(*arguments):
        begun.append(arguments[4])
        during()
        if arguments[4] == last:
            raise OSError(28, "No space left on device")
        yield from epoch(*arguments)

    monkeypatch.setattr(loop, "train_epoch", stopped)
    return begun


def test_renewing_what_is_up_to_date_trains_nothing(run, monkeypatch):
    monkeypatch.setattr(loop, "_train", lambda *_: pytest.fail("trained again"))
    before = {path: path.stat().st_mtime_ns for path in run.path.iterdir()}
    assert train(run.config, renew=True) == run
    assert {path: path.stat().st_mtime_ns for path in run.path.iterdir()} == before


def test_a_run_of_other_code_is_given_back_unless_its_renewal_is_asked_for(run, finished_run, monkeypatch):
    outdate(run)
    held = weights(run)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_train", lambda *_: pytest.fail("trained again"))
        assert torch.equal(weights(train(run.config)), held)
    again = train(run.config, renew=True)
    assert again.path == run.path
    assert again.provenance["code_sha256"] == finished_run.provenance["code_sha256"]
    assert torch.equal(weights(again), weights(finished_run))
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


@pytest.mark.parametrize("key", ["data_sha256", "torch"])
def test_other_images_and_another_torch_make_a_run_out_of_date_too(key, run, finished_run):
    outdate(run, key)
    assert torch.equal(weights(train(run.config, renew=True)), weights(finished_run))


def test_a_run_stays_until_its_successor_is_whole(run, finished_run, monkeypatch):
    outdate(run)
    (run.path / "metrics.json").write_text("{}")
    held = {path.name: path.read_bytes() for path in run.path.iterdir()}

    def is_there():
        there = Run.load(run.path)
        assert there.provenance["code_sha256"] == "other"
        assert torch.equal(weights(there), 2 * weights(finished_run))
        assert there.final() == finished_run.final()

    begun = stop_at_epoch(monkeypatch, 2, is_there)
    with pytest.raises(OSError, match="No space left"):
        train(run.config, renew=True)
    assert begun == [1, 2]
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == held
    assert train(run.config).provenance["code_sha256"] == "other"

    begun = stop_at_epoch(monkeypatch, None)
    again = train(run.config, renew=True)
    assert begun == [2], "it went on where it was"
    assert again.provenance["code_sha256"] == finished_run.provenance["code_sha256"]
    assert torch.equal(weights(again), weights(finished_run))
    assert not (run.path / "metrics.json").exists(), "they were of the other weights"
    assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


@pytest.mark.parametrize("renew", [True, False])
@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_in_the_middle_of_the_exchange_is_mended(renames, renew, run, finished_run, monkeypatch):
    """The successor is whole. It is killed before the first rename or between the two."""
    outdate(run)
    rename, done = type(run.path).rename, []

    def killed(self, target):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(run.path), "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            train(run.config, renew=True)
    assert run.path.exists() == (renames == 0)
    monkeypatch.setattr(loop, "_train", lambda *_: pytest.fail("trained again"))
    again = train(run.config, renew=renew)
    renewed = renew or renames == 1
    assert torch.equal(weights(again), weights(finished_run) * (1 if renewed else 2))
    assert (again.provenance["code_sha256"] == "other") == (not renewed)
    if renewed:
        assert [path.name for path in run.path.parent.iterdir()] == [run.path.name]


def test_a_whole_successor_that_has_gone_out_of_date_too_is_trained_again(run, finished_run, monkeypatch):
    outdate(run)
    successor = run.path.with_name(f".{run.path.name}.next")
    shutil.copytree(run.path, successor)
    (successor / "config.json").write_text((run.path / "config.json").read_text().replace('"other"', '"a third"'))
    begun = stop_at_epoch(monkeypatch, None)
    again = train(run.config, renew=True)
    assert begun == [1, 2]
    assert torch.equal(weights(again), weights(finished_run))


def test_an_unfinished_run_that_shall_be_renewed_goes_on(tmp_path, finished_run, monkeypatch):
    config = small_config(tmp_path)
    stop_at_epoch(monkeypatch, 2)
    with pytest.raises(OSError, match="No space left"):
        train(config, renew=True)
    begun = stop_at_epoch(monkeypatch, None)
    assert torch.equal(weights(train(config, renew=True)), weights(finished_run))
    assert begun == [2]


def arithmetic():
    """A hash of what this machine makes of a few steps in plain torch: two of the same hash round alike."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(784, 8), torch.nn.LayerNorm(8), torch.nn.GELU(), torch.nn.Linear(8, 784)]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3, fused=True)
    for _ in range(5):
        x = torch.rand(128, 784)
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(x), x, reduction="sum").backward()
        optimizer.step()
    return hashlib.sha256(torch.cat([p.detach().flatten() for p in model.parameters()]).numpy()).hexdigest()


@pytest.mark.parametrize("earlier", sorted((EARLIER_RUNS / "digits").iterdir()), ids=lambda path: path.name)
def test_a_config_trains_to_the_weights_that_it_did_earlier(earlier, tmp_path):
    """The same bits as before the code was last rearranged."""
    earlier = Run.load(earlier)
    here = {"torch": torch.__version__, "precision": pick_precision("auto", CPU)}
    if differing := [key for key in here if earlier.provenance[key] != here[key]]:
        pytest.skip(f"the earlier runs are of another {' and '.join(differing)}")
    if arithmetic()[:16] != ARITHMETIC:
        pytest.skip("this processor rounds otherwise than the one that the earlier runs were made on")
    settings = earlier.config.settings() | {"runs_root": str(tmp_path), "device": "cpu"}
    again = train(TrainingConfig(**settings))
    assert torch.equal(weights(again), weights(earlier))
    assert again.final() == earlier.final()
    assert again.final("train") == earlier.final("train")


def test_a_run_whose_preset_has_changed_is_renewed_and_not_refused(run):
    """Its name is the same, as a name has what is not the preset's; its settings are others."""
    file, before = run.path / "config.json", run.weights_sha256
    content = json.loads(file.read_text())
    content["settings"]["lr"] = 0.5
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="holds another config"):
        train(run.config)
    renewed = train(run.config, renew=True)
    assert renewed.config.lr == run.config.lr
    assert renewed.weights_sha256 == before


def test_two_configs_never_share_a_name(tmp_path, monkeypatch):
    settings = dict(runs_root=tmp_path, name="my-exp", epochs=1)
    first = train(small_config(**settings))
    assert first.path == tmp_path / "digits" / "my-exp"
    monkeypatch.setattr(loop, "_train", lambda *_: pytest.fail("trained"))
    assert train(small_config(**settings)) == first
    before = {file.name: file.read_bytes() for file in first.path.iterdir()}
    other = small_config(**settings, lr=0.5)
    for renew in (False, True):
        with pytest.raises(InputError, match=r"another config \(lr 0.004 there, 0.5 asked\): give another --name"):
            train(other, renew=renew)
    (first.path / "model.safetensors").unlink()
    del before["model.safetensors"]
    outdated = (first.path / "config.json").read_text().replace(first.provenance["code_sha256"], "other")
    for text in (None, outdated):
        if text:
            (first.path / "config.json").write_text(text)
            before["config.json"] = text.encode()
        with pytest.raises(InputError, match=r"another config \(lr"):
            train(other)
        assert {file.name: file.read_bytes() for file in first.path.iterdir()} == before


def test_a_name_that_another_config_would_be_given_is_its_first_owners(tmp_path):
    """Also when the other config's run shall be renewed."""
    own = train(small_config(tmp_path, epochs=1, name="linear-d3-s0-epochs1-encoder_widths32"))
    for renew in (False, True):
        with pytest.raises(InputError, match=r"another config \(latent_dim 2 there, 3 asked\)"):
            train(small_config(tmp_path, epochs=1, latent_dim=3), renew=renew)
    assert Run.load(own.path) == own


def test_a_run_of_a_given_name_is_renewed_in_its_folder(tmp_path, finished_run):
    config = small_config(tmp_path, name="my-exp", keep_every=1, log_steps=True)
    first = train(config)
    outdate(first)
    (first.path / "weights/epoch-0001.safetensors").write_bytes(b"of other code")
    again = train(config, renew=True)
    assert [path.name for path in again.path.parent.iterdir()] == ["my-exp"]
    assert again.config == config
    assert torch.equal(weights(again), weights(finished_run))
    assert torch.equal(flat(again.model(2)), weights(again))
    assert not torch.equal(flat(again.model(1)), weights(again))
    assert json.loads((again.path / "config.json").read_text())["name"] == "my-exp"


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def contents(run, *left_out):
    """What a run's directory holds, but for what names a moment: TensorBoard's files, seconds and given names."""
    files = [file for file in run.path.rglob("*") if file.is_file() and not file.name.startswith("events")]
    left_out = {"config.json", "history.csv", "resume.pt", *left_out}
    held = {str(file.relative_to(run.path)): file.read_bytes() for file in files if file.name not in left_out}
    return held | {"history": run.history().drop(columns="seconds").to_csv()}


def scalars(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path)).Reload()
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


KEPT = dict(epochs=4, keep_every=2, log_steps=True, encoder_widths=(16,), batch_size=256)


@pytest.fixture(scope="module")
def constant(tmp_path_factory):
    """Four epochs at a constant rate, with all that is kept beside the weights."""
    return train(small_config(tmp_path_factory.mktemp("constant"), schedule="constant", **KEPT))


def test_what_is_kept_beside_changes_no_weight(constant, tmp_path):
    plain = train(small_config(tmp_path, **(KEPT | dict(keep_every=0, log_steps=False, schedule="constant"))))
    assert plain.path.name == constant.path.name
    assert plain.weights_sha256 == constant.weights_sha256
    assert contents(plain) == {
        name: held for name, held in contents(constant, "steps.csv").items() if not name.startswith("weights/")
    }
    assert not any(tag.startswith("step/") for tag in scalars(plain))


def test_kept_weights_are_those_of_their_epoch(constant, tmp_path):
    """Against a training that ends there, as the rate is constant."""
    assert sorted(file.name for file in (constant.path / "weights").iterdir()) == [
        "epoch-0002.safetensors",
        "epoch-0004.safetensors",
    ]
    two = train(small_config(tmp_path, schedule="constant", **(KEPT | dict(epochs=2))))
    assert (constant.path / "weights/epoch-0002.safetensors").read_bytes() == two.path.joinpath(
        "model.safetensors"
    ).read_bytes()
    assert torch.equal(flat(constant.model(2)), weights(two))
    assert torch.equal(flat(constant.model(epoch=4)), weights(constant))
    assert not constant.model(2).training


def test_losses_of_steps_are_in_the_table_and_in_tensorboard(constant):
    steps = constant.steps()
    assert list(steps) == ["step", "epoch", "recon", "kl", "loss"]
    assert steps.step.tolist() == list(range(1, 25))
    assert steps.epoch.tolist() == [epoch for epoch in (1, 2, 3, 4) for _ in range(6)]
    assert steps.loss.tolist() == (steps.recon + steps.kl).tolist()
    assert steps.loss.groupby(steps.epoch).mean().is_monotonic_decreasing
    for term in ("recon", "kl", "loss"):
        assert scalars(constant)[f"step/{term}"] == list(zip(steps.step, steps[term], strict=True))


@pytest.mark.parametrize("schedule", ["constant", "onecycle:0.3"])
def test_a_killed_training_keeps_what_it_would_have_kept(schedule, constant, tmp_path, monkeypatch):
    """The kill comes after the third epoch's losses were appended, and in the middle of a line."""
    whole = train(small_config(tmp_path / "whole", schedule=schedule, **KEPT))
    config = small_config(tmp_path / "killed", schedule=schedule, **KEPT)
    save = loop._save

    def killed(run, model, optimizer, epoch, *more):
        if epoch == 3:
            with open(run.path / "steps.csv", "a") as file:
                file.write("19,1")
            raise KeyboardInterrupt
        save(run, model, optimizer, epoch, *more)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    resumed = train(config)
    assert contents(resumed) == contents(whole)
    assert scalars(resumed) == scalars(whole)
    if schedule == "constant":
        assert contents(whole) == contents(constant)


def test_a_run_that_is_begun_again_has_nothing_of_the_first(tmp_path, monkeypatch):
    config = small_config(tmp_path, **KEPT)
    stop_at_epoch(monkeypatch, 4)
    with pytest.raises(OSError, match="No space left"):
        train(config)
    monkeypatch.undo()
    file = config.run_path / "config.json"
    file.write_text(file.read_text().replace(Run.load(config.run_path).provenance["code_sha256"], "other"))
    (config.run_path / "weights/epoch-0003.safetensors").write_bytes(b"of the first")
    again = train(small_config(tmp_path, **(KEPT | dict(log_steps=False))))
    assert again.kept_epochs() == [2, 4]
    assert not (again.path / "steps.csv").exists()
    assert not any(tag.startswith("step/") for tag in scalars(again))


def test_an_interrupted_run_keeps_from_then_on_what_is_asked_of_it(tmp_path, monkeypatch):
    stop_at_epoch(monkeypatch, 3)
    with pytest.raises(OSError, match="No space left"):
        train(small_config(tmp_path, **(KEPT | dict(keep_every=0, log_steps=False))))
    monkeypatch.undo()
    run = train(small_config(tmp_path, **(KEPT | dict(keep_every=1))))
    assert run.kept_epochs() == [3, 4]
    assert sorted(set(run.steps().epoch)) == [3, 4]
    assert run.config.extras() == {"keep_every": 1, "log_steps": True}
    assert run.lacks(run.config, 4) == ["the weights after every 1 epochs", "the losses of every step"]


@pytest.mark.parametrize("arch", ["linear", "convbn"])
def test_a_longer_run_goes_on_from_a_shorter_one_to_the_same_bits(arch, tmp_path, monkeypatch):
    settings = KEPT | dict(arch=arch, encoder_widths=(8, 8), schedule="constant", noise="gaussian:0.2", keep_every=1)
    whole = train(small_config(tmp_path / "whole", **settings))
    shorter = train(small_config(tmp_path / "apart", **(settings | dict(epochs=2, name="short"))))
    train(small_config(tmp_path / "apart", **(settings | dict(epochs=1))))
    before = {file: file.read_bytes() for file in shorter.path.rglob("*") if file.is_file()}
    begun = stop_at_epoch(monkeypatch, None)
    longer = train(small_config(tmp_path / "apart", **settings))
    assert begun == [3, 4]
    assert longer.weights_sha256 == whole.weights_sha256
    assert contents(longer) == contents(whole)
    assert scalars(longer) == scalars(whole)
    assert {file: file.read_bytes() for file in shorter.path.rglob("*") if file.is_file()} == before
    assert shorter.finished


def test_a_longer_run_of_a_longer_one_goes_on_too(tmp_path, monkeypatch):
    begun = stop_at_epoch(monkeypatch, None)
    runs = [train(small_config(tmp_path, epochs=epochs, schedule="constant")) for epochs in (1, 2, 3)]
    assert begun == [1, 2, 3]
    whole = train(small_config(tmp_path / "whole", epochs=3, schedule="constant"))
    assert runs[-1].weights_sha256 == whole.weights_sha256


def spoilt(run, change):
    file = run.path / "config.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("key", ["data_sha256", "code_sha256", "device", "precision", "torch"])
def test_a_shorter_run_that_was_made_in_another_way_is_not_gone_on_from(key, tmp_path, monkeypatch):
    shorter = train(small_config(tmp_path, epochs=1, schedule="constant"))
    spoilt(shorter, lambda content: content["provenance"].update({key: "other"}))
    begun = stop_at_epoch(monkeypatch, None)
    train(small_config(tmp_path, schedule="constant"))
    assert begun == [1, 2]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (dict(schedule="onecycle:0.3"), dict(schedule="onecycle:0.3")),
        (dict(), dict(seed=1)),
        (dict(), dict(lr=0.01)),
        (dict(epochs=3), dict()),
        (dict(), dict(keep_every=1, log_steps=True)),
        (dict(), dict(keep_every=1)),
        (dict(keep_every=1), dict(log_steps=True)),
    ],
)
def test_a_run_that_differs_in_more_than_fewer_epochs_is_not_gone_on_from(first, then, tmp_path, monkeypatch):
    """Nor one that lacks what the longer run is to keep; two epochs are kept here of which the second is the last."""
    constant = dict(schedule="constant", epochs=2)
    train(small_config(tmp_path, **(constant | first)))
    begun = stop_at_epoch(monkeypatch, None)
    train(small_config(tmp_path, **(constant | dict(epochs=3 if first.get("epochs") != 3 else 2) | then)))
    assert begun[0] == 1


def test_the_last_weights_of_a_shorter_run_are_kept_as_those_of_their_epoch(tmp_path, monkeypatch):
    shorter = train(small_config(tmp_path, schedule="constant"))
    begun = stop_at_epoch(monkeypatch, None)
    longer = train(small_config(tmp_path, schedule="constant", epochs=4, keep_every=2))
    assert begun == [3, 4]
    assert longer.kept_epochs() == [2, 4]
    assert torch.equal(flat(longer.model(2)), weights(shorter))


def test_a_shorter_run_without_its_state_is_not_gone_on_from(tmp_path, monkeypatch):
    """As runs of earlier versions are, and beside what is no run."""
    shorter = train(small_config(tmp_path, epochs=1, schedule="constant"))
    (shorter.path / "resume.pt").unlink()
    for name, content in (("classifier-s0", '{"classifier": {}}'), ("spoilt", "{")):
        (shorter.path.parent / name).mkdir()
        (shorter.path.parent / name / "config.json").write_text(content)
        (shorter.path.parent / name / "model.safetensors").write_bytes(b"")
    begun = stop_at_epoch(monkeypatch, None)
    train(small_config(tmp_path, schedule="constant"))
    assert begun == [1, 2]


def test_a_kill_before_the_state_of_the_shorter_run_was_there_begins_at_the_start(constant, tmp_path, monkeypatch):
    settings = KEPT | dict(schedule="constant")
    train(small_config(tmp_path, **(settings | dict(epochs=2))))
    config, whole = small_config(tmp_path, **settings), loop.write

    def killed(path, content):
        if path.name == "resume.pt":
            raise KeyboardInterrupt
        whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert (config.run_path / "steps.csv").exists()
    begun = stop_at_epoch(monkeypatch, None)
    assert contents(train(config)) == contents(constant)
    assert begun == [1, 2, 3, 4]
