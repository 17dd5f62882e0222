"""Editions as Snakemake builds them: real runs of tiny models, in a copy of the project with two short chapters."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import typer
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from vaelib.cli.app import app

EDITION = """
edition: full
dataset: digits
archs: [linear]
latent_dims: [5, 4]
seeds: [0]
settings: {epochs: 1, encoder_widths: [8]}
classifier: {epochs: 1}
evaluation: {draws: 1, images: 10, resamplings: 1}
studies:
  costly:
    latent_dims: [4]
    arms: {linear: {as it is: {}, "beta 4, the author's": {k2: 4}}}
    evaluation: {noises: ["gaussian:0.25", "salt-pepper:0.1"]}
"""
TOC = """
format: jb-book
root: index
parts:
  - caption: Chapters
    chapters: [{file: pages/walk}, {file: pages/plane}, {file: theory}]
  - caption: The fully connected models
    chapters: [{file: pages/linear-d2-s0}]
"""
# The notebooks name what they are made by, and do not import it: PyTorch takes seconds.
CHAPTERS = {
    "walk": ("runs = []", "len(runs)", "if not runs:\n    from vaelib import figures\n\n    figures.ablation"),
    "plane": ("runs = []\nlatent_dims = [2]",),
}
TRAIN = "if not globals():\n    from vaelib import training\n\n    training.train()"
RUN = "build/full/runs/digits/linear-d{}-s0-epochs1-encoder_widths8"
WEIGHTS = [f"{RUN.format(d)}/model.safetensors" for d in (4, 5)]
EVALUATED = "build/full/done/evaluate/runs/digits/linear-d4-s0-epochs1-encoder_widths8"
# A dry run by Snakemake's own logger, which names every step.
LISTED = ["--workflow-profile", "none", "--cores", "2"]
SITE = "build/full/_build/html/index.html"


def template(title, given, *sources):
    cells = [new_markdown_cell(title), new_code_cell(given, metadata={"tags": ["parameters"]})]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells + [new_code_cell(source) for source in sources], metadata={"kernelspec": kernel})


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, to be edited, with a short book, in a folder with a space and a quote in its name."""
    folder = tmp_path_factory.mktemp("project") / "an author's copy"
    for name in ("vaelib", "workflow", "profiles", "book/_ext", "book/_static"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "Makefile", "_config.yml", "book/references.bib"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("editions", "notebooks", "book/pages"):
        (folder / name).mkdir()
    (folder / "editions" / "full.yaml").write_text(EDITION)
    (folder / "book" / "_toc.yml").write_text(TOC)
    (folder / "book" / "index.md").write_text(
        "# Index\n\nSee {doc}`pages/walk`, {doc}`theory` and {doc}`pages/plane`.\n"
    )
    (folder / "book" / "theory.md").write_text("# Theory\n\nWords.\n")
    for name, sources in CHAPTERS.items():
        made = template(f"# The chapter {name}\n\nSee {{doc}}`plane`, {{doc}}`../theory`.", *sources)
        nbformat.write(made, folder / "notebooks" / f"{name}.ipynb")
    given = next(
        cell.source
        for cell in nbformat.read(ROOT / "notebooks" / "train.ipynb", as_version=4).cells
        if "parameters" in cell.metadata.get("tags", [])
    )
    nbformat.write(template("# A model", given, TRAIN), folder / "notebooks" / "train.ipynb")
    return folder


def run(project, *command, **environment):
    done = subprocess.run(command, capture_output=True, text=True, cwd=project, env=os.environ | environment)
    return done.returncode, done.stdout + done.stderr


def snakemake(project, *arguments, edition="full", **environment):
    command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", f"editions/{edition}.yaml"]
    return run(project, *command, **environment)


def make(project, target):
    """A target of the Makefile, with the packages that are here."""
    return run(project, "make", target, f"BIN={Path(sys.executable).parent}", "-o", ".venv/installed")


def planned(project) -> set[str]:
    """What a build would run now: rules, with the page where there is one. Each model is a batch of its own."""
    code, said = snakemake(project, "report", EVALUATED, "--dry-run", *LISTED)
    assert code == 0, said
    jobs, rule = set(), ""
    for line in said.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
            jobs.add(rule)
        if line.strip().startswith("wildcards: batch="):
            jobs.discard(rule)
            jobs.add(f"{rule} {line.split('=')[1]}")
    return jobs - {"report"}


@contextlib.contextmanager
def edited(project, **changes):
    """Files of the project changed for a while, each by a function of its text."""
    kept = {project / file: None for file in changes}
    for path in kept:
        kept[path] = path.read_bytes(), path.stat()
        path.write_text(changes[path.relative_to(project).as_posix()](path.read_text()))
    try:
        yield
    finally:
        for path, (content, times) in kept.items():
            path.write_bytes(content)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def line(text):
    """A change of a text file: one more line at its end."""
    return lambda before: f"{before}\n{text}\n"


def cell(made):
    """A change of a notebook: one more cell at its end."""

    def change(before):
        notebook = nbformat.reads(before, as_version=4)
        notebook.cells.append(made)
        return nbformat.writes(notebook)

    return change


@pytest.fixture(scope="module")
def built(project):
    """The edition, and an evaluation that no chapter asks for."""
    code, said = snakemake(project, "report", EVALUATED)
    assert code == 0, said


def test_the_site_is_without_links_to_chapters_that_the_edition_lacks(built, project):
    html = (project / SITE).read_text()
    assert "pages/walk.html" in html
    assert "<em>The chapter plane</em>" in html
    assert not (project / "build/full/_build/html/pages/plane.html").exists()


def test_a_study_without_a_chapter_is_trained_measured_and_named(built, project):
    studies = project / "build/full/studies"
    arms = json.loads((studies / "costly.json").read_text())["linear"]
    assert list(arms) == ["as it is", "beta 4, the author's"]
    (shared,), (own,) = arms.values()
    assert (studies / shared).resolve() == project / RUN.format(4), "the grid's run is trained once"
    for run in (shared, own):
        measured = json.loads((studies / run / "metrics.json").read_text())
        assert set(measured["noise"]) == {"none", "gaussian:0.25", "salt-pepper:0.1"}
    assert not (studies / "sizes.json").exists(), "no page asks for it"


PAGES = {f"{rule} {page}" for rule in ("execute", "stage") for page in ("walk", "linear-d4-s0", "linear-d5-s0")}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"vaelib/training/loop.py": line("# a comment"), "vaelib/cli/app.py": line("A = 1")}, set()),
        (
            {"notebooks/walk.ipynb": cell(new_markdown_cell("More.")), "book/theory.md": line("More.")},
            {"stage walk", "book", "site"},
        ),
        ({"notebooks/walk.ipynb": cell(new_code_cell("1 + 1"))}, {"execute walk", "stage walk", "site"}),
        ({"vaelib/figures/curves.py": line("A = 1")}, {"execute walk", "stage walk", "site"}),
        ({"vaelib/evaluation/samples.py": line("A = 1")}, {"evaluate"}),
        ({"vaelib/data/files.py": line("A = 1")}, {"train", "classifier", "evaluate", "site", *PAGES}),
    ],
    ids=["nothing", "prose", "a cell", "a module of a chapter", "a module of evaluation", "a module of everything"],
)
def test_an_edit_rebuilds_what_depends_on_it_and_no_more(changes, expected, built, project):
    with edited(project, **changes):
        assert planned(project) == expected


