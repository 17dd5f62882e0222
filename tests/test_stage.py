"""Staging, refreshing and publishing pages, on notebooks made for it."""

import base64
import copy
import io
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from vaelib import config
from workflow import chapters, pages, publish, stage

GIVEN = 'dataset = "mnist"\narch = "linear"\nlatent_dim = 2\nruns_root = "runs"\nnoise = ""'


def picture(colour="red"):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def figure(name):
    return {"mystnb": {"figure": {"caption": "A curve.", "name": name}, "image": {"alt": "A curve that falls."}}}


def template():
    notebook = new_notebook(
        cells=[
            new_markdown_cell("# Title of the template\n\nWhat you will see, and {doc}`equal`.", id="0"),
            new_code_cell(GIVEN, metadata={"tags": ["parameters"]}, id="1"),
            new_markdown_cell("The map", metadata={"tags": ["only-latent_dim-2"]}, id="2"),
            new_code_cell("draw_map()", metadata={"tags": ["only-latent_dim-2"]}, id="3"),
            new_code_cell("# why it falls\ncurve = draw()\ncurve;", metadata=figure("losses"), id="4"),
        ]
    )
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def executed(outputs=(), given='arch = "conv"\nlatent_dim = 10', of=None):
    """What papermill makes of the template, with these outputs of its last cell."""
    notebook = copy.deepcopy(of or template())
    injected = new_code_cell(given, metadata={"tags": ["injected-parameters"]}, id="given")
    notebook.cells.insert(2, injected)
    notebook.cells[-1].outputs = list(outputs)
    notebook.cells[-1].metadata["papermill"] = {"duration": 1}
    notebook.metadata["papermill"] = {"input_path": "/home/someone/train.ipynb"}
    return notebook


def drawn(colour="red"):
    data = {"image/png": picture(colour), "text/plain": "<Figure>", stage.PLOTLY: {"data": []}}
    return new_output("display_data", data=data)


def run(folder, script, *arguments):
    command = [sys.executable, str(ROOT / "workflow" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_a_page_has_its_own_title_labels_and_settings(tmp_path):
    nbformat.write(executed([drawn()]), tmp_path / "conv-d10-s0.ipynb")
    nbformat.write(template(), tmp_path / "train.ipynb")
    done = run(tmp_path, "stage.py", "train.ipynb", "conv-d10-s0.ipynb", "pages", "--lacking=pages/equal")
    assert done.returncode == 0, done.stderr
    staged = nbformat.read(tmp_path / "pages" / "conv-d10-s0.ipynb", as_version=4)
    nbformat.validate(staged)
    equal = nbformat.read(ROOT / "notebooks" / "equal.ipynb", as_version=4).cells[0].source.splitlines()[0][2:]
    assert staged.cells[0].source == f"# conv, d = 10\n\nWhat you will see, and *{equal}*."
    assert "| `dataset` | mnist | `arch` | conv | `latent_dim` | 10 |" in staged.cells[1].source
    assert "runs_root" not in staged.cells[1].source
    assert "noise" not in staged.cells[1].source
    assert [cell.cell_type for cell in staged.cells] == ["markdown", "markdown", "code"]
    assert staged.cells[2].metadata.mystnb.figure.name == "conv-d10-s0-losses"
    assert "papermill" not in staged.cells[2].metadata
    assert "papermill" not in staged.metadata
    assert set(staged.cells[2].outputs[0].data) == {"image/png", "text/plain"}


def test_a_page_has_the_outputs_of_the_run_and_the_prose_of_now():
    ran, now = executed([drawn("blue")]), template()
    now.cells[0].source = "# Another title\n\nOther words."
    now.cells.insert(1, new_markdown_cell("More words."))
    now.cells[-1].source = "curve = draw()  # it falls\n\ncurve;"
    now.cells[-1].metadata.mystnb.figure.caption = "It falls."
    now.cells[-1].id = "another"
    page = stage.staged(ran, now, "conv-d10-s0")
    sources = [cell.source for cell in page.cells]
    assert sources[0] == "# conv, d = 10\n\nOther words."
    assert sources[2:] == ["More words.", now.cells[-1].source]
    assert page.cells[-1].metadata.mystnb.figure == {"caption": "It falls.", "name": "conv-d10-s0-losses"}
    assert Image.open(io.BytesIO(base64.b64decode(page.cells[-1].outputs[0].data["image/png"]))).convert(
        "RGB"
    ).getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize("code", ["curve = draw(2)\ncurve;", "curve = draw()\ncurve"])
def test_outputs_of_other_code_are_refused(code):
    now = template()
    now.cells[-1].source = code
    with pytest.raises(ValueError, match="other code than what was executed"):
        stage.staged(executed(), now, "conv-d10-s0")


def test_a_model_of_two_dimensions_has_its_map():
    page = stage.staged(executed([], given="latent_dim = 2"), template(), "linear-d2-s0")
    assert [cell.id for cell in page.cells] == ["0", "settings", "2", "3", "4"]
    assert page.cells[0].source.startswith("# linear, d = 2")


def test_own_images_are_named_in_the_settings_and_not_where_they_lie():
    page = stage.staged(executed([], given='dataset = "/home/me/my hats.npz"'), template(), "linear-d2-s0")
    assert f"| `dataset` | {config.dataset_name('/home/me/my hats.npz')} |" in page.cells[1].source
    assert "/home" not in page.cells[1].source


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (new_output("error", ename="ValueError", evalue="no", traceback=[]), "failed: ValueError: no"),
        (new_output("stream", name="stderr", text="x.py:1: SomeWarning: old\n"), "printed to stderr: x.py:1: Some"),
        (new_output("stream", name="stdout", text="saved in {here}/runs\n"), "path of this machine"),
        (new_output("stream", name="stdout", text="in '{here}'."), "path of this machine"),
        (new_output("stream", name="stdout", text="in file://{here}."), "path of this machine"),
        (new_output("display_data", data={"text/html": '<a href="{here}">x</a>'}), "path of this machine"),
        (new_output("display_data", data={"application/papermill.record/text/plain": "{here}"}), "path of this"),
    ],
)
def test_a_page_that_a_reader_must_not_meet_is_refused(output, expected, tmp_path):
    output = copy.deepcopy(output)
    for part in ("text", "data"):
        if part in output:
            output[part] = eval(repr(output[part]).replace("{here}", str(tmp_path)))
    nbformat.write(executed([output]), tmp_path / "run.ipynb")
    nbformat.write(executed([drawn()]), tmp_path / "good.ipynb")
    nbformat.write(template(), tmp_path / "train.ipynb")
    done = run(tmp_path, "stage.py", "train.ipynb", "run.ipynb", "good.ipynb", "pages")
    assert done.returncode == 1
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["good.ipynb"]


