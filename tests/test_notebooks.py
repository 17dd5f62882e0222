import ast
import base64
import dataclasses
import inspect
import io
import json
import re
import subprocess
import sys
import tempfile
import warnings

import nbformat
import numpy as np
import papermill
import pytest
from conftest import ROOT
from PIL import Image
from traitlets.config import Config

from vaelib import evaluation, training
from vaelib.config import ARCHS, InputError, TrainingConfig
from vaelib.results import findings

TEMPLATES = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTE = [sys.executable, str(ROOT / "workflow" / "execute.py")]
TINY = dict(dataset="digits", epochs=2, encoder_widths=[8])
FILMS = {"film", "frames_of", "gif", "player", "sheets"}  # what moves stands on a page as HTML or as a file
# These are executed on own images in test_studies.py.
STUDIES = {"weights", "dimensions", "noise", "start", "reports"}
# These two speak of the known sets by their names.
NAMES_SETS = {"train.ipynb", "reproduce.ipynb"}
# Chapters that say what they found by findings; those of the studies are tested in test_studies.py.
FOUND = [
    "grid", "bound", "rate", "samples", "equal", "ablation",
    "embeddings", "evolution", "map", "interpolation", "classes", "confusion",
]  # fmt: skip


def execute(template, out, parameters):
    command = [*EXECUTE, str(ROOT / "notebooks" / template), str(out), "-p", json.dumps(parameters)]
    return subprocess.run(command, capture_output=True, text=True, cwd=out.parent)


def pictures(notebook):
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def captions(path):
    """What is said of each figure, to those who see it and to those who do not."""
    shown = [cell.metadata.mystnb for cell in code_cells(path) if "mystnb" in cell.metadata]
    return [text for one in shown for text in (one.figure.caption, one.image.alt)]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("executed")
    done = execute("train.ipynb", folder / "page.ipynb", TINY | {"runs_root": "runs"})
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_are_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].source.startswith("# ")
    code = code_cells(path)
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    written = [cell for cell in code if "parameters" not in cell.metadata.get("tags", [])]
    assert max(cell.source.count("\n") + 1 for cell in written) <= 25
    for cell in code:
        tree = ast.parse(cell.source)
        assert not any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in ast.walk(tree))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_import_rooms_of_vaelib_and_no_files(path):
    rooms = {file.parent.name for file in (ROOT / "vaelib").glob("*/__init__.py")} | {"config"}
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("vaelib"):
                names = {alias.name for alias in node.names}
                assert node.module in ("vaelib", "vaelib.config", "vaelib.results")
                assert names <= {"vaelib": rooms, "vaelib.results": {"findings"}}.get(node.module, names)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_parameter_is_known_and_says_what_it_is(path):
    given, first = code_cells(path)[:2]
    names = {name for line in ast.parse(given.source).body for name in [line.targets[0].id]}
    assert all("  # " in line for line in given.source.splitlines())
    if path.name != "train.ipynb":
        known = next(node for node in ast.walk(ast.parse(first.source)) if isinstance(node, ast.List))
        assert {item.value for item in known.elts} == names
        assert {"dataset", "runs_root"} <= names


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_the_text_fits_any_data_set_and_any_architectures(path):
    prose = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    assert not re.search(r"\bjudges?\b|\bdear(er|est)?\b", "\n".join(prose), re.IGNORECASE)
    if path.name not in NAMES_SETS:
        assert not re.search(r"\bdigits?\b|MNIST|\bconv\b|\bconvbn\b", "\n".join(prose), re.IGNORECASE)
    assert not re.search(r"\bdigits?\b|MNIST|\bconv\b|\blinear (and|model)", "\n".join(captions(path)), re.IGNORECASE)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_chapter_asks_only_in_its_headings_and_exercises(path):
    cells = nbformat.read(path, as_version=4).cells
    exercise = re.compile(r"```\{admonition\} (Exercise|Solution)\n.*?\n```", re.DOTALL)
    prose = [exercise.sub("", cell.source) for cell in cells if cell.cell_type == "markdown"]
    lines = [line for text in prose for line in text.splitlines() if not line.startswith("#")]
    assert not [line for line in [*lines, *captions(path)] if "?" in line]


# The exhibits of the museum come one by one, and their numbers are gathered at its end.
@pytest.mark.parametrize("path", [p for p in TEMPLATES if p.stem != "museum"], ids=lambda path: path.name)
def test_a_chapter_opens_with_what_it_found(path):
    cells = nbformat.read(path, as_version=4).cells
    headings = [place for place, cell in enumerate(cells) if cell.source.startswith("## ")]
    assert cells[headings[0]].source.startswith("## What was found")
    found = cells[headings[0] + 1]
    assert found.cell_type == "code"
    assert "Markdown(" in found.source
    shown = [cell for cell in cells[: headings[0]] if "mystnb" in cell.metadata]
    assert not shown, "a figure stands before what was found"