def test_a_run_that_is_gone_is_trained_again(built, project):
    there, away = project / RUN.format(5), project / "away"
    stamp = project / "build/full/done/train/runs/digits" / there.name
    shutil.copy2(stamp, project / "stamp")
    there.rename(away)
    assert "train" in planned(project)
    away.rename(there)
    shutil.copy2(project / "stamp", stamp)
    assert planned(project) == set()


def test_a_broken_reference_fails_the_published_book_each_time(project):
    def contents(_):
        return "format: jb-book\nroot: index\nchapters: [{file: theory}]"

    def index(_):
        return "# Index"

    nowhere = line("{doc}`nowhere`")
    with edited(project, **{"book/_toc.yml": contents, "book/index.md": index, "book/theory.md": nowhere}):
        for _ in range(2):
            code, said = make(project, "book")
            assert code != 0
            assert "unknown document" in said


def test_an_edition_whose_name_is_another_folders_is_refused_in_one_line(built, project, tmp_path):
    """Beside a package of the same name as the project's own, which is not taken."""
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow" / "__init__.py").write_text("")
    (project / "editions" / "odd.yaml").write_text(EDITION.replace("edition: full", "edition: full 2"))
    weights = {file: (project / file).read_bytes() for file in WEIGHTS}
    code, said = snakemake(project, edition="odd", PYTHONPATH=str(tmp_path))
    assert code != 0
    expected = "editions/odd.yaml: edition 'full 2': accepted are 1 to 40 lower-case letters"
    assert said.strip().splitlines()[-1].startswith(expected)
    assert "Traceback" not in said
    assert {file: (project / file).read_bytes() for file in WEIGHTS} == weights
    assert [path.name for path in (project / "build").iterdir()] == ["full"]