def test_features_that_cannot_be_kept_are_no_fault_and_other_warnings_are():
    def warned(what):
        text = f"/tmp/ipykernel_7/1.py:1: UserWarning: {what}\n  reference = evaluation.remembered(network, images)\n"
        return list(stage.faults(executed([new_output("stream", name="stderr", text=text)])))

    assert warned("features are not kept for the next time: [Errno 20] Not a directory: '/dev/null/vaelib'") == []
    assert len(warned("the images are few")) == 1


@pytest.mark.parametrize("here", ["/app", "/src", "/"])
def test_a_path_is_found_as_a_whole_and_in_text_alone(here, monkeypatch):
    monkeypatch.setattr(stage.Path, "cwd", lambda: Path(here))
    harmless = [
        new_output("display_data", data={"image/png": f"AAAA{here}/AAAA"}),
        new_output(
            "display_data", data={"text/html": f"<img src='data:image/png;base64,{'A' * 200}{here}/{'B' * 200}'>"}
        ),
        new_output("display_data", data={"text/html": '{"bdata":"AAAA/app/AAAA/src/AAA="}'}),
        new_output("stream", name="stdout", text="https://site.org/app/x, and/src, /apple, /srcs, ~/app, a / b"),
    ]
    assert list(stage.faults(executed(harmless))) == []
    found = list(stage.faults(executed([new_output("stream", name="stdout", text=f"in {here}/runs")])))
    assert len(found) == (here != "/")


def test_what_matplotlib_says_of_its_cache_is_no_fault_and_not_shown():
    said = (
        "mkdir -p failed for path /dev/null/.config/matplotlib: [Errno 20] Not a directory\n"
        "Matplotlib created a temporary cache directory at /tmp/matplotlib-x because there was an issue with the "
        "default path (/dev/null/.config/matplotlib); it is highly recommended to set the MPLCONFIGDIR environment "
        "variable to a writable directory\n"
        "Matplotlib is building the font cache; this may take a moment.\n"
    )
    ran = executed([new_output("stream", name="stderr", text=said), drawn()])
    assert list(stage.faults(ran)) == []
    assert [output.output_type for output in stage.staged(ran, template(), "conv-d10-s0").cells[-1].outputs] == [
        "display_data"
    ]


