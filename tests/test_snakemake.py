"""Editions as Snakemake builds them: real runs of tiny models, in a copy of the project with three short chapters."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

EDITION = """
edition: full
dataset: digits
archs: [linear]
latent_dims: [5, 4]
seeds: [0]
settings: {epochs: 1, encoder_widths: [8]}
classifier: {epochs: 1}
evaluation: {draws: 1, images: 10, resamplings: 1}
"""
TOC = """
format: jb-book
root: index
parts:
  - caption: Chapters
    chapters: [{file: pages/walk}, {file: pages/measures}, {file: pages/plane}]
  - caption: The fully connected models
    chapters: [{file: pages/linear-d2-s0}]
  - caption: About
    chapters: [{file: theory}]
"""
CHAPTERS = {
    "walk": ("runs = []", "from vaelib import latent, training\n\nmodel = training.load(runs[0]).model()\nlatent.lerp"),
    "measures": ("evaluated = []", "from vaelib import evaluation, training\n\nlen(evaluation.read(training.load(evaluated[0])))"),
    "plane": ("runs = []\nlatent_dims = [2]", "1"),
}  # fmt: skip
RUN = "build/full/runs/digits/linear-d{}-s0-epochs1-encoder_widths8"
WEIGHTS = [f"{RUN.format(d)}/model.safetensors" for d in (4, 5)]
SITE = "build/full/_build/html/index.html"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, to be edited, with a short book, in a folder with a space and a quote in its name."""
    folder = tmp_path_factory.mktemp("project") / "an author's copy"
    for name in ("vaelib", "workflow", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / name, folder / "book" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "Makefile", "_config.yml", "book/references.bib"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "editions").mkdir()
    (folder / "editions" / "full.yaml").write_text(EDITION)
    (folder / "book" / "_toc.yml").write_text(TOC)
    (folder / "book" / "index.md").write_text(
        "# Index\n\nSee {doc}`pages/walk`, {doc}`theory` and {doc}`pages/plane`.\n"
    )
    (folder / "book" / "theory.md").write_text("# Theory\n\nWords.\n")
    (folder / "notebooks").mkdir()
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for name, (given, source) in CHAPTERS.items():
        cells = [
            new_markdown_cell(f"# The chapter {name}\n\nSee {{doc}}`plane`, {{doc}}`walk`.", id="0"),
            new_code_cell(given, metadata={"tags": ["parameters"]}, id="1"),
            new_code_cell(source, id="2"),
        ]
        nbformat.write(new_notebook(cells=cells, metadata=metadata), folder / "notebooks" / f"{name}.ipynb")
    # of the page of a model only what trains
    train = nbformat.read(ROOT / "notebooks" / "train.ipynb", as_version=4)
    last = next(index for index, cell in enumerate(train.cells) if "training.train(config)" in cell.source)
    train.cells = train.cells[: last + 1]
    nbformat.write(train, folder / "notebooks" / "train.ipynb")
    return folder


def run(project, *command, **environment):
    done = subprocess.run(command, capture_output=True, text=True, cwd=project, env=os.environ | environment)
    return done.returncode, done.stdout + done.stderr


def snakemake(project, *arguments, edition="full", **environment):
    command = [sys.executable, "-m", "snakemake", "--configfile", f"editions/{edition}.yaml", *arguments]
    return run(project, *command, **environment)


def make(project, target):
    """A target of the Makefile, with the packages that are here."""
    return run(project, "make", target, f"BIN={Path(sys.executable).parent}", "-o", ".venv/installed")


def planned(project) -> set[str]:
    """What a build would run now: names of rules, with the page where there is one."""
    code, said = snakemake(project, "--dry-run")
    assert code == 0, said
    jobs, rule = set(), ""
    for line in said.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
            jobs.add(rule)
        if line.strip().startswith("wildcards: page="):
            jobs.discard(rule)
            jobs.add(f"{rule} {line.split('=')[1]}")
    return jobs - {"report"}


def pages_of(rule):
    return {f"{rule} {page}" for page in ("walk", "measures", "linear-d5-s0", "linear-d4-s0")}


def bytes_of(project, files):
    return {file: (project / file).read_bytes() for file in files}


class Edited:
    """A file of the project with other content, for a while."""

    def __init__(self, path, change):
        self.path, self.original, self.times = path, path.read_bytes(), path.stat()
        self.change = change

    def __enter__(self):
        self.path.write_text(self.change(self.path.read_text()))

    def __exit__(self, *_):
        self.path.write_bytes(self.original)
        os.utime(self.path, ns=(self.times.st_atime_ns, self.times.st_mtime_ns))


def with_cell(source):
    """A change of a notebook: one more code cell at its end."""

    def change(text):
        notebook = nbformat.reads(text, as_version=4)
        notebook.cells.append(new_code_cell(source))
        return nbformat.writes(notebook)

    return change


@pytest.fixture(scope="module")
def built(project):
    """The edition, whose first try meets a directory that holds something else where one run should be."""
    spoilt = project / RUN.format(5)
    spoilt.mkdir(parents=True)
    (spoilt / "thesis.tex").write_text("years of work")
    first = snakemake(project)
    assert (spoilt / "thesis.tex").read_text() == "years of work"
    assert (project / WEIGHTS[0]).is_file(), first[1]
    before = (project / WEIGHTS[0]).stat().st_mtime_ns
    shutil.rmtree(spoilt)
    code, said = snakemake(project)
    assert code == 0, said
    assert (project / WEIGHTS[0]).stat().st_mtime_ns == before
    return first


