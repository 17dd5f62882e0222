"""Uses that go through several rooms: studies of what an edition left behind, a run of many settings."""

import json

import nbformat
import pytest
import yaml
from conftest import ROOT

from vaelib import results
from vaelib.cli import main
from vaelib.cli.images import written_to
from vaelib.config import InputError, TrainingConfig, as_text
from workflow.chapters import parameters
from workflow.edition import Edition

EDITION = """
edition: tiny
dataset: digits
archs: [linear, conv]
latent_dims: [2, 10]
seeds: [0, 1]
settings: {epochs: 1, encoder_widths: [8]}
sizes: {latent_dim: 2, parameters: [15_000]}
studies:
  ablation:
    latent_dims: [2]
    arms: {linear: {tuned: {}, ReLU: {activation: relu}}}
"""
STUDIES = {path.stem: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
# A study that the edition below is without has runs of its own, and the museum trains its models itself.
WITHOUT_RUNS = {"train", "museum", "dimensions", "noise", "reports", "start", "weights"}
OVER_RUNS = [
    name for name, template in STUDIES.items() if "runs_root" in parameters(template) and name not in WITHOUT_RUNS
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folders of a finished edition as far as a study opens them: settings, an end, the files of its records."""
    folder = tmp_path_factory.mktemp("finished")
    edition = Edition(yaml.safe_load(EDITION))
    build = folder / edition.build
    for place, config in edition.runs.items():
        made_of = {"data_sha256": "0", "parameters": 1, "precision": "float32"}
        (build / place).mkdir(parents=True)
        (build / place / "config.json").write_text(json.dumps({"settings": config.settings(), "provenance": made_of}))
        (build / place / "model.safetensors").touch()
    for name, content in edition.records().items():
        (build / name).write_text(json.dumps(content))
    return folder, edition


@pytest.fixture
def built(finished, monkeypatch):
    monkeypatch.chdir(finished[0])
    return finished[1]


def test_under_the_runs_of_an_edition_lies_its_grid_and_no_other_run(built):
    runs = results.find_runs([], f"{built.build}/runs", "digits")
    assert [run.config.cell_id for run in runs] == [c.cell_id for c in built.grid]
    assert [run.config.settings() for run in runs] == [c.settings() for c in built.grid]


def test_beside_the_runs_of_an_edition_lie_its_studies_and_its_sizes(built):
    root = f"{built.build}/runs"
    arms = results.read_study("", root, "ablation")
    assert {arch: list(own) for arch, own in arms.items()} == {"linear": ["tuned", "ReLU"]}
    for (arm, paths), root_of_arm in zip(arms["linear"].items(), ("runs", "studies"), strict=True):
        found = results.find_runs(paths, "", "")
        assert [run.config.activation for run in found] == [{"tuned": "gelu", "ReLU": "relu"}[arm]] * 2
        assert {run.path.resolve().parts[-3] for run in found} == {root_of_arm}, "the grid's are not trained twice"
    equal, sized = results.read_sizes("", root)
    assert {arch: len(runs) for arch, runs in equal.items()} == {"conv": 2 * len(built.equal)}
    assert [run.config.arch for run in sized] == ["linear", "linear", "conv", "conv"]


@pytest.mark.parametrize("name", OVER_RUNS)
def test_a_study_finds_the_runs_of_an_edition_by_their_folder_and_data_set(name, built, monkeypatch):
    """As `papermill -p runs_root build/tiny/runs -p dataset digits`, up to where it has found its runs."""

    class Found(Exception):
        pass

    def finding(original):
        def found(*arguments):
            assert original(*arguments)
            raise Found

        return found

    for room, function in ((results, "find_runs"), (results, "read_study"), (results, "read_sizes")):
        monkeypatch.setattr(room, function, finding(getattr(room, function)))
    given, opening, *_ = [cell.source for cell in STUDIES[name].cells if cell.cell_type == "code"]
    namespace = {}
    exec(given, namespace)
    for parameter, value in {"runs_root": f"{built.build}/runs", "dataset": "digits"}.items():
        if parameter in namespace:
            namespace[parameter] = value
    with pytest.raises(Found):
        exec(opening, namespace)


def test_runs_that_do_not_compare_are_refused_by_what_they_differ_in(built):
    with pytest.raises(InputError, match=r"differ in .*encoder_widths"):
        results.find_runs([], f"{built.build}/studies", "digits")


def test_a_run_with_long_values_for_all_its_settings_has_a_folder_of_its_own(tmp_path):
    """A file system takes names of 255 bytes, and a run that is trained again adds to its name for a while."""
    long = dict(
        encoder_widths=[*range(1001, 1009)], decoder_widths=[*range(2001, 2009)], k1=1.000000123, k2=1.23456789,
        kl_warmup=99_999, lr=0.00123456789, schedule="onecycle:0.123456789012", noise="salt-pepper:0.123456789012345",
        epochs=99_999, batch_size=59_999, held_out=29_999, activation="leaky-relu", norm="batch", output_bias="mean",
        precision="bfloat16", threads=256,
    )  # fmt: skip
    assert len("-".join(f"{name}{as_text(value, '.')}" for name, value in long.items())) > 255
    configs = [TrainingConfig(runs_root=str(tmp_path), **long | {"threads": threads}) for threads in (255, 256)]
    assert len({config.run_name for config in configs}) == 2
    for config in configs:
        config.run_path.with_name(f".{config.run_name}.next").mkdir(parents=True)


def test_a_path_with_a_tilde_leads_home_in_every_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text('dataset = "digits"\nepochs = 1\nencoder_widths = 8\nruns_root = "~/runs"\n')
    assert main(["train", "--config=~/c.toml"]) == 0
    run = "~/runs/digits/linear-d2-s0-epochs1-encoder_widths8"
    for command in (
        ["generate", run, "--out=~/a.npy"],
        ["data", "digits:test", "--out=~/b.npy"],
        ["draw", run, "losses", "--out=~/c.png"],
    ):
        assert main(command) == 0, capsys.readouterr().err
    assert main(["info", "~/runs/digits/classifier-s0"]) == 2
    assert "is a classifier" not in capsys.readouterr().err
    assert {"a.npy", "b.npy", "c.png"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "~").exists()


def test_a_long_name_of_a_run_leaves_room_for_the_end_of_a_files_name():
    assert written_to(None, 240 * "x", "-reconstructions.png").name == 200 * "x" + "-reconstructions.png"