def test_figures_and_films_that_are_asked_for_lie_beside_the_page(tmp_path):
    of = template()
    of.cells[3].metadata["download"] = "plane.gif"
    of.cells[4].metadata["tags"] = ["as-file"]
    ran = executed([drawn()], given="latent_dim = 2", of=of)
    ran.cells[4].outputs = [new_output("display_data", data={"image/gif": base64.b64encode(b"GIF89a").decode()})]
    page = stage.staged(ran, of, "linear-d2-s0")
    stage.write(page, tmp_path / "linear-d2-s0.ipynb")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "linear-d2-s0-losses.png", "linear-d2-s0-plane.gif", "linear-d2-s0.ipynb",
    ]  # fmt: skip
    assert (tmp_path / "linear-d2-s0-plane.gif").read_bytes() == b"GIF89a"
    assert nbformat.read(tmp_path / "linear-d2-s0.ipynb", as_version=4).cells[3].outputs == []


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A project with one chapter and one model, both published."""
    for folder in ("notebooks", "book/pages"):
        (tmp_path / folder).mkdir(parents=True)
    chapter = new_notebook(
        cells=[
            new_markdown_cell("# Chapter", id="0"),
            new_code_cell("runs = []", metadata={"tags": ["parameters"]}, id="1"),
            new_code_cell("table = 1", id="2"),
            new_code_cell("table", metadata=figure("table"), id="3"),
        ],
        metadata=template().metadata,
    )
    for name, of, given in (("train", template(), "latent_dim = 2"), ("chapter", chapter, "runs = ['x']")):
        nbformat.write(of, tmp_path / "notebooks" / f"{name}.ipynb")
        name = "linear-d2-s0" if name == "train" else name
        stage.write(
            stage.staged(executed([drawn()], given, of), of, name), tmp_path / "book" / "pages" / f"{name}.ipynb"
        )
    (tmp_path / "book" / "_toc.yml").write_text(
        "root: index\nparts: [{caption: All, chapters: [{file: pages/chapter}, {file: pages/linear-d2-s0}]}]"
    )
    for module in (chapters, pages, publish):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(project, name, cell, **changes):
    path = project / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    place = next(index for index, own in enumerate(notebook.cells) if own.id == cell)
    if changes.get("remove"):
        del notebook.cells[place]
    elif "before" in changes:
        notebook.cells.insert(place, changes["before"])
    else:
        notebook.cells[place].update(changes)
    nbformat.write(notebook, path)


def refresh(project, *names, same=False):
    with pytest.raises(SystemExit) as ended:
        pages.main(list(names), same, project / "book" / "pages")
    return ended.value.code


def page_of(project, name):
    return nbformat.read(project / "book" / "pages" / f"{name}.ipynb", as_version=4)


def test_published_pages_follow_the_prose_of_their_templates(published, capsys):
    before = page_of(published, "linear-d2-s0")
    edit(published, "train", "2", source="The map of now")
    edit(published, "train", "4", source="curve = draw()  # it falls\ncurve;", metadata=figure("curves"))
    assert refresh(published) == 0
    after = page_of(published, "linear-d2-s0")
    assert after.cells[2].source == "The map of now"
    assert after.cells[4].source == "curve = draw()  # it falls\ncurve;"
    assert after.cells[4].metadata.mystnb.figure.name == "linear-d2-s0-curves"
    assert after.cells[:2] == before.cells[:2]
    assert after.cells[4].outputs == before.cells[4].outputs != []
    assert capsys.readouterr().out == "pages refreshed: 1, executed: 0, unchanged: 1, left to make publish: 0\n"
    assert refresh(published) == 0
    assert capsys.readouterr().out == "pages refreshed: 0, executed: 0, unchanged: 2, left to make publish: 0\n"


def test_a_page_whose_code_changed_is_named_and_left_alone(published, capsys):
    before = page_of(published, "chapter")
    edit(published, "chapter", "2", source="table = run.model()")
    edit(published, "chapter", "0", source="# Chapter of now")
    assert refresh(published) == 0
    said = capsys.readouterr().out.splitlines()
    code = "the template has other code than what was executed"
    assert said[0] == f"chapter: {code}; it needs the weights: make publish"
    assert said[1] == "pages refreshed: 0, executed: 0, unchanged: 1, left to make publish: 1"
    assert page_of(published, "chapter") == before


def test_code_that_changes_no_output_is_taken_where_the_maintainer_says_so(published, capsys):
    outputs = page_of(published, "chapter").cells[2].outputs
    edit(published, "chapter", "2", source="table = one()")
    edit(published, "chapter", "2", before=new_code_cell("import one", id="new"))
    edit(published, "chapter", "3", source="show(table)")
    assert refresh(published, "chapter", same=True) == 0
    after = page_of(published, "chapter")
    assert [cell.source for cell in after.cells] == ["# Chapter", "import one", "table = one()", "show(table)"]
    assert after.cells[3].outputs == outputs
    assert capsys.readouterr().out.startswith("pages refreshed: 1,")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (dict(cell="3", remove=True), "the template is without cell 3, which has outputs"),
        (dict(cell="3", id="x"), "the template is without cell 3"),
        (
            dict(cell="3", before=new_code_cell("more()", id="new")),
            "cell new of the template is new and has no outputs",
        ),
    ],
)
def test_an_edit_that_brings_or_takes_outputs_is_refused(change, expected, published, capsys):
    before = page_of(published, "chapter")
    edit(published, "chapter", **change)
    assert refresh(published, "all", same=True) == 1
    assert expected in capsys.readouterr().out
    assert page_of(published, "chapter") == before


@pytest.mark.parametrize(("names", "same"), [(["chaptr"], False), ([], True)])
def test_pages_that_are_not_there_are_refused(names, same, published):
    assert "accepted are all and chapter, linear-d2-s0" in refresh(published, *names, same=same)


@pytest.fixture
def built(published):
    """A built edition of the project, in whose chapter another number stands."""
    book = published / "build" / "full" / "book"
    shutil.copytree(published / "book", book)
    page = nbformat.read(book / "pages" / "chapter.ipynb", as_version=4)
    page.cells[-1].outputs = [new_output("stream", name="stdout", text="42")]
    nbformat.write(page, book / "pages" / "chapter.ipynb")
    return book


def test_publishing_takes_the_pages_of_the_edition_and_nothing_else(built, published, capsys):
    (published / "book" / "pages" / "stale.ipynb").write_text("{}")
    (built / "pages" / "notes.txt").write_text("mine")
    publish.main(built)
    assert sorted(path.name for path in (published / "book" / "pages").iterdir()) == [
        "chapter.ipynb",
        "linear-d2-s0.ipynb",
    ]
    assert page_of(published, "chapter").cells[-1].outputs[0].text == "42"
    assert [path.name for path in (published / "book").iterdir() if path.name.startswith(".")] == []
    assert capsys.readouterr().out == "2 pages are published in book/pages\n"


def spoil(book, how):
    page = nbformat.read(book / "pages" / "chapter.ipynb", as_version=4)
    if how == "missing":
        (book / "pages" / "chapter.ipynb").unlink()
    elif how == "failed":
        page.cells[-1].outputs = [new_output("error", ename="RuntimeError", evalue="x", traceback=[])]
        nbformat.write(page, book / "pages" / "chapter.ipynb")
    elif how == "no file beside":
        page.cells[-1].metadata["tags"] = ["as-file"]
        nbformat.write(page, book / "pages" / "chapter.ipynb")
    elif how == "fewer":
        (book / "_toc.yml").write_text("root: index\nparts: [{caption: All, chapters: [{file: pages/chapter}]}]")
    elif how == "more":
        (book / "_toc.yml").write_text((book / "_toc.yml").read_text().replace("s0}", "s0}, {file: pages/conv-d2-s0}"))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("missing", "chapter.ipynb is missing"),
        ("failed", "failed: RuntimeError: x"),
        ("no file beside", "chapter-table.png is missing"),
        ("fewer", "book/_toc.yml names pages/linear-d2-s0, which"),
        ("more", "has pages/conv-d2-s0, which book/_toc.yml does not name"),
    ],
)
def test_nothing_is_published_unless_every_page_is_whole(how, expected, built, published):
    before = {path: path.read_bytes() for path in (published / "book" / "pages").iterdir()}
    spoil(built, how)
    with pytest.raises(SystemExit) as ended:
        publish.main(built)
    assert expected in ended.value.code
    assert ended.value.code.endswith("nothing was published")
    assert {path: path.read_bytes() for path in (published / "book" / "pages").iterdir()} == before