def test_one_failed_run_leaves_the_others_running_and_is_named(built):
    code, said = built
    assert code != 0
    assert RUN.format(5) in said
    assert "build/full/logs/runs/digits/linear-d5-s0-epochs1-encoder_widths8/train.log" in said
    assert "is no run" in said


def test_a_finished_edition_has_nothing_to_do(built, project):
    code, said = snakemake(project, "--dry-run")
    assert code == 0
    assert "Nothing to be done" in said


def test_the_site_is_without_links_to_chapters_that_the_edition_lacks(built, project):
    html = (project / SITE).read_text()
    assert "pages/walk.html" in html
    assert "<em>The chapter plane</em>" in html
    assert not (project / "build/full/_build/html/pages/plane.html").exists()


def last_line(text, line):
    return f"{text}\n{line}\n"


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("vaelib/training/loop.py", lambda text: last_line(text, "# a comment"), set()),
        ("notebooks/walk.ipynb", with_cell("# a comment"), {"stage walk", "site"}),
        ("notebooks/walk.ipynb", with_cell("1 + 1"), {"execute walk", "stage walk", "site"}),
        ("vaelib/latent/paths.py", lambda text: last_line(text, "A = 1"), {"execute walk", "stage walk", "site"}),
        (
            "vaelib/evaluation/samples.py",
            lambda text: last_line(text, "A = 1"),
            {"evaluate", "execute measures", "stage measures", "site"},
        ),
        (
            "vaelib/data/files.py",
            lambda text: last_line(text, "A = 1"),
            {"train", "classifier", "evaluate", "site", *pages_of("execute"), *pages_of("stage")},
        ),
        ("book/theory.md", lambda text: last_line(text, "More."), {"book", "site"}),
        ("vaelib/cli/app.py", lambda text: last_line(text, "A = 1"), set()),
    ],
)
def test_an_edit_rebuilds_what_depends_on_it_and_no_more(file, change, expected, built, project):
    with Edited(project / file, change):
        assert planned(project) == expected
    assert (project / WEIGHTS[0]).is_file()


def test_a_run_that_is_gone_is_trained_again(built, project):
    there, away = project / RUN.format(4), project / "away"
    stamp = project / "build/full/done/runs/digits" / there.name / "train"
    there.rename(away)
    try:
        assert {"train", "evaluate"} <= planned(project)
        assert not stamp.exists()
    finally:
        away.rename(there)
    code, said = snakemake(project)
    assert code == 0, said
    assert planned(project) == set()


def test_a_failed_edition_fails_until_it_is_mended_and_publishes_nothing(built, project):
    """First the pages are published, then a chapter fails: twice asked, the edition fails twice, the pages stay."""
    (project / "book" / "_toc.yml").write_text((project / "build/full/book/_toc.yml").read_text())
    code, said = make(project, "publish")
    assert code == 0, said
    published = sorted(path.name for path in (project / "book" / "pages").iterdir())
    assert published == ["linear-d4-s0.ipynb", "linear-d5-s0.ipynb", "measures.ipynb", "walk.ipynb"]
    before = bytes_of(project, [f"book/pages/{name}" for name in published])
    with Edited(project / "notebooks" / "walk.ipynb", with_cell("raise RuntimeError('x')")):
        for target in ("full", "publish"):
            code, said = make(project, target)
            assert code != 0
            assert "RuntimeError: x" in said
            assert SITE not in said.splitlines()[-1]
    assert bytes_of(project, before) == before
    assert sorted(path.name for path in (project / "book" / "pages").iterdir()) == published
    code, said = make(project, "full")
    assert code == 0, said


def test_a_broken_reference_fails_the_published_book_each_time(built, project):
    assert (project / "book" / "pages").is_dir(), "published by the test before"
    with Edited(project / "book" / "theory.md", lambda text: last_line(text, "{doc}`nowhere`")):
        for _ in range(2):
            code, said = make(project, "book")
            assert code != 0
            assert "nowhere" in said


def test_finished_weights_outlive_a_slip_in_the_code(built, project):
    before = bytes_of(project, WEIGHTS)
    slip = 'raise RuntimeError("a slip")'
    with Edited(project / "vaelib" / "training" / "loop.py", lambda text: last_line(text, slip)):
        for _ in range(2):
            code, said = snakemake(project)
            assert code != 0
            assert "a slip" in said
            assert bytes_of(project, WEIGHTS) == before


@pytest.mark.parametrize("name", ["full 2", "../full", "full/runs"])
def test_an_edition_whose_name_is_another_folders_is_refused_in_one_line(name, built, project, tmp_path):
    """Beside a package of the same name as the project's own, which is not taken."""
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow" / "__init__.py").write_text("")
    (project / "editions" / "odd.yaml").write_text(EDITION.replace("edition: full", f"edition: {name}"))
    before = bytes_of(project, WEIGHTS)
    code, said = snakemake(project, edition="odd", PYTHONPATH=str(tmp_path))
    assert code != 0
    assert (
        said.strip().splitlines()[-1].startswith(f"edition: edition '{name}': accepted are 1 to 40 lower-case letters")
    )
    assert "Traceback" not in said
    assert bytes_of(project, WEIGHTS) == before
    assert [path.name for path in (project / "build").iterdir()] == ["full"]