def shown_by(path):
    """The labels of the page's figures and sections, and what its glued tables would be called."""
    cells = code_cells(path)
    labelled = re.findall(r"^\(([\w-]+)\)=$", "\n".join(c.source for c in nbformat.read(path, 4).cells), re.MULTILINE)
    drawn = [cell.metadata.mystnb.figure.name for cell in cells if "mystnb" in cell.metadata]
    glued = re.findall(r'glue\("([\w-]+)"', "\n".join(cell.source for cell in cells))
    return {f"{path.stem}-{name}" for name in drawn + glued} | set(labelled)


@pytest.mark.parametrize("name", FOUND)
def test_a_finding_of_a_chapter_rests_on_what_a_chapter_shows(name):
    source = "\n".join(cell.source for cell in code_cells(ROOT / "notebooks" / f"{name}.ipynb"))
    used = set(re.findall(r"findings\.(\w+)", source))
    rests = set()
    for find in (getattr(findings, one) for one in used):
        if hasattr(find, "__wrapped__"):
            needed = [own for own in inspect.signature(find).parameters.values() if own.default is own.empty]
            rests.add(find(*[None] * len(needed)).where)
    assert any(where.startswith(f"{name}-") for where in rests)
    assert rests <= set().union(*map(shown_by, TEMPLATES))


def test_the_parameters_of_train_are_the_settings_and_their_defaults():
    inferred = papermill.inspect_notebook(str(ROOT / "notebooks" / "train.ipynb"))
    fields = dataclasses.fields(TrainingConfig)
    assert list(inferred) == [field.name for field in fields]
    for field in fields:
        default = ast.literal_eval(inferred[field.name]["default"])
        assert isinstance(default, bool) == (field.type is bool)
        assert (tuple(default) if isinstance(default, list) else default) == field.default
        assert inferred[field.name]["help"]
    assert set(ARCHS) == set(re.findall(r"\w+", inferred["arch"]["help"])) - {"or"}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_figures_have_captions_and_words_for_those_who_do_not_see_them(path):
    for cell in code_cells(path):
        used = set(re.findall(r"figures\.(\w+)\(", cell.source)) - {"shown_epochs"}
        if used and not used & FILMS:
            shown = cell.metadata.mystnb
            assert shown.figure.caption
            assert shown.figure.name
            assert shown.image.alt


def test_a_cell_trains_and_draws(executed):
    notebook = nbformat.read(executed / "page.ipynb", as_version=4)
    assert pictures(notebook) == 5
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("L"))
                assert (picture < 200).mean() > 0.01, f"hardly anything is drawn by: {cell.source}"
    assert (executed / "runs/digits/linear-d2-s0-epochs2-encoder_widths8/model.safetensors").is_file()
    streams = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "stream"
    ]
    assert streams == []


def test_the_grid_and_the_reproduce_page_read_the_runs(executed):
    for template, shown in (("grid.ipynb", 3), ("reproduce.ipynb", 0)):
        parameters = {"dataset": "digits", "runs_root": "runs"}
        done = execute(template, executed / f"out-{template}", parameters)
        assert done.returncode == 0, done.stderr
        assert pictures(nbformat.read(executed / f"out-{template}", as_version=4)) == shown


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    done = execute("train.ipynb", tmp_path / "out.ipynb", {"latent_dims": 2})
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no parameter latent_dims: accepted are dataset, arch, preset, latent_dim" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bad_value_ends_in_one_line(tmp_path):
    done = execute("train.ipynb", tmp_path / "out.ipynb", {"latent_dim": 0})
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.strip().endswith("InputError: latent_dim 0: accepted is 1 to 4,096 (dimensions of z)")


@pytest.mark.filterwarnings("ignore")
def test_plain_papermill_fails_on_an_unknown_parameter_too(tmp_path):
    # Kernels side by side race for TCP ports: this one talks over a socket, in a folder whose path is short enough.
    with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
        over_ipc = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/socket"}})
        with pytest.raises(papermill.PapermillExecutionError) as caught:
            papermill.execute_notebook(
                str(ROOT / "notebooks" / "grid.ipynb"), str(tmp_path / "out.ipynb"), {"z_dim": 2},
                progress_bar=False, config=over_ipc,
            )  # fmt: skip
    assert caught.value.ename == "InputError"
    assert "unknown parameter 'z_dim'" in caught.value.evalue
    # What a reader sees in the notebook is that line, and no traceback.
    outputs = [
        output
        for cell in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
        for output in cell.get("outputs", [])
    ]
    assert [output.traceback for output in outputs if output.output_type == "error"] == [[caught.value.evalue]]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_template_refuses_an_unknown_parameter_first(path):
    """Its first two cells, as papermill would run them with a parameter injected between them."""
    given, first = code_cells(path)[:2]
    assert "parameters" in given.metadata.tags
    namespace = {}
    exec(given.source, namespace)
    namespace["z_dim"] = 2
    with pytest.raises(InputError, match="unknown parameter 'z_dim': accepted are "):
        exec(first.source, namespace)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_that_finds_no_runs_says_what_it_looks_for_and_where(path, tmp_path):
    if path.name == "train.ipynb":
        return
    given, first = code_cells(path)[:2]
    namespace = {}
    exec(given.source, namespace)
    namespace["runs_root"] = str(tmp_path / "runs")
    if path.name == "museum.ipynb":
        namespace["dataset"] = "digits"  # It needs no run but a classifier, which it looks for after the images.
    with pytest.raises(InputError, match=f"^no .*{re.escape(str(tmp_path))}.*(vaelib train|make)") as caught:
        exec(first.source, namespace)
    assert "\n" not in str(caught.value)


