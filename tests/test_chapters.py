import json
import shutil

import nbformat
import pytest
import yaml
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from vaelib.config import InputError
from workflow import chapters
from workflow.edition import Edition

EDITION = {"edition": "tiny", "dataset": "digits", "archs": ["linear"], "latent_dims": [5], "seeds": [0, 1]}
STUDIES = {
    "changes": {"evaluation": False, "arms": {"linear": {"ReLU": {"activation": "relu"}, "tuned": {}}}},
    "nowhere": {"latent_dims": [7], "seeds": [0], "arms": {"linear": {"tuned": {}}}},
}
HAS = "accepted are the edition's chapters, plain, measured, verdicts, about"
TOC = """
format: jb-book
root: index
parts:
  - caption: Theory
    chapters: [{file: theory}]
  - caption: Chapters
    chapters: [{file: pages/plain}, {file: pages/measured}, {file: pages/flat}, {file: pages/changes}]
  - caption: Sizes
    chapters: [{file: pages/sizes}, {file: pages/verdicts}]
  - caption: The fully connected models
    chapters: [{file: pages/linear-d2-s0}, {file: pages/linear-d3-s0}]
  - caption: About
    chapters: [{file: pages/about}]
"""
TEMPLATES = {
    "plain": "runs = []  # paths",
    "measured": "evaluated = []\nclassifier = ''\nruns_root = 'runs'",
    "flat": "runs = []\nlatent_dims = [2]\ndata_root = ''",
    "changes": "study = ''",
    "verdicts": "studies = ''\nruns_root = 'runs'",
    "sizes": "sizes = ''",
    "about": "runs = []\nedition = ''\nspeed = ''\ndataset = 'mnist'",
    "train": "dataset = 'mnist'",
}


def template(source, title="Title"):
    tags = {"tags": ["parameters"]}
    return new_notebook(cells=[new_markdown_cell(f"# {title}\n\nText."), new_code_cell(source, metadata=tags)])


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of a few short templates."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "_toc.yml").write_text(TOC)
    for name, source in TEMPLATES.items():
        nbformat.write(template(source, f"The {name} chapter"), tmp_path / "notebooks" / f"{name}.ipynb")
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    return tmp_path


def edition(**values):
    return Edition(EDITION | values)


def test_a_chapter_is_in_an_edition_that_asks_for_what_it_needs(project):
    assert list(chapters.pages(edition())) == ["plain", "measured", "verdicts", "about", "linear-d5-s0"]
    assert "measured" not in chapters.pages(edition(evaluation=False))
    measured = {"nowhere": STUDIES["nowhere"] | {"evaluation": {"draws": 2}}}
    assert "measured" not in chapters.pages(edition(evaluation=False, studies=measured)), "its runs are the grid's"
    assert "flat" in chapters.pages(edition(latent_dims=[5, 2]))
    assert "changes" in chapters.pages(edition(studies=STUDIES))
    assert "changes" not in chapters.pages(edition(studies={"nowhere": STUDIES["nowhere"]}))
    two = {"archs": ["linear", "conv"]}
    assert "sizes" in chapters.pages(edition(**two))
    assert "sizes" not in chapters.pages(edition(**two, evaluation=False))
    assert "sizes" not in chapters.pages(edition(**two, equal=False))


def test_a_page_knows_its_parameters_and_what_is_before_it(project):
    made = edition(studies=STUDIES)
    pages = chapters.pages(made)
    grid = ["runs/digits/linear-d5-s0", "runs/digits/linear-d5-s1"]
    paths = [f"build/tiny/{place}" for place in grid]
    assert pages["plain"] == chapters.Page("notebooks/plain.ipynb", {"runs": paths}, grid, [], [], "plain")
    values = {"evaluated": paths, "classifier": "build/tiny/runs/digits/classifier-s0", "runs_root": "build/tiny/runs"}
    assert pages["measured"] == chapters.Page("notebooks/measured.ipynb", values, [], grid, [], "measured")
    changes = pages["changes"]
    assert changes.values == {"study": "build/tiny/studies/changes.json"}
    assert changes.files == ["build/tiny/studies/changes.json"]
    assert changes.trained == [f"studies/digits/linear-d5-s{seed}-activationrelu" for seed in (0, 1)] + grid
    assert changes.evaluated == grid, "the study is not evaluated, but the grid's runs are"
    assert pages["about"].values == {"runs": paths, "edition": "tiny", "speed": "", "dataset": "digits"}


def test_a_chapter_on_all_studies_has_each_of_them_before_it(project):
    made = edition(studies=STUDIES)
    page = chapters.pages(made)["verdicts"]
    assert page.values == {"studies": "build/tiny/studies", "runs_root": "build/tiny/runs"}
    assert page.files == ["build/tiny/studies/changes.json", "build/tiny/studies/nowhere.json"]
    assert set(page.trained) == {*made.places("changes"), *made.places("nowhere")} == set(made.runs)
    assert set(page.evaluated) == set(made.evaluated)
    alone = chapters.pages(edition())["verdicts"]
    assert (alone.files, alone.trained, alone.evaluated) == ([], [], [])


