import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import ROOT, small_config
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from vaelib import InputError, data, models, step, training
from vaelib.config import TrainingConfig
from vaelib.run import Run
from vaelib.settings import ARCHS
from vaelib.training import train

CPU = torch.device("cpu")


def weights(run):
    return torch.cat([p.flatten() for p in run.model().parameters()])


def test_evaluation_equals_torch_distributions(digits, generator):
    model = models.build(TrainingConfig(latent_dim=3, encoder_widths=(16,))).eval()
    images = digits.test_images[:20]
    recon, kl = training.evaluate(model, images, 3, step.seeded(4, 0, CPU))
    with torch.no_grad():
        x = data.as_float(images)
        mu, logvar = model.encode(x)
        q = Independent(Normal(mu, (logvar / 2).exp()), 1)
        eps = torch.randn(mu.shape, generator=step.seeded(4, 0, CPU))
        pixels = Bernoulli(logits=model.decode(mu + q.base_dist.stddev * eps), validate_args=False)
        prior = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
        expected = -Independent(pixels, 3).log_prob(x).mean()
    assert recon == pytest.approx(expected.item(), rel=1e-5)
    assert kl == pytest.approx(kl_divergence(q, prior).mean().item(), rel=1e-5)


def test_the_evaluation_does_not_depend_on_its_batches(digits, monkeypatch):
    model = models.build(TrainingConfig(latent_dim=3, encoder_widths=(16,)))
    whole = training.evaluate(model, digits.test_images, 3, step.seeded(0, 0, CPU))
    monkeypatch.setattr(training, "EVALUATION_BATCH", 90)
    assert training.evaluate(model, digits.test_images, 3, step.seeded(0, 0, CPU)) == pytest.approx(whole, rel=1e-6)


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
def test_a_resumed_run_ends_where_an_undisturbed_one_does(arch, tmp_path, monkeypatch):
    settings = dict(arch=arch, encoder_widths=(8, 8), epochs=3, noise="salt-pepper:0.1")
    undisturbed = train(small_config(tmp_path / "whole", **settings))

    config = small_config(tmp_path / "broken", **settings)
    epoch, calls = training.train_epoch, []

    def interrupted(*arguments):
        calls.append(arguments[-2])
        for index, seen in enumerate(epoch(*arguments)):
            if len(calls) == 2 and index == 3:
                raise KeyboardInterrupt
            yield seen

    monkeypatch.setattr(training, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert (config.run_path / "resume.pt").is_file()
    resumed = train(config)
    assert calls == [1, 2, 2, 3]
    assert not (config.run_path / "resume.pt").exists()
    assert torch.equal(weights(resumed), weights(undisturbed))
    for run in (resumed, undisturbed):
        assert run.history().epoch.tolist() == [1, 1, 2, 2, 3, 3]
    assert np.array_equal(resumed.snapshots()["test_mu"], undisturbed.snapshots()["test_mu"])


def test_a_failed_write_of_the_last_history_loses_nothing(tmp_path, monkeypatch, finished_run):
    config, whole, calls = small_config(tmp_path), training.write, []

    def full(path, content):
        calls.append(path.name)
        if calls.count("history.csv") == 2:
            raise OSError(28, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(training, "write", full)
    with pytest.raises(OSError, match="No space left"):
        train(config)
    monkeypatch.setattr(training, "write", whole)
    assert train(config).final() == finished_run.final()


def test_a_killed_process_goes_on_where_it_was(tmp_path):
    """SIGKILL in the middle of 40 epochs; the weights are those of an undisturbed run."""
    settings = dict(epochs=40, encoder_widths=(16,))
    config = small_config(tmp_path / "killed", **settings)
    command = [sys.executable, "-m", "vaelib.cli", "train", "--dataset=digits", "--epochs=40", "--encoder-widths=16"]
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
    monkeypatch.setattr(training, "_train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("a finished run needs no images"))
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
        mu = model.encode(x)[0]
        shown = model.decode(mu[data.one_per_class(digits.test_labels)]).sigmoid()[:, 0]
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
    train(small_config(tmp_path, epochs=1, threads=2 if threads == 1 else 1))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_held_out_images_are_measured_in_the_place_of_the_test_images(digits, tmp_path):
    run = train(small_config(tmp_path, held_out=200, epochs=1))
    assert run.history().split.tolist() == ["train", "validation"]
    shown = run.snapshots()["test_x"]
    held_out, test = data.hold_out(digits, 200).test_images[:, 0].numpy(), digits.test_images[:, 0].numpy()
    assert all(any(np.array_equal(image, other) for other in held_out) for image in shown)
    assert not any(np.array_equal(shown[0], other) for other in test)
    recon, kl = training.evaluate(run.model(), data.hold_out(digits, 200).test_images, 2, step.seeded(0, 0, CPU))
    assert run.final()["negative_elbo_nats"] == pytest.approx(recon + kl, rel=1e-6)


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
