"""Turn an executed notebook into a page of the book.

A page has the outputs of the executed notebook and the prose, captions and figure metadata that its template has now.
The parameters become a table of settings, cells that do not apply to this model go, the page gets a title and labels
of its own. A page with an error, a warning or a path of this machine is refused.
"""

import base64
import copy
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import nbformat
import typer
from nbformat import NotebookNode
from PIL import Image

# The project's own packages are found, and win over others of their names, also where this file is run by its path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from vaelib.config import dataset_name
from workflow.chapters import parameters, without_links
from workflow.sources import cell_code, made_of, needs_weights

PLOTLY = "application/vnd.plotly.v1+json"
GIVEN = ("parameters", "injected-parameters")
WHERE = {"data_root", "runs_root"}  # parameters that say where things lie, not what they are
# What is said on a machine without a folder for a cache: by matplotlib, also where it starts for the first time, and of
# features that are not kept, where the line of code follows that asked for them.
NOISE = re.compile(
    r"(mkdir -p failed for path .*|.* is not a writable directory"
    r"|Matplotlib (created a temporary cache directory|is building the font cache).*"
    r"|.*UserWarning: features are not kept for the next time: .*|  .*evaluation\.remembered\(.*)"
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    template: Path,
    executed: Annotated[list[Path], typer.Argument(metavar="EXECUTED...")],
    pages: Path,
    lacking: Annotated[list[str], typer.Option(help="A page that the book is without; links to it go.")] = [],  # noqa: B006
):
    """Stage the EXECUTED notebooks, made from the TEMPLATE, in the folder PAGES; one that is refused stops no other."""
    form, problems = nbformat.read(template, as_version=4), []
    for path in executed:
        ran = nbformat.read(path, as_version=4)
        found = [f"{path}: {fault}" for fault in faults(ran)]
        try:
            if not found:
                write(staged(ran, form, path.stem, lacking), pages / path.name)
        except ValueError as error:
            found = [f"{path}: {error}"]
        problems += found
    if problems:
        sys.exit("\n".join(problems))


def faults(notebook: NotebookNode) -> Iterator[str]:
    """What a reader must not meet, each in a few words."""
    here = Path.cwd()
    # The path as a whole: within a longer path or a word it is something else.
    before, after = r"(?:(?<![\w/.+=~-])|(?<=file://))", r"(?!\.?[\w+=-])"
    path = re.compile(before + re.escape(str(here)) + after) if here.name else None
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {index} failed: {output.ename}: {output.evalue}"
            elif output.output_type == "stream" and output.name == "stderr":
                said = [line for line in output.text.splitlines() if line.strip() and not NOISE.fullmatch(line)]
                if said:
                    yield f"cell {index} printed to stderr: {said[-1]}"
            elif path and any(path.search(text) for text in texts(output)):
                yield f"cell {index} shows a path of this machine"


def texts(output: NotebookNode) -> Iterator[str]:
    """The parts of an output that are read as text, without pictures and arrays in base64 inside them."""
    shown = [text for kind, text in output.get("data", {}).items() if "text/" in kind]
    for text in [*shown, output.get("text", "")]:
        yield re.sub(r"[A-Za-z0-9+/=]{100,}", "", text)


def staged(ran: NotebookNode, template: NotebookNode, name: str, lacking: list[str] = []) -> NotebookNode:  # noqa: B006
    """The page of that name; ValueError where the template's code is not what was executed."""
    settings = parameters(ran, GIVEN)
    page = dressed(template, in_order(ran, template, settings), settings, name)
    if "latent_dim" in settings:
        page.cells.insert(1, nbformat.v4.new_markdown_cell(settings_table(settings), id="settings"))
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = without_links(cell.source, "pages", lacking)
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            shown.pop(PLOTLY, None)  # the page has it as HTML
            if "text/markdown" in shown:
                shown["text/markdown"] = without_links(shown["text/markdown"], "pages", lacking)
            if "image/png" in shown:
                shown["image/png"] = of_few_colours(shown["image/png"])
    page.metadata = {key: ran.metadata[key] for key in ("kernelspec", "language_info")}
    if not needs_weights(template):
        page.metadata["made_of"] = made_of(template, settings)  # what make pages tells by that it is out of date
    return page