def test_the_chapter_on_size_has_the_pairs_and_the_further_sizes_before_it(project):
    made = edition(archs=["linear", "conv"], sizes={"latent_dim": 5, "parameters": [40_000]})
    page = chapters.pages(made)["sizes"]
    assert page.values == {"sizes": "build/tiny/studies/sizes.json"}
    assert page.files == ["build/tiny/studies/sizes.json"]
    assert set(page.evaluated) == {made.place(c) for c in [*made.equal[0], *made.equal[1], *made.sized]}


def test_speed_is_shown_where_it_was_measured(project):
    (project / "bench").mkdir()
    (project / "bench" / "results.json").write_text("{}")
    about = chapters.pages(edition())["about"]
    assert about.values["speed"] == "bench/results.json"
    assert about.files == ["bench/results.json"]


def test_a_model_of_the_first_seed_has_a_page(project):
    pages = chapters.pages(edition(archs=["linear", "convbn"], seeds=[3, 4], equal=False, settings={"data_root": "x"}))
    assert list(pages)[-2:] == ["linear-d5-s3", "convbn-d5-s3"]
    page = pages["convbn-d5-s3"]
    assert page.template == "notebooks/train.ipynb"
    assert page.trained == ["runs/digits/convbn-d5-s3"]
    known = chapters.parameters(nbformat.read(ROOT / "notebooks" / "train.ipynb", as_version=4))
    assert set(page.values) == set(known) - {"name", "keep_every", "log_steps"}
    assert (page.values["data_root"], page.values["runs_root"]) == ("x", "build/tiny/runs")


def test_the_contents_name_the_editions_own_pages(project):
    toc = chapters.contents(edition(archs=["linear", "convbn"], equal=False))
    assert [(part["caption"], [entry["file"] for entry in part["chapters"]]) for part in toc["parts"]] == [
        ("Theory", ["theory"]),
        ("Chapters", ["pages/plain", "pages/measured"]),
        ("Sizes", ["pages/verdicts"]),
        ("The fully connected models", ["pages/linear-d5-s0"]),
        ("The convbn models", ["pages/convbn-d5-s0"]),
        ("About", ["pages/about"]),
    ]
    lacking = ["pages/flat", "pages/changes", "pages/sizes", "pages/linear-d2-s0", "pages/linear-d3-s0"]
    assert chapters.absent(edition()) == lacking


def test_contents_that_name_a_page_without_a_template_are_refused(project):
    (project / "book" / "_toc.yml").write_text(TOC.replace("pages/flat", "pages/flatt"))
    with pytest.raises(InputError, match=r"names pages/flatt: .* template, notebooks/flatt.ipynb"):
        chapters.pages(edition())


def test_parameters_are_read_as_python_is():
    source = "k2 = 1.0  # beta = k2/k1\nnames: list = ['a']\nlong = [\n    1,\n]"
    assert chapters.parameters(template(source)) == {"k2": 1.0, "names": ["a"], "long": [1]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see {doc}`pages/flat` and {doc}`pages/plain`", "see *The flat chapter* and {doc}`pages/plain`"),
        ("see {doc}`a map <pages/flat>`", "see a map"),
        ("see {doc}`/pages/flat` and {doc}`nowhere`", "see *The flat chapter* and {doc}`nowhere`"),
        ("{doc}`pages/linear-d2-s0`", "*linear-d2-s0*"),
        ("in {numref}`flat-map` and {ref}`eq-elbo`", "in a figure of *The flat chapter* and {ref}`eq-elbo`"),
        ("{glue:text}`pages/flat.ipynb::area:.2f` of it", "(not in this edition) of it"),
        ("{glue:text}`pages/plain.ipynb::area:.2f`", "{glue:text}`pages/plain.ipynb::area:.2f`"),
        ("```{glue} map\n:doc: pages/flat.ipynb\n```", "*The flat chapter* is not part of this edition."),
        ("```{glue} map\n:doc: pages/plain.ipynb\n```", "```{glue} map\n:doc: pages/plain.ipynb\n```"),
        (
            "```{glue:figure} map\n:name: x\n:doc: pages/flat.ipynb\n\nA map.\n```\n\nAfter",
            "*The flat chapter* is not part of this edition.\n\nAfter",
        ),
    ],
)
def test_references_to_pages_that_an_edition_lacks_become_plain_text(text, expected, project):
    assert chapters.without_links(text, ".", chapters.absent(edition())) == expected
    assert chapters.without_links(text, ".", []) == text


