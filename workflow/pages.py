"""Refresh the published pages from their templates, without executing anything: make pages.

Prose, captions and comments of the code follow the template; outputs stay. A page whose code changed is left alone and
named, since its outputs may have changed too: make publish executes it anew. Where the maintainer knows that an edit
changes no output, ``--same`` takes the new code, cell by cell after their ids.
"""

import ast
import re
import sys
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from nbformat import NotebookNode

# The project's own packages are found, and win over others of their names, also where this file is run by its path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from workflow.chapters import ROOT
from workflow.stage import code_cells, dressed, in_order

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="PAGE...", help="Pages, or all, the default.")] = None,
    same: Annotated[bool, typer.Option("--same", help="Edits of their code change none of their outputs.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder of the published pages.")] = ROOT / "book" / "pages",
):
    """Refresh the published pages from their templates."""
    found = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    unknown = sorted(set(names or []) - {"all", *found})
    if unknown or (same and not names):
        sys.exit(f"{', '.join(unknown) or '--same alone'}: accepted are all and {', '.join(found)}")
    wanted = found if not names or "all" in names else {name: found[name] for name in names}
    refreshed, stale = [], []
    for name, path in wanted.items():
        template = ROOT / "notebooks" / path.name
        template = nbformat.read(template if template.exists() else ROOT / "notebooks" / "train.ipynb", as_version=4)
        page = nbformat.read(path, as_version=4)
        try:
            new = refresh(page, template, name, same)
        except ValueError as error:
            stale.append(name)
            print(f"{name}: {error}; make publish executes it anew")
            continue
        if new != page:
            refreshed.append(name)
            nbformat.write(new, path)
    unchanged = len(wanted) - len(refreshed) - len(stale)
    print(f"pages refreshed: {len(refreshed)}, unchanged: {unchanged}, left to make publish: {len(stale)}")
    sys.exit(1 if same and stale else 0)


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
