"""What a page is made of: the cells of its template, the modules of vaelib behind what they use, records of runs.

A room of vaelib re-exports the names of its modules, so that a notebook that calls ``latent.lerp`` is made by
vaelib/latent/paths.py and what that imports, and by nothing else of the room.
"""

import ast
import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

import vaelib
from vaelib.provenance import code_sha256, syntax

LIBRARY = Path(vaelib.__file__).parent


def notebook_code(notebook: NotebookNode) -> str:
    """sha256 of all code that executing the notebook runs, without comments, docstrings and prose."""
    cells = [cell_code(cell) for cell in notebook.cells if cell.cell_type == "code"]
    modules = modules_used("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code"))
    return hashlib.sha256("\n".join([*cells, code_sha256(*sorted(modules))]).encode()).hexdigest()


def made_of(template: NotebookNode, values: dict[str, Any]) -> str:
    """sha256 of all that the template's page is made of with these parameters, where it needs no weights.

    It is the same of runs and of their records, wherever they lie.
    """
    where = {"data_root", "runs_root", "runs", "evaluated", "study", "studies", "sizes", "speed"}
    other = {name: value for name, value in values.items() if name not in where}
    parts, studies = [notebook_code(template), json.dumps(other, sort_keys=True)], files_of_studies(values)
    files = {file.name: file for file in [*studies, *map(Path, filter(None, [values.get("speed")]))]}
    runs = [*values.get("runs", []), *values.get("evaluated", []), *(run for file in studies for run in runs_in(file))]
    for run in (Path(os.path.normpath(run)) for run in runs):
        # A run is named by its folders from the one for runs on, such as studies/mnist/conv-d2-s0.
        for name in ("config.json", "history.csv", "metrics.json"):
            files["/".join([*run.parts[-3:], name])] = run / name
    for name, file in files.items():
        content = file.read_bytes() if file.is_file() else b""
        if name.endswith(".json") and content:  # a record's JSON is written without spaces
            content = json.dumps(json.loads(content)).encode()
        parts += [name, hash_of(content)]
    return hash_of("\n".join(parts).encode())


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_of_studies(values: dict[str, Any]) -> list[Path]:
    """The files that name the runs of a chapter with these parameters: of its study, of all studies, of sizes."""
    files = [Path(values[name]) for name in ("study", "sizes") if values.get(name)]
    if values.get("studies"):
        files += [file for file in sorted(Path(values["studies"]).glob("*.json")) if file.name != "sizes.json"]
    return files


def runs_in(file: Path) -> list[Path]:
    """The folders of all runs that a file of a study or of sizes names; none where it is not there."""

    def names(value) -> list[str]:
        if isinstance(value, str):
            return [value]
        return [name for own in (value.values() if isinstance(value, dict) else value) for name in names(own)]

    return [file.parent / name for name in names(json.loads(file.read_text("utf-8")))] if file.is_file() else []


def needs_weights(notebook: NotebookNode) -> bool:
    """Whether its code asks a run, or the classifier, for what only weights can give, or trains."""
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    called = {
        node.func.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    return bool(called & {"model", "snapshots", "find_classifier", "train"})


def cell_code(cell: NotebookNode) -> str:
    """A cell's code without comments and layout; the semicolon that hides its last value is kept."""
    return syntax(cell.source) + (";" if cell.source.rstrip().endswith(";") else "")


def modules_used(source: str) -> set[str]:
    """The modules of vaelib behind the names that this code uses; what they import is not followed."""
    tree = ast.parse(source)
    known = {}  # a name in the code -> what it stands for, such as vaelib.latent.lerp
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vaelib":
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            own = [alias for alias in node.names if alias.name.split(".")[0] == "vaelib"]
            known |= {alias.asname or "vaelib": alias.name if alias.asname else "vaelib" for alias in own}

    used = set()

    def visit(node: ast.AST, attributes: tuple[str, ...] = ()):
        if isinstance(node, ast.Attribute):
            visit(node.value, (node.attr, *attributes))
        elif isinstance(node, ast.Name):
            if node.id in known:
                used.update(modules_behind(".".join([known[node.id], *attributes])))
        else:
            for child in ast.iter_child_nodes(node):
                visit(child)

    visit(tree)
    return used


def modules_behind(name: str) -> set[str]:
    """The modules that define a dotted name: one for a function, all of a room for the room itself."""
    module, *rest = name.split(".")
    for place, part in enumerate(rest):
        if _path(f"{module}.{part}").exists() or _path(f"{module}.{part}").with_suffix(".py").exists():
            module = f"{module}.{part}"
        elif not _path(module).is_dir():  # a name of this module, and perhaps attributes of what it stands for
            return {module}
        elif part in _exported(module):
            return modules_behind(".".join([_exported(module)[part], *rest[place + 1 :]]))
        else:
            break
    if not _path(module).is_dir():
        return {module}
    files = [file.relative_to(LIBRARY.parent).with_suffix("") for file in _path(module).rglob("*.py")]
    return {".".join(file.parts) for file in files if file.name not in ("__init__", "__main__")}


def _path(module: str) -> Path:
    return LIBRARY.parent.joinpath(*module.split("."))


@cache
def _exported(package: str) -> dict[str, str]:
    """The names that a package takes from its modules, each with where it is from."""
    if package == "vaelib":  # its names are imported when they are first used
        return {name: f"vaelib.{room}.{name}" for name, room in vaelib._ROOMS.items()}
    tree = ast.parse((_path(package) / "__init__.py").read_text("utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in imports for alias in node.names}
