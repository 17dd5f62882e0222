"""Executing a notebook, and the code that it runs."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
import yaml
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import vaelib
from vaelib import provenance
from workflow import sources


def notebook(*sources, parameters="runs = []"):
    cells = [new_markdown_cell("# Title"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    made = new_notebook(cells=cells + [new_code_cell(source) for source in sources])
    made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def execute(template, out, parameters, **environment):
    """The template executed as one notebook, or as several of as many sets of parameters."""
    outs, sets = (out, parameters) if isinstance(out, list) else ([out], [parameters])
    command = [sys.executable, str(ROOT / "workflow" / "execute.py"), str(template), *map(str, outs)]
    command += [f"--parameters={json.dumps(own)}" for own in sets]
    return subprocess.run(command, capture_output=True, text=True, cwd=template.parent, env=os.environ | environment)


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("from vaelib import latent\nlatent.lerp(a, b, 3)", {"latent.paths"}),
        ("from vaelib import latent as inside\nprint(inside.lerp(a, b, 3).shape)", {"latent.paths"}),
        ("from vaelib.latent import lerp\nlist(map(lerp, a, b))", {"latent.paths"}),
        ("import vaelib.latent.paths\nvaelib.latent.paths.lerp(a, b, 3)", {"latent.paths"}),
        ("from vaelib import latent\nlatent.paths", {"latent.paths"}),
        ("from vaelib import latent\nlatent.lerp(latent.pca(z))", {"latent.paths", "latent.embedding"}),
        ("from vaelib import latent", set()),
        ("from vaelib.config import InputError, TrainingConfig\nTrainingConfig(epochs=1).run_name", {"config"}),
        ("from vaelib import InputError\nraise InputError", {"config"}),
        ("import vaelib\nvaelib.train(epochs=1)", {"training.loop"}),
        ("import numpy as latent\nlatent.lerp", set()),
    ],
)
def test_a_notebook_uses_the_modules_behind_the_names_that_it_takes(source, modules):
    assert sources.modules_used(source) == {f"vaelib.{module}" for module in modules}


@pytest.mark.parametrize("use", ["getattr(latent, name)", "rooms = [latent]", "latent.of_no_module(1)"])
def test_a_room_that_is_used_otherwise_is_used_whole(use):
    files = (ROOT / "vaelib" / "latent").glob("*.py")
    whole = {f"vaelib.latent.{file.stem}" for file in files if file.stem != "__init__"}
    assert sources.modules_used(f"from vaelib import latent\n{use}") == whole


def test_the_code_of_a_notebook_is_neither_its_prose_nor_its_comments():
    before = notebook("x = 1  # one", "x;")
    same = notebook("# the number\nx = 1", "x;")
    same.cells.insert(0, new_markdown_cell("Words"))
    assert sources.notebook_code(same) == sources.notebook_code(before)
    for other in (notebook("x = 2", "x;"), notebook("x = 1", "x"), notebook("x = 1", "x;", parameters="runs = [1]")):
        assert sources.notebook_code(other) != sources.notebook_code(before)


def test_the_code_of_a_notebook_is_also_that_of_the_modules_it_uses(monkeypatch):
    def hashes():
        uses = {
            "paths": "from vaelib import latent\nlatent.lerp(a)",
            "embedding": "from vaelib import latent\nlatent.pca(z)",
        }
        return {name: sources.notebook_code(notebook(source)) for name, source in uses.items()}

    before = hashes()
    original = provenance._code
    monkeypatch.setattr(provenance, "_code", lambda name: original(name) + "x" * (name == "vaelib.latent.paths"))
    after = hashes()
    assert after["paths"] != before["paths"]
    assert after["embedding"] == before["embedding"]


def test_chapters_are_made_by_what_they_draw_and_measure_with():
    used = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        used[path.stem] = {module.removeprefix("vaelib.") for module in sources.modules_used(code)}
    assert "latent.paths" in used["interpolation"]
    assert "latent.paths" not in used["grid"] | used["reproduce"]
    assert "training.loop" in used["train"]
    for name, modules in used.items():
        rooms = {module.split(".")[0] for module in modules}
        assert "cli" not in rooms, name


def test_a_notebook_is_executed_with_its_parameters(tmp_path):
    nbformat.write(notebook("print(k2, runs)", parameters="k2 = 1.0  # beta = k2/k1\nruns = []"), tmp_path / "in.ipynb")
    # a folder for temporary files whose path leaves no room for the path of a socket
    long = tmp_path / ("x" * 100)
    long.mkdir()
    done = execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"k2": 2.5, "runs": ["a"]}, TMPDIR=str(long))
    assert done.returncode == 0, done.stderr
    (output,) = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs
    assert output.text == "2.5 ['a']\n"
    done = execute(tmp_path / "in.ipynb", tmp_path / "other.ipynb", {"beta": 2.5})
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path / 'in.ipynb'} has no parameter beta: accepted are k2, runs\n"
    assert not (tmp_path / "other.ipynb").exists()


def test_notebooks_of_one_kernel_do_not_see_each_other_and_one_that_fails_stops_no_other(tmp_path):
    source = "print(k2, 'left' in globals(), len(In))\nleft = 1\nassert k2 != 2, 'two'"
    nbformat.write(notebook(source, parameters="k2 = 1.0"), tmp_path / "in.ipynb")
    outs = [tmp_path / f"{name}.ipynb" for name in "abcd"]
    done = execute(tmp_path / "in.ipynb", outs, [{"k2": value} for value in (1, 2, 3, 4)])
    assert done.returncode == 1
    assert done.stderr.strip() == f"{tmp_path / 'in.ipynb'} in {outs[1]}: AssertionError: two"
    pages = [nbformat.read(out, as_version=4) for out in outs]
    # Each begins to count at 1: the parameters, those given, and the cell that prints.
    said = ["1 False 4", "2 False 4", "3 False 4", "4 False 4"]
    assert [page.cells[-1].outputs[0].text.strip() for page in pages] == said
    assert [page.cells[-1].execution_count for page in pages] == [3] * 4


def test_a_kernel_takes_the_projects_own_packages(tmp_path):
    (tmp_path / "other" / "vaelib").mkdir(parents=True)
    (tmp_path / "other" / "vaelib" / "__init__.py").write_text("raise SystemExit('another vaelib')")
    nbformat.write(notebook("import vaelib\nprint(vaelib.__version__)"), tmp_path / "in.ipynb")
    done = execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {}, PYTHONPATH=str(tmp_path / "other"))
    assert done.returncode == 0, done.stderr
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs[0].text.strip() == vaelib.__version__


def test_notebooks_without_parameters_of_their_own_are_refused(tmp_path):
    nbformat.write(notebook("1"), tmp_path / "in.ipynb")
    done = execute(tmp_path / "in.ipynb", [tmp_path / "a.ipynb", tmp_path / "b.ipynb"], [{}])
    assert done.returncode == 2
    assert done.stderr == "1 sets of parameters for 2 notebooks: accepted is one -p for each\n"


def test_a_page_of_a_machine_without_a_home_is_no_fault(tmp_path):
    """matplotlib complains there of the folder for its cache."""
    drawing = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    template = notebook(drawing)
    nbformat.write(template, tmp_path / "in.ipynb")
    nowhere = dict(HOME="/dev/null", XDG_CACHE_HOME=str(tmp_path / "cache"), MPLCONFIGDIR="/dev/null/x")
    done = execute(tmp_path / "in.ipynb", tmp_path / "page.ipynb", {}, **nowhere)
    assert done.returncode == 0, done.stderr
    outputs = nbformat.read(tmp_path / "page.ipynb", as_version=4).cells[-1].outputs
    assert any("Matplotlib created a temporary cache directory" in output.get("text", "") for output in outputs)
    command = [sys.executable, str(ROOT / "workflow" / "stage.py"), "in.ipynb", "page.ipynb", "pages"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = nbformat.read(tmp_path / "pages" / "page.ipynb", as_version=4)
    assert [output.output_type for output in page.cells[-1].outputs] == ["display_data"]


@pytest.mark.parametrize("name", [path.name for path in (ROOT / "profiles").iterdir()])
def test_every_key_of_a_profile_is_an_option_of_snakemake(name):
    from snakemake.cli import get_argument_parser

    keys = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    options = {option for action in get_argument_parser()._actions for option in action.option_strings}
    assert {f"--{key}" for key in keys} <= options


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    phony = next(line for line in text.splitlines() if line.startswith(".PHONY")).split()[1:]
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], capture_output=True, text=True, cwd=ROOT
    ).stdout.splitlines()
    assert {line.split()[0] for line in listed} == set(phony)
