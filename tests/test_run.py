import hashlib
import json
import resource
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import EARLIER_RUNS, ROOT, small_config

from vaelib import results
from vaelib.config import InputError
from vaelib.models import objective
from vaelib.training import Run, load, seeded, shorter_runs, train, write
from vaelib.training import run as run_module

EARLIER = sorted((EARLIER_RUNS / "digits").iterdir())


def test_a_run_reads_back_what_was_trained(finished_run):
    loaded = Run.load(finished_run.path)
    assert loaded.config.settings() == finished_run.config.settings()
    assert loaded.config.run_path == finished_run.path
    history = loaded.history()
    assert list(history.columns) == ["epoch", "split", "recon", "kl", "loss", "seconds"]
    assert list(zip(history.epoch, history.split, strict=True)) == [
        (epoch, split) for epoch in (1, 2) for split in ("train", "test")
    ]


def test_the_final_numbers_are_the_last_rows(finished_run):
    last = pd.read_csv(finished_run.path / "history.csv").iloc[-1]
    final = finished_run.final()
    assert last.split == "test"
    assert final["negative_elbo_nats"] == pytest.approx(last.recon + last.kl)
    assert final["recon_nats"] == pytest.approx(last.recon)


def test_seconds_leave_out_what_other_work_added(finished_run, tmp_path):
    copy = tmp_path / "digits" / finished_run.path.name
    shutil.copytree(finished_run.path, copy)
    history = pd.read_csv(copy / "history.csv")
    history["seconds"] = [3.0, 9.0, 2.0, 9.0]  # train, test, train, test
    history.to_csv(copy / "history.csv", index=False)
    assert Run.load(copy).train_seconds() == 2 * 2.0


def test_the_stored_weights_give_the_stored_numbers(finished_run, digits):
    """The last row of the history, measured again from the files."""
    terms = objective.elbo_terms(finished_run.model(), digits.test_images, seeded(0, 0, torch.device("cpu")))
    recon, kl = (term.mean().item() for term in terms)
    assert recon == pytest.approx(finished_run.final()["recon_nats"], rel=1e-6)
    assert kl == pytest.approx(finished_run.final()["kl_nats"], rel=1e-6)
    assert finished_run.final()["negative_elbo_nats"] == pytest.approx(recon + kl, rel=1e-6)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no run"):
        Run.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"{", b"{}", b"\xff", b"[]", b'{"settings": {"latent_dim": 0}}', b'{"settings": {}, "provenance": {}}'],
)
def test_a_damaged_config_is_refused(run, content):
    (run.path / "config.json").write_bytes(content)
    with pytest.raises(InputError):
        Run.load(run.path)


def test_an_unfinished_run_gives_no_results(run):
    (run.path / "model.safetensors").unlink()
    for read in (run.model, run.history, run.snapshots, run.final):
        with pytest.raises(InputError, match="not finished"):
            read()


def test_a_directory_with_another_config_is_left_as_it_is(run):
    file = run.path / "config.json"
    file.write_text(file.read_text().replace('"lr": 0.004', '"lr": 0.5'))
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(InputError, match=r"another config \(lr 0.5 there, 0.004 asked\).*--runs-root"):
        train(run.config)
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


@pytest.mark.parametrize("key", ["data_sha256", "code_sha256", "torch"])
def test_an_unfinished_run_of_other_code_or_images_begins_again(key, run, finished_run):
    """Its state would mix two trainings, and its record would name the wrong one."""
    (run.path / "model.safetensors").unlink()
    (run.path / "resume.pt").write_bytes(b"of the other")
    file = run.path / "config.json"
    file.write_text(file.read_text().replace(run.provenance[key], "other"))
    again = train(run.config)
    assert again.provenance[key] == finished_run.provenance[key]
    assert again.final() == finished_run.final()
    assert len(list(run.path.glob("events.out.tfevents*"))) == 1


def test_an_unfinished_run_of_a_preset_since_changed_begins_again(run, finished_run):
    """Its name does not hold what a preset said then."""
    file = run.path / "config.json"
    (run.path / "model.safetensors").unlink()
    file.write_text(file.read_text().replace('"lr": 0.004', '"lr": 0.5'))
    with pytest.raises(InputError, match="another config"):
        train(finished_run.config.__class__.from_mapping(run.config.settings() | {"runs_root": run.config.runs_root}))
    file.write_text(file.read_text().replace(run.provenance["code_sha256"], "of other code"))
    again = train(run.config)
    assert again.final() == finished_run.final()


@pytest.mark.parametrize(
    ("name", "read"), [("history.csv", Run.history), ("snapshots.npz", Run.snapshots), ("model.safetensors", Run.model)]
)
@pytest.mark.parametrize("content", [b"", b"epoch,split\n1,test\n"])
def test_a_damaged_file_is_one_line_that_names_it(name, read, content, run):
    (run.path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is damaged") as caught:
        read(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "read"), [("history.csv", Run.history), ("snapshots.npz", Run.snapshots)])
