"""What CONTRIBUTING.md promises: a new architecture, chapter and measure reach every page by the files it names.

The changes are made in a copy of the project, of the very code that CONTRIBUTING.md shows, and an edition is built.
"""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

pytestmark = pytest.mark.edition
EDITION = """
edition: tiny
dataset: digits
archs: [linear, lowrank]
latent_dims: [2, 3]
seeds: [0]
settings: {epochs: 1, batch_size: 64, encoder_widths: [8]}
classifier: {epochs: 2, batch_size: 32}
evaluation: {draws: 10, images: 20, resamplings: 1}
studies:
  ablation:
    settings: {held_out: 200}
    latent_dims: [2]
    seeds: [0, 1]
    evaluation: false
    arms: {lowrank: {tuned: {}, the textbook model: {preset: textbook}}}
"""
GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def guide(section: str, file: str) -> str:
    """The code that CONTRIBUTING.md shows of that file in that section."""
    block = re.search(rf"^## {section}\n.*?^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)[1]
    return re.search(rf"^# {re.escape(file)}[^\n]*\n(.*?)(?=^# |\Z)", block, re.MULTILINE | re.DOTALL)[1]


def edit(path, old: str, new: str):
    text = path.read_text("utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new, 1), "utf-8")


def copied(folder):
    """The project without its published pages and what was built."""
    for name in ("vaelib", "workflow", "notebooks", "profiles", "bench"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns("pages", "_build"))
    for name in ("Snakefile", "_config.yml"):
        shutil.copy(ROOT / name, folder)
    return folder


def contents(folder) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text("utf-8", "replace") for path in files}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = copied(tmp_path_factory.mktemp("project") / "it's a project")
    before = contents(folder)

    # an architecture
    edit(
        folder / "vaelib/config.py",
        '    "convbn": Arch(',
        f'{indented(guide("An architecture", "vaelib/config.py"))}    "convbn": Arch(',
    )
    archs = folder / "vaelib/models/archs.py"
    archs.write_text(archs.read_text("utf-8") + "\n\n" + guide("An architecture", "vaelib/models/archs.py"), "utf-8")
    # a chapter
    template = new_notebook(
        cells=[
            new_markdown_cell("# A toy chapter\n\nHow long the codes are. It takes seconds."),
            new_code_cell(
                re.search(r"## A chapter\n.*?```python\n(.*?)```", GUIDE, re.DOTALL)[1].strip(),
                metadata={"tags": ["parameters"]},
            ),
            new_code_cell(
                "from vaelib import evaluation, results\n\n"
                "found = results.find_runs(evaluated, runs_root, dataset)\n"
                "table = results.table_of(found, evaluation.values)\n"
                "results.by_cell(table, {'code_length': 'length of the mean code'})"
            ),
        ]
    )
    template.metadata.update(
        kernelspec={"name": "python3", "display_name": "Python 3"}, language_info={"name": "python"}
    )
    nbformat.write(template, folder / "notebooks/toy.ipynb")
    edit(folder / "book/_toc.yml", "      - file: pages/grid\n", "      - file: pages/grid\n      - file: pages/toy\n")
    # a measure
    line = guide("A measure with its column", "vaelib/evaluation/evaluate.py").strip()
    edit(
        folder / "vaelib/evaluation/evaluate.py",
        "    # A thousand draws outweigh",
        f"    {line}\n    # A thousand draws outweigh",
    )

    after = contents(folder)
    changed = {name for name in after if after[name] != before.get(name)}
    (folder / "editions").mkdir()
    (folder / "editions/tiny.yaml").write_text(EDITION, "utf-8")
    env = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "snakemake", "--configfile", "editions/tiny.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, changed


def indented(code: str) -> str:
    return "".join(f"    {line}" for line in code.splitlines(keepends=True))


def executed(project) -> dict[str, nbformat.NotebookNode]:
    folder, _ = project
    return {path.stem: nbformat.read(path, as_version=4) for path in (folder / "build/tiny/executed").glob("*.ipynb")}


def outputs(notebook, kind: str):
    return [o.data[kind] for cell in notebook.cells for o in cell.get("outputs", []) if kind in o.get("data", {})]


def test_the_changes_touch_the_files_that_the_guide_names(project):
    code = {"vaelib/config.py", "vaelib/models/archs.py", "vaelib/evaluation/evaluate.py"}
    assert project[1] == code | {"notebooks/toy.ipynb", "book/_toc.yml"}


def test_the_architecture_is_in_every_table_that_has_the_others(project):
    for name, notebook in executed(project).items():
        if name.startswith(("linear-", "lowrank-")):
            continue
        for html in outputs(notebook, "text/html"):
            shown = re.sub("<[^>]+>", " ", html)
            others = re.search(r"(?<!tuned )\blinear\b", shown)  # The table of make bench names models of its own.
            assert "lowrank" in shown or not others, f"{name}: {shown[:300]}"


def test_the_architecture_is_in_every_figure_that_has_the_others_colours(project):
    linear, toy = (np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) for colour in ("#0072B2", "#CC79A7"))
    seen = 0
    for name, notebook in executed(project).items():
        for png in outputs(notebook, "image/png"):
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")).astype(int)
            if name.startswith("linear-") or (np.abs(picture - linear).max(2) <= 2).sum() < 20:
                continue
            seen += 1
            assert (np.abs(picture - toy).max(2) <= 2).sum() >= 20, name
    assert seen >= 6


def test_the_architecture_has_pages_of_its_own(project):
    html = (project[0] / "build/tiny/_build/html/pages/lowrank-d2-s0.html").read_text("utf-8")
    assert "lowrank, d = 2" in html


def test_the_chapter_is_in_the_built_book(project):
    site = project[0] / "build/tiny/_build/html"
    assert "A toy chapter" in (site / "index.html").read_text("utf-8")
    assert "length of the mean code" in (site / "pages/toy.html").read_text("utf-8")


def test_the_measure_is_in_metrics_json_and_its_column_in_the_chapter(project):
    run = next((project[0] / "build/tiny/runs/digits").glob("lowrank-d2-*"))
    measures = json.loads((run / "metrics.json").read_text("utf-8"))["measures"]
    assert measures["code_length"]["value"] > 0
    assert measures["code_length"]["over"] == "images"
    (table,) = outputs(executed(project)["toy"], "text/html")
    assert f"{measures['code_length']['value']:.2f}" in table
