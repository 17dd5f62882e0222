import ast
import base64
import dataclasses
import io
import json
import subprocess
import sys
import tempfile

import nbformat
import numpy as np
import papermill
import pytest
from conftest import ROOT
from PIL import Image
from traitlets.config import Config

from vaelib import InputError
from vaelib.config import TrainingConfig

TEMPLATES = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXECUTE = [sys.executable, str(ROOT / "workflow" / "execute.py")]
TINY = dict(dataset="digits", epochs=2, encoder_widths=[8])


def execute(template, out, parameters, *more):
    command = [*EXECUTE, str(ROOT / "notebooks" / template), str(out), "-p", json.dumps(parameters), *more]
    return subprocess.run(command, capture_output=True, text=True, cwd=out.parent)


def pictures(notebook):
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


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
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert max(cell.source.count("\n") + 1 for cell in code) <= 25
    for cell in code:
        tree = ast.parse(cell.source)
        assert not any(isinstance(node, ast.ClassDef | ast.FunctionDef) for node in ast.walk(tree))


def test_the_parameters_of_train_are_the_settings_and_their_defaults():
    inferred = papermill.inspect_notebook(str(ROOT / "notebooks" / "train.ipynb"))
    fields = dataclasses.fields(TrainingConfig)
    assert list(inferred) == [field.name for field in fields]
    for field in fields:
        default = ast.literal_eval(inferred[field.name]["default"])
        assert not isinstance(default, bool)
        assert (tuple(default) if isinstance(default, list) else default) == field.default
        assert inferred[field.name]["help"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_figures_have_captions_and_words_for_those_who_do_not_see_them(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and "plots." in cell.source and "pd.DataFrame" not in cell.source:
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


def test_execution_can_stop_after_training(executed):
    out = executed / "trained.ipynb"
    assert execute("train.ipynb", out, TINY | {"runs_root": "runs"}, "--until", "train").returncode == 0
    assert pictures(nbformat.read(out, as_version=4)) == 0


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
    # over a socket: kernels side by side race for TCP ports; in a folder of its own, for its path must be short
    with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
        over_ipc = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/socket"}})
        with pytest.raises(papermill.PapermillExecutionError) as caught:
            papermill.execute_notebook(
                str(ROOT / "notebooks" / "grid.ipynb"), str(tmp_path / "out.ipynb"), {"z_dim": 2},
                progress_bar=False, config=over_ipc,
            )  # fmt: skip
    assert caught.value.ename == "InputError"
    assert "unknown parameter 'z_dim'" in caught.value.evalue


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_template_refuses_an_unknown_parameter_first(path):
    """Its first two cells, as papermill would run them with a parameter injected between them."""
    given, first = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"][:2]
    assert "parameters" in given.metadata.tags
    namespace = {}
    exec(given.source, namespace)
    namespace["z_dim"] = 2
    with pytest.raises(InputError, match="unknown parameter 'z_dim': accepted are "):
        exec(first.source, namespace)