def test_the_folder_of_the_data_reaches_every_command(project):
    somewhere = EDITION.replace("{epochs: 1, ", "{data_root: /some where, epochs: 1, ").replace("full", "data")
    (project / "editions" / "data.yaml").write_text(somewhere)
    target = EVALUATED.replace("full", "data")
    code, said = snakemake(project, "--dry-run", *LISTED, "--printshellcmds", "report", target, edition="data")
    assert code == 0, said
    commands = [shlex.split(command) for command in re.findall(r"vaelib\.cli (.*) > ", said)]
    for group in re.findall(r"together\.py (.*) > ", said):
        commands += json.loads(*shlex.split(group)).values()
    given = {}
    for name, *options in commands:
        given[name] = typer.main.get_command(app).commands[name].make_context(name, options).params
    assert set(given) == {"classifier", "train", "evaluate"}
    assert {options["data_root"] for options in given.values()} == {"/some where"}
    assert given["evaluate"]["classifier"] == Path("build/data/runs/digits/classifier-s0")
    assert (given["evaluate"]["draws"], given["classifier"]["epochs"], given["train"]["renew"]) == (1, 1, True)


def test_a_failed_edition_fails_until_it_is_mended_and_publishes_nothing(built, project):
    (project / "book" / "pages" / "walk.ipynb").write_text("published")
    raising = {"notebooks/walk.ipynb": cell(new_code_cell("raise RuntimeError('x')"))}
    with edited(project, **raising, **{"notebooks/train.ipynb": cell(new_markdown_cell("New words."))}):
        for target in ("full", "publish"):
            code, said = make(project, target)
            assert code != 0
            assert "build/full/logs/execute/walk.log" in said
            assert "RuntimeError: x" in said
            assert f"\n{project / SITE}\n" not in said
        # one failure does not keep the other jobs from running
        assert "New words." in (project / "build/full/book/pages/linear-d4-s0.ipynb").read_text()
    assert [path.name for path in (project / "book" / "pages").iterdir()] == ["walk.ipynb"]
    assert (project / "book" / "pages" / "walk.ipynb").read_text() == "published"


def test_finished_weights_outlive_a_slip_in_the_code(built, project):
    weights = {file: (project / file).read_bytes() for file in WEIGHTS}
    with edited(project, **{"vaelib/training/loop.py": line('raise RuntimeError("a slip")')}):
        code, said = snakemake(project)
    assert code != 0
    assert "a slip" in said
    assert {file: (project / file).read_bytes() for file in WEIGHTS} == weights
    # the next try begins with what failed
    assert not list((project / "build/full/done/train").rglob("linear*"))
