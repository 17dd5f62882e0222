"""Staging pages, and Snakemake's idea of what is out of date, on an edition of two tiny cells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

STAGE = [sys.executable, str(ROOT / "workflow" / "stage.py")]
EDITION = """
edition: tiny
dataset: digits
archs: [linear, conv]
latent_dims: [2, 3]
seeds: [0]
settings: {epochs: 1, encoder_widths: [8]}
classifier: {epochs: 1}
evaluation: {draws: 1, images: 10, resamplings: 1}
sizes: {latent_dim: 2, parameters: []}
ablation:
  settings: {held_out: 200}
  latent_dims: [2]
  seeds: [0, 1]
  changes: {linear: {ReLU: {activation: relu}}}
"""


def stage(notebook, tmp_path, name="conv-d10-s0"):
    nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    command = [*STAGE, "pages", f"{name}.ipynb"]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


def page(outputs=()):
    figure = {"figure": {"caption": "A curve.", "name": "losses"}}
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Title of the template\n\nWhat you will see."),
            new_code_cell('arch = "linear"\nlatent_dim = 2\nruns_root = "runs"', metadata={"tags": ["parameters"]}),
            new_code_cell('arch = "conv"\nlatent_dim = 10', metadata={"tags": ["injected-parameters"]}),
            new_markdown_cell("The map", metadata={"tags": ["only-latent_dim-2"]}),
            new_code_cell("1 + 1", outputs=list(outputs), metadata={"mystnb": figure, "papermill": {"duration": 1}}),
        ]
    )
    notebook.metadata.update(
        kernelspec={"name": "python3", "display_name": "Python 3"}, language_info={"name": "python"}
    )
    notebook.metadata["papermill"] = {"input_path": "/home/someone/train.ipynb"}
    return notebook


def test_a_page_has_its_own_title_labels_and_settings(tmp_path):
    assert stage(page(), tmp_path).returncode == 0
    staged = nbformat.read(tmp_path / "pages" / "conv-d10-s0.ipynb", as_version=4)
    nbformat.validate(staged)
    assert staged.cells[0].source == "# conv, d = 10\n\nWhat you will see."
    assert "| `arch` | conv | `latent_dim` | 10 |  |  |" in staged.cells[1].source
    assert "runs_root" not in staged.cells[1].source
    assert [cell.cell_type for cell in staged.cells] == ["markdown", "markdown", "code"]
    assert staged.cells[2].metadata.mystnb.figure.name == "conv-d10-s0-losses"
    assert "papermill" not in staged.cells[2].metadata
    assert "papermill" not in staged.metadata


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (new_output("error", ename="ValueError", evalue="no", traceback=[]), "failed: ValueError: no"),
        (new_output("stream", name="stderr", text="x.py:1: SomeWarning: old\n"), "printed to stderr"),
        (new_output("stream", name="stdout", text="saved in {here}/runs\n"), "path of this machine"),
    ],
)
def test_a_page_that_a_reader_must_not_meet_is_refused(output, expected, tmp_path):
    if "text" in output:
        output.text = output.text.format(here=tmp_path)
    done = stage(page([output]), tmp_path)
    assert done.returncode == 1
    assert expected in done.stderr
    assert not (tmp_path / "pages").exists()


def test_the_contents_name_the_editions_own_cells_in_its_order(tmp_path):
    cells = ["linear-d20-s0", "conv-d2-s1", "convbn-d5-s0"]
    command = [sys.executable, ROOT / "workflow" / "toc.py", ROOT / "book" / "_toc.yml", tmp_path / "_toc.yml", *cells]
    assert subprocess.run(command).returncode == 0
    toc = yaml.safe_load((tmp_path / "_toc.yml").read_text())
    parts = {part["caption"]: [chapter["file"] for chapter in part["chapters"]] for part in toc["parts"]}
    assert parts["The fully connected models"] == ["pages/linear-d20-s0"]
    assert parts["The convolutional models"] == ["pages/conv-d2-s1"]
    assert parts["Further models"] == ["pages/convbn-d5-s0"]
    assert parts["What was measured"][0] == "pages/grid"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, to be edited, with a tiny edition."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("vaelib", "workflow", "notebooks", "profiles", "bench"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns("pages", "_build"))
    for name in ("Snakefile", "_config.yml"):
        shutil.copy(ROOT / name, folder)
    (folder / "editions").mkdir()
    (folder / "editions" / "tiny.yaml").write_text(EDITION)
    return folder


PAGES = ("linear-d2-s0", "linear-d3-s0", "grid", "ablation", "equal")
TARGETS = [f"build/tiny/executed/{page}.ipynb" for page in PAGES]


def snakemake(project, *arguments):
    command = [sys.executable, "-m", "snakemake", *TARGETS, "--configfile", "editions/tiny.yaml", *arguments]
    # the copy, not the installed library
    env = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(command, capture_output=True, text=True, cwd=project, env=env)


def planned(project) -> set[str]:
    """Names of the rules that a build would run now."""
    done = snakemake(project, "--dry-run", "--quiet", "host")
    assert done.returncode == 0, done.stderr
    return {
        line.split()[-1].rstrip(":") for line in done.stdout.splitlines() if line.startswith(("rule ", "localrule "))
    }


@pytest.fixture(scope="module")
def built(project):
    """The edition, whose first try meets a directory that holds something else where one run should be."""
    spoilt = project / "build/tiny/runs/digits/linear-d2-s0-epochs1-encoder_widths8"
    spoilt.mkdir(parents=True)
    (spoilt / "thesis.tex").write_text("years of work")
    first = snakemake(project)
    assert (spoilt / "thesis.tex").read_text() == "years of work"
    shutil.rmtree(spoilt)
    trained = project / "build/tiny/runs/digits/linear-d3-s0-epochs1-encoder_widths8/model.safetensors"
    before = trained.stat().st_mtime_ns
    second = snakemake(project)
    assert second.returncode == 0, second.stderr
    assert trained.stat().st_mtime_ns == before
    return first


def test_one_failed_cell_leaves_the_others_running_and_is_named(built, project):
    assert built.returncode != 0
    said = built.stdout + built.stderr
    assert "linear-d2-s0-epochs1-encoder_widths8" in said
    assert "build/tiny/logs/linear-d2-s0-epochs1-encoder_widths8.log" in said
    assert "is no run" in said
    assert (project / "build/tiny/executed/linear-d3-s0.ipynb").is_file()


def test_a_second_run_does_nothing(built, project):
    assert planned(project) == set()


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("vaelib/training.py", {"train", "train_beside", "evaluate", "page", "study"}),
        ("vaelib/likelihood.py", {"evaluate", "study"}),
        ("vaelib/plots.py", {"page", "study"}),
        ("vaelib/tables.py", {"study"}),
        ("notebooks/train.ipynb", {"page"}),
        ("vaelib/cli.py", set()),
    ],
)
def test_an_edit_rebuilds_what_depends_on_it_and_no_more(file, rules, built, project):
    path = project / file
    original = path.read_bytes()
    path.write_bytes(original + b"\n")
    try:
        assert planned(project) == rules
    finally:
        path.write_bytes(original)
        os.utime(path, (Path(ROOT / file).stat().st_mtime,) * 2)


def test_an_edition_that_means_nothing_is_refused(project):
    (project / "editions" / "odd.yaml").write_text(EDITION.replace("seeds: [0]", "seeds: 0"))
    command = [sys.executable, "-m", "snakemake", "--configfile", "editions/odd.yaml", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert done.returncode != 0
    assert "seeds 0: accepted is a list" in done.stdout + done.stderr