def in_order(ran: NotebookNode, template: NotebookNode, settings: dict) -> dict[str, NotebookNode]:
    """Id of each code cell of the template -> the cell of the executed notebook, or page, with the same code."""
    wanted, found = code_cells(template, settings), code_cells(ran, settings)
    if [cell_code(cell) for cell in wanted] != [cell_code(cell) for cell in found]:
        raise ValueError("the template has other code than what was executed")
    return {cell.id: own for cell, own in zip(wanted, found, strict=True)}


def code_cells(notebook: NotebookNode, settings: dict) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and applies(cell, settings)]


def dressed(template: NotebookNode, ran: dict[str, NotebookNode], settings: dict, name: str) -> NotebookNode:
    """The template's cells that apply, with the outputs of the cells that ran and with labels of this page."""
    page = copy.deepcopy(template)
    page.cells = [cell for cell in page.cells if applies(cell, settings)]
    if "latent_dim" in settings:
        title = f"{settings['arch']}, d = {settings['latent_dim']}"
        page.cells[0].source = re.sub(r"^# .*", f"# {title}", page.cells[0].source, count=1)
    for cell in page.cells:
        if cell.cell_type == "code":
            outputs = [output for output in ran[cell.id].outputs if output.get("name") != "stderr"]
            cell.outputs, cell.execution_count = outputs, ran[cell.id].execution_count
        figure = cell.metadata.get("mystnb", {}).get("figure")
        if figure:
            figure["name"] = f"{name}-{figure['name']}"
    return page


def write(page: NotebookNode, path: Path):
    """Writes the page, after the files that lie beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for cell, file in beside(page, path.stem):
        kind = "image/gif" if "download" in cell.metadata else "image/png"
        shown = next(output.data[kind] for output in cell.outputs if kind in output.get("data", {}))
        (path.parent / file).write_bytes(base64.b64decode(shown))
        if "download" in cell.metadata:
            cell.outputs = []
    nbformat.write(page, path)


def beside(page: NotebookNode, name: str) -> Iterator[tuple[NotebookNode, str]]:
    """The cells whose picture is a file beside the page too, each with that file's name.

    A figure tagged as-file is shown by chapters and the README; a film is too large to lie in the page as well, whose
    prose links to it.
    """
    for cell in page.cells:
        if "as-file" in cell.metadata.get("tags", []):
            yield cell, f"{cell.metadata.mystnb.figure.name}.png"
        elif "download" in cell.metadata:
            yield cell, f"{name}-{cell.metadata.download}"


def of_few_colours(png: str) -> str:
    """The picture, in base64, with 256 colours: a third of the bytes, and nobody sees it."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def applies(cell: NotebookNode, settings: dict) -> bool:
    """Whether a cell belongs on the page: no parameters; ``only-latent_dim-2`` where latent_dim is 2."""
    for tag in cell.metadata.get("tags", []):
        if tag in GIVEN:
            return False
        if tag.startswith("only-"):
            _, name, value = tag.split("-")
            if str(settings[name]) != value:
                return False
    return True


def settings_table(settings: dict[str, Any]) -> str:
    """The settings as a table of three pairs a row; a data set of own images has its name there, not its path."""
    named = {key: value for key, value in settings.items() if key not in WHERE and value not in ("", [], None)}
    named["dataset"] = dataset_name(named["dataset"])
    pairs = [f"`{key}` | {value}" for key, value in named.items()]
    pairs += [" | "] * (-len(pairs) % 3)
    rows = [f"| {' | '.join(pairs[index : index + 3])} |" for index in range(0, len(pairs), 3)]
    note = "The settings of this run; one that is not named is empty."
    return "\n".join([note, "", "| setting | value " * 3 + "|", "| --- | --- " * 3 + "|", *rows])


if __name__ == "__main__":
    app()
