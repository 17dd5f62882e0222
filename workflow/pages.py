"""Refresh the published pages from their templates: make pages.

Prose, captions and comments of the code follow the template; outputs stay. A chapter that needs no weights is executed
anew from the records of the published runs where its code, or a module of vaelib behind it, or a record changed. Any
other page whose code changed is left alone and named: make publish executes it. Where the maintainer knows that an edit
changes no output, ``--same`` takes the new code, cell by cell after their ids.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import nbformat
import typer
import yaml
from nbformat import NotebookNode

# The project's own packages are found, and win over others of their names, also where this file is run by its path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from vaelib.config import InputError
from workflow.chapters import ROOT, chapter, parameters
from workflow.edition import Edition
from workflow.sources import made_of, needs_weights, runs_in
from workflow.stage import code_cells, dressed, faults, in_order, staged, write

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="PAGE...", help="Pages, or all, the default.")] = None,
    same: Annotated[bool, typer.Option("--same", help="Edits of their code change none of their outputs.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder of the published pages.")] = ROOT / "book" / "pages",
    file: Annotated[Path, typer.Option("--edition", help="The edition that is published.")] = (
        ROOT / "editions" / "full.yaml"
    ),
):
    """Refresh the published pages from their templates."""
    found = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    unknown = sorted(set(names or []) - {"all", *found})
    if unknown or (same and not names):
        sys.exit(f"{', '.join(unknown) or '--same alone'}: accepted are all and {', '.join(found)}")
    wanted = found if not names or "all" in names else {name: found[name] for name in names}
    try:
        edition = recorded(file)
    except InputError as error:
        sys.exit(f"{file}: {error}")
    refreshed, outdated, left = set(), {}, {}
    for name, path in wanted.items():
        template = ROOT / "notebooks" / path.name
        template = template if template.exists() else ROOT / "notebooks" / "train.ipynb"
        form, page = nbformat.read(template, as_version=4), nbformat.read(path, as_version=4)
        values, lacking = of_records(template, form, edition)
        new, why = page, ""
        try:
            new = refresh(page, form, name, same)
        except ValueError as error:
            why = f"{error}; {lacking}"
        now = made_of(form, values) if values else page.metadata.get("made_of")
        if now != page.metadata.get("made_of") and not same:
            outdated[name], why = (template, values), ""
        elif now and not why:
            new.metadata = {**page.metadata, "made_of": now}
        if why or (lacking and edition and not needs_weights(form)):
            left[name] = why or lacking
        if new != page:
            refreshed.add(name)
            nbformat.write(new, path)

    if missing := data_lacking(edition) if outdated else "":
        left |= dict.fromkeys(outdated, "")  # one line says it of all
        print(f"{', '.join(outdated)} cannot be executed: {missing}")
    for name, (template, values) in outdated.items() if not missing else []:
        if why := execute(template, values, wanted[name]):
            left[name] = why
    for name in filter(left.get, left):
        print(f"{name}: {left[name]}")
    done = outdated.keys() - left.keys()
    refreshed -= done | left.keys()
    unchanged = len(wanted) - len(refreshed) - len(done) - len(left)
    print(
        f"pages refreshed: {len(refreshed)}, executed: {len(done)}, unchanged: {unchanged}, "
        f"left to make publish: {len(left)}"
    )
    sys.exit(1 if same and left else 0)


def recorded(file: Path) -> Edition | None:
    """The edition in that file as its records are; None where it has none."""
    values = yaml.safe_load(file.read_text("utf-8")) if file.is_file() else {}
    folder = f"records/{values.get('edition')}"
    return Edition(values, folder) if Path(folder).is_dir() else None


def of_records(template: Path, form: NotebookNode, edition: Edition | None) -> tuple[dict, str]:
    """The parameters that the template is executed with from records; none, and why, where it cannot be.

    Of the grid the models that are recorded will do, of a study all have to be.
    """
    if needs_weights(form):
        return {}, "it needs the weights: make publish"
    if not edition:
        return {}, "no run is recorded: make publish"
    page = chapter(f"notebooks/{template.name}", edition, edition.values.chapters.get(template.stem, {}))
    if page is None:
        return {}, f"edition {edition.name} is without it"

    def there(run: Path) -> bool:
        measured = os.path.relpath(run, edition.build) not in edition.evaluated or (run / "metrics.json").is_file()
        return (run / "weights.sha256").is_file() and measured

    values = parameters(form) | page.values
    named = [run for file in page.files if file.startswith(edition.build) for run in runs_in(Path(file))]
    missing = [file for file in page.files if not Path(file).is_file()] + [run for run in named if not there(run)]
    for name in {"runs", "evaluated"} & values.keys():
        values[name] = [run for run in page.values[name] if there(Path(run))]
        missing += [] if values[name] else page.values[name]
    if missing:
        return {}, f"{len(missing)} of its records are missing, such as {os.path.normpath(missing[0])}: make publish"
    return values, ""


def data_lacking(edition: Edition) -> str:
    """Why the edition's images cannot be read; empty where they can."""
    from vaelib import data  # importing torch takes seconds

    try:
        data.load(edition.dataset, edition.data_root or None)
    except InputError as error:
        return str(error)
    return ""


def execute(template: Path, values: dict, page: Path) -> str:
    """Makes the page of the template with these parameters; what went wrong, in a line, where it stays as it is."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, page.name)
        command = [sys.executable, str(Path(__file__).with_name("execute.py")), str(template), str(out)]
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        command.append(f"--parameters={json.dumps(values)}")
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | one_thread)
        if done.returncode:
            return (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        ran = nbformat.read(out, as_version=4)
        for fault in faults(ran):
            return fault
        write(staged(ran, nbformat.read(template, as_version=4), page.stem), page)
    return ""


def refresh(page: NotebookNode, template: NotebookNode, name: str, same: bool = False) -> NotebookNode:
    """The page with what its template says now; ValueError where its code, or what has outputs, changed."""
    table = next((cell for cell in page.cells if cell.get("id") == "settings"), None)
    settings = dict(re.findall(r"`(\w+)` \| ([^|]*?) \|", table.source)) if table else {}
    ran = by_id(page, template, settings) if same else in_order(page, template, settings)
    new = dressed(template, ran, settings, name)
    if table:
        new.cells.insert(1, table)
    new.metadata = page.metadata
    return new


def by_id(page: NotebookNode, template: NotebookNode, settings: dict) -> dict[str, NotebookNode]:
    """Id of each code cell of the template -> the page's cell with that id, or an empty one for plain assignments."""
    wanted, found = code_cells(template, settings), {cell.id: cell for cell in code_cells(page, settings)}
    gone = [cell.id for cell in found.values() if cell.outputs and cell.id not in {own.id for own in wanted}]
    if gone:
        raise ValueError(f"the template is without cell {', '.join(gone)}, which has outputs")
    new = [cell.id for cell in wanted if cell.id not in found and shows_something(cell)]
    if new:
        raise ValueError(f"cell {', '.join(new)} of the template is new and has no outputs yet")
    return {cell.id: found.get(cell.id, nbformat.v4.new_code_cell()) for cell in wanted}


def shows_something(cell: NotebookNode) -> bool:
    """Whether a cell may have an output: cells that only import and assign have none."""
    quiet = ast.Import | ast.ImportFrom | ast.Assign | ast.AugAssign | ast.AnnAssign
    return not all(isinstance(line, quiet) for line in ast.parse(cell.source).body)


if __name__ == "__main__":
    app()