def run_cells(path, **parameters):
    """The template's code in this process, as a kernel would run it with these parameters."""
    given, *cells = code_cells(path)
    namespace = {}
    exec(given.source, namespace)
    namespace |= {name: value for name, value in parameters.items() if name in namespace}
    for cell in cells:
        exec(cell.source, namespace)


@pytest.fixture(scope="module")
def strokes(tmp_path_factory):
    """A finished edition of own images, 16 by 16, whose classes are words, one of them with three images only."""
    folder = tmp_path_factory.mktemp("strokes")
    shapes = np.zeros((3, 16, 16))
    shapes[0, 7:9, 2:14] = shapes[1, 2:14, 7:9] = 1
    shapes[2] = np.eye(16)
    kinds = np.repeat([0, 1, 2], [40, 40, 3])
    images = shapes[kinds] * np.random.default_rng(0).uniform(0.6, 1, (len(kinds), 1, 1))
    names = np.array(["flat", "upright", "leaning line"])
    np.savez(folder / "strokes.npz", images=(255 * images).astype(np.uint8), labels=names[kinds])
    common = dict(dataset=str(folder / "strokes.npz"), epochs=2, batch_size=16, encoder_widths=(8,))

    def trained(part, **settings):
        run = training.train(**common | settings, runs_root=str(folder / part))
        return str(run.path.relative_to(folder))

    grid = [trained("runs", arch=arch, latent_dim=d) for arch in ("linear", "conv") for d in (2, 3)]
    matched = [trained("studies", latent_dim=d, encoder_widths=(9,)) for d in (2, 3)]
    presets = {"tuned": "tuned", "the textbook model": "textbook"}
    arms = {
        name: [trained("studies", preset=preset, seed=seed, held_out=10) for seed in (0, 1)]
        for name, preset in presets.items()
    }
    training.train_classifier(common["dataset"], epochs=1, batch_size=16, runs_root=str(folder / "runs"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "FID of")
        for path in grid + matched:
            classifier = folder / "runs" / "strokes" / "classifier-s0"
            evaluation.evaluate(folder / path, classifier=classifier, depth=evaluation.Depth(10, 10, 0, 1, 5, 5, 20))
    pairs = [(f"../{one}", f"../{other}") for one, other in zip(matched, grid[2:], strict=True)]
    (folder / "studies" / "sizes.json").write_text(json.dumps({"equal": pairs, "sized": []}))
    arms = {name: [f"../{path}" for path in paths] for name, paths in arms.items()}
    (folder / "studies" / "ablation.json").write_text(json.dumps({"linear": arms}))
    return dict(dataset=common["dataset"], runs_root=str(folder / "runs")), [str(folder / path) for path in grid]


@pytest.mark.parametrize("path", [path for path in TEMPLATES if path.stem not in STUDIES], ids=lambda path: path.name)
def test_every_chapter_is_right_for_own_images_with_few_of_a_class(path, strokes):
    folders, _ = strokes
    settings = dict(epochs=2, batch_size=16, encoder_widths=[8]) if path.name == "train.ipynb" else {}
    run_cells(path, **folders, **settings)


@pytest.mark.parametrize(
    "name", ["grid", "bound", "rate", "samples", "interpolation", "classes", "confusion", "reproduce"]
)
def test_a_chapter_shows_one_model_alone(name, strokes):
    folders, paths = strokes
    run_cells(ROOT / "notebooks" / f"{name}.ipynb", runs=paths[3:], evaluated=paths[3:], **folders)


@pytest.mark.parametrize("name", ["embeddings", "evolution", "map"])
def test_a_chapter_on_the_plane_names_the_dimension_that_it_lacks(name, strokes):
    folders, paths = strokes
    with pytest.raises(InputError, match="no run with latent_dim 2 among these, whose latent_dim is 3"):
        run_cells(ROOT / "notebooks" / f"{name}.ipynb", runs=paths[3:], evaluated=paths[3:], **folders)