def test_a_missing_file_is_named(name, read, run):
    (run.path / name).unlink()
    with pytest.raises(InputError, match=f"{name} is damaged"):
        read(run)


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_state_is_named_with_what_to_do(content, run):
    (run.path / "model.safetensors").unlink()
    (run.path / "resume.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"resume.pt is damaged: remove it"):
        train(run.config)


def test_weights_of_another_arch_are_one_line(run, tmp_path):
    other = train(small_config(tmp_path / "other", encoder_widths=(16,), epochs=1))
    (run.path / "model.safetensors").write_bytes((other.path / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="of another model") as caught:
        run.model()
    assert "\n" not in str(caught.value)


def test_a_directory_with_something_else_is_left_as_it_is(tmp_path):
    config = small_config(tmp_path)
    config.run_path.mkdir(parents=True)
    (config.run_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is no run"):
        train(config)
    assert [path.name for path in config.run_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("epoch", [0, 1, 3, -1, "1", True, 1.5])
def test_weights_that_were_not_kept_are_refused_with_those_that_were(epoch, run):
    with pytest.raises(InputError, match=rf"epoch {epoch!r}: accepted of {run.path} is one of 2 \("):
        run.model(epoch)


def test_many_kept_epochs_are_named_in_short(run):
    (run.path / "weights").mkdir()
    for epoch in range(3, 10_001, 2):
        (run.path / f"weights/epoch-{epoch:04d}.safetensors").touch()
    with pytest.raises(InputError, match=r"is one of 2, 3, 5, \.\.\., 9995, 9997, 9999 \("):
        run.model(4)


def test_damaged_kept_weights_are_named(run):
    (run.path / "weights").mkdir()
    (run.path / "weights/epoch-0001.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"weights/epoch-0001.safetensors is damaged"):
        run.model(1)


def test_losses_of_steps_that_were_not_kept_are_refused(run):
    with pytest.raises(InputError, match=r"has no losses of its steps: vaelib train --log-steps keeps them"):
        run.steps()


@pytest.mark.parametrize("content", [b"", b"epoch,split\n1,test\n", b"\xff\n", b"step,epoch,recon,kl,loss\n1,1,\n"])
def test_damaged_losses_of_steps_are_named(content, run):
    (run.path / "steps.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"steps.csv is damaged") as caught:
        run.steps()
    assert "\n" not in str(caught.value)


def test_a_line_of_steps_that_was_cut_off_is_left_out(run):
    (run.path / "steps.csv").write_text("step,epoch,recon,kl,loss\n1,1,0.1,0.2,0.30000000000000004\n2,1")
    assert run.steps().to_dict("records") == [dict(step=1, epoch=1, recon=0.1, kl=0.2, loss=0.30000000000000004)]


def test_a_run_knows_its_folder_wherever_it_is_moved(run, tmp_path):
    moved = tmp_path / "elsewhere" / "digits" / "best"
    moved.parent.mkdir(parents=True)
    run.path.rename(moved)
    found = load(moved)
    assert (found.config.name, found.config.run_path) == ("best", moved)
    assert train(found.config).path == moved


def test_runs_of_given_names_are_found_among_the_others(run, tmp_path):
    """Their models are told apart by their settings, so that seeds of one model stand in one row."""
    root = tmp_path / "runs"
    for name, seed in (("mine", 1), ("yours", 2)):
        train(small_config(root, name=name, seed=seed))
    found = results.find_runs([], str(root), "digits")
    assert [own.path.name for own in found] == [run.path.name, "mine", "yours"]
    assert results.table_by_cell(results.summary(found)).n.tolist() == [3]


def test_shorter_runs_are_those_that_differ_in_fewer_epochs_alone(run, tmp_path):
    root = tmp_path / "runs"
    train(small_config(root, name="mine", epochs=1))
    train(small_config(root, epochs=1, seed=1))
    longer = small_config(root, epochs=3)
    assert [own.path.name for own in shorter_runs(longer)] == [run.path.name, "mine"]
    assert [own.path.name for own in shorter_runs(run.config)] == ["mine"]
    assert shorter_runs(small_config(tmp_path / "empty")) == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write(file, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match=f"No space left on device: '{file}'"):
        write(file, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"old"


def test_a_full_disk_is_one_line_and_what_was_saved_stays(tmp_path):
    """A limit on the size of files stands in for the disk: the first that does not fit fails alike."""
    config = small_config(tmp_path, epochs=1, encoder_widths=(400,))
    arguments = ["train", "--dataset=digits", "--epochs=1", "--encoder-widths=400", f"--runs-root={tmp_path}"]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [sys.executable, "-m", "vaelib.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, cwd=ROOT)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "too large" in done.stderr
    left = {path.name for path in config.run_path.iterdir() if not path.name.startswith("events")}
    assert left <= {"config.json", "history.csv"}
    assert train(config).finished


def test_a_classifier_is_no_run(run):
    (run.path / "config.json").write_text('{"classifier": {}, "provenance": {}}')
    with pytest.raises(InputError, match="is a classifier: accepted is a run"):
        Run.load(run.path)


def test_a_run_is_found_from_inside_its_directory(run, monkeypatch):
    monkeypatch.chdir(run.path)
    assert load(".").path == run.path.resolve()
    (run.path / "more").mkdir()
    monkeypatch.chdir(run.path / "more")
    assert load("..").path == run.path.resolve()
    assert load("..").config.run_name == run.path.name


def test_a_tilde_is_the_home_folder(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.path.parents[2]))
    assert load(f"~/runs/digits/{run.path.name}").path == run.path


def test_the_hash_of_the_weights_is_their_files(run):
    content = (run.path / "model.safetensors").read_bytes()
    assert run.weights_sha256 == hashlib.sha256(content).hexdigest()
    (run.path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="not finished"):
        _ = run.weights_sha256


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.name)
def test_a_run_of_earlier_code_is_read(path, digits):
    run = Run.load(path)
    assert (run.finished, run.shape, run.config.run_name) == (True, (28, 28), path.name)
    assert "shape" not in run.provenance
    history = run.history()
    assert history.epoch.tolist() == [1, 1, 2, 2]
    recon, kl = objective.elbo_terms(run.model(), digits.test_images, seeded(run.config.seed, 0, torch.device("cpu")))
    final = run.final()
    assert final["recon_nats"] == pytest.approx(recon.mean().item(), rel=1e-5)
    assert final["kl_nats"] == pytest.approx(kl.mean().item(), rel=1e-5)
    shots = run.snapshots()
    assert shots["test_recon"].shape == (2, 10, 28, 28)
    np.testing.assert_allclose(shots["test_mu"][-1], run.model().encode(digits.test_images)[0], rtol=1e-4, atol=1e-5)
    assert run.train_seconds() > 0


def test_a_run_of_earlier_code_is_not_trained_again(tmp_path):
    shutil.copytree(EARLIER_RUNS, tmp_path / "runs")
    path = tmp_path / "runs" / "digits" / EARLIER[0].name
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    assert train(Run.load(path).config).path == path
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_a_run_that_lacks_what_is_newer_is_read(run):
    """A setting, and what provenance says of images, machine and code; what is needed of it is older than all runs."""
    file = run.path / "config.json"
    content = json.loads(file.read_text())
    for name in ("threads", "blocks", "output_bias"):
        del content["settings"][name]
    content["provenance"] = {name: content["provenance"][name] for name in ("data_sha256", "parameters", "precision")}
    file.write_text(json.dumps(content))
    older = Run.load(run.path)
    # No default fills in blocks, so that it is the preset's.
    assert older.config == run.config
    assert older.shape == (28, 28)
    assert older.final() == run.final()
    assert torch.equal(older.model().sample(3), run.model().sample(3))


@pytest.mark.parametrize("name", ["data_sha256", "parameters", "precision"])
def test_a_run_that_lacks_what_is_needed_is_damaged(name, run):
    file = run.path / "config.json"
    content = json.loads(file.read_text())
    del content["provenance"][name]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"config.json is damaged: it lacks {name}"):
        Run.load(run.path)


def exchange(tmp_path, *there):
    """A directory, its successor and what is put aside, of which those are there; each holds its own name."""
    path = tmp_path / "run"
    paths = {"run": path, "next": run_module.successor(path), "old": tmp_path / ".run.old"}
    for name in there:
        paths[name].mkdir()
        (paths[name] / "file").write_text(name)
    return path


@pytest.mark.parametrize("there", [("next",), ("run", "next"), ("run", "next", "old")])
def test_a_successor_takes_the_place(there, tmp_path):
    path = exchange(tmp_path, *there)
    run_module.replace(path)
    assert (path / "file").read_text() == "next"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("there", "left"),
    [
        ((), {}),
        (("run",), {"run": "run"}),
        (("run", "next"), {"run": "run", ".run.next": "next"}),  # It may not be whole yet.
        (("next", "old"), {"run": "next"}),  # The kill came between the two renames.
        (("run", "old"), {"run": "run"}),  # The kill came before the last removal.
        (("next",), {".run.next": "next"}),
        (("old",), {}),
    ],
)
def test_a_kill_in_the_middle_of_an_exchange_is_mended(there, left, tmp_path):
    path = exchange(tmp_path, *there)
    run_module.recover(path)
    assert {entry.name: (entry / "file").read_text() for entry in tmp_path.iterdir()} == left