def test_references_are_followed_from_where_they_stand(project):
    lacking = chapters.absent(edition())
    text = "{doc}`flat`, {doc}`../theory`, {doc}`../pages/sizes`"
    expected = "*The flat chapter*, {doc}`../theory`, *The sizes chapter*"
    assert chapters.without_links(text, "pages", lacking) == expected
    assert chapters.without_links(text, ".", lacking) == text


def test_the_copy_of_the_book_has_the_editions_contents_and_no_links_to_what_it_lacks(project, tmp_path):
    book = project / "book"
    (book / "theory.md").write_text("{doc}`pages/flat` {doc}`pages/plain`")
    (book / "_static").mkdir()
    (book / "_static" / "logo.svg").write_bytes(b"\xff\x00")
    for left_out in ("pages/plain.ipynb", "_build/x.html", "_ext/__pycache__/x.pyc"):
        (book / left_out).parent.mkdir(parents=True)
        (book / left_out).write_text("")
    toc = chapters.contents(edition())
    chapters.copy(tmp_path / "out", json.dumps(toc))
    files = [path.relative_to(tmp_path / "out").as_posix() for path in sorted((tmp_path / "out").rglob("*.*"))]
    assert files == ["_static/logo.svg", "_toc.yml", "theory.md"]
    assert (tmp_path / "out" / "theory.md").read_text() == "*The flat chapter* {doc}`pages/plain`"
    assert (tmp_path / "out" / "_static" / "logo.svg").read_bytes() == b"\xff\x00"
    assert yaml.safe_load((tmp_path / "out" / "_toc.yml").read_text()) == toc


@pytest.mark.parametrize(("name", "lacking"), [("quick", set()), ("mnist", {"pages/equal", "pages/ablation"})])
def test_the_editions_of_the_project_have_the_chapters_that_they_ask_for(name, lacking):
    made = Edition(yaml.safe_load((ROOT / "editions" / f"{name}.yaml").read_text()))
    assert set(chapters.absent(made)) == lacking
    pages = chapters.pages(made)
    assert {f"pages/{page}" for page in pages} | lacking == {
        file for file in chapters.files_of(chapters.published()) if file.startswith("pages/")
    }
    for page in pages.values():
        assert set(page.values) <= set(chapters.parameters(chapters.read(page.template)))
        assert set(page.trained + page.evaluated) <= set(made.runs)


# These are in the contents as soon as there are published runs to execute them on.
TO_COME = {"weights", "dimensions", "noise", "start", "reports", "verdicts"}


def test_every_template_but_one_is_a_chapter_of_the_book():
    templates = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} - {"train"}
    in_contents = {name for name in templates if f"pages/{name}" in chapters.files_of(chapters.published())}
    assert in_contents == templates - TO_COME


def test_a_new_chapter_is_in_every_edition_once_the_contents_name_it(project):
    shutil.copy(project / "notebooks" / "plain.ipynb", project / "notebooks" / "more.ipynb")
    (project / "book" / "_toc.yml").write_text(
        TOC.replace("{file: pages/plain}", "{file: pages/plain}, {file: pages/more}")
    )
    assert list(chapters.pages(edition()))[:2] == ["plain", "more"]


def test_pages_of_a_group_of_models_are_one_batch_and_a_chapter_is_its_own(project):
    grid = {"latent_dims": [4, 5, 6], "seeds": [0]}
    alone = chapters.pages(edition(**grid))
    assert chapters.batches(alone) == {name: [name] for name in alone}
    batches = chapters.batches(chapters.pages(edition(**grid, together=2)))
    assert batches["plain"] == ["plain"]
    models = {name: pages for name, pages in batches.items() if name.startswith("models")}
    assert models == {"models-1": ["linear-d4-s0", "linear-d6-s0"], "models-2": ["linear-d5-s0"]}


def test_an_edition_changes_a_chapters_own_parameters(project):
    nbformat.write(template("runs = []\ndataset = 'mnist'\nscored = 500"), project / "notebooks" / "plain.ipynb")
    values = chapters.pages(edition(chapters={"plain": {"scored": 100}}))["plain"].values
    assert (values["scored"], values["dataset"]) == (100, "digits")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"walk": {"scored": 1}},
            f"chapters.walk: {HAS}",
        ),
        (
            {"flat": {"scored": 1}},
            f"chapters.flat: {HAS}",
        ),
        ({"plain": {"scored": "many"}}, "chapters.plain.scored 'many': accepted is a value such as 500"),
        ({"plain": {"dataset": "mnist"}}, "chapters.plain.dataset: accepted are scored"),
        ({"measured": {"x": 1}}, "chapters.measured.x: accepted are none, it has no parameters"),
    ],
)
def test_another_change_of_a_chapter_is_refused(changed, expected, project):
    nbformat.write(template("runs = []\ndataset = 'mnist'\nscored = 500"), project / "notebooks" / "plain.ipynb")
    with pytest.raises(InputError) as caught:
        chapters.pages(edition(chapters=changed))
    assert str(caught.value) == expected
