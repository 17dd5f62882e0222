"""Turn an executed notebook into a page of the book.

The parameters become a table of settings, cells that do not apply to this cell go, the page gets a
title and labels of its own. A page with an error, a warning or a path of this machine is refused.
"""

import ast
import base64
import io
import re
import sys
from pathlib import Path

import nbformat
import typer
from nbformat import NotebookNode
from PIL import Image

PLOTLY = "application/vnd.plotly.v1+json"
WHERE = {"data_root", "runs_root", "runs"}  # parameters that say where things lie, not what they are


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(pages: Path, executed: list[Path]):
    """Stage each executed notebook into the folder PAGES, under its own name."""
    notebooks = {source: nbformat.read(source, as_version=4) for source in executed}
    problems = [f"{source}: {fault}" for source, notebook in notebooks.items() for fault in faults(notebook)]
    if problems:
        print("\n".join(problems), file=sys.stderr)
        sys.exit(1)
    for source, notebook in notebooks.items():
        write(staged(notebook, source.stem), pages / source.name)


def write(notebook: NotebookNode, page: Path):
    page.parent.mkdir(parents=True, exist_ok=True)
    for cell in notebook.cells:
        if "as-file" in cell.metadata.get("tags", []):
            # for chapters and the README, which show a figure of this page as a file beside it
            picture = next(output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {}))
            (page.parent / f"{cell.metadata.mystnb.figure.name}.png").write_bytes(base64.b64decode(picture))
        if "download" in cell.metadata:
            # too large to lie in the page as well: a file beside it, which the page's prose links
            film = next(output.data["image/gif"] for output in cell.outputs if "image/gif" in output.get("data", {}))
            (page.parent / f"{page.stem}-{cell.metadata.download}").write_bytes(base64.b64decode(film))
            cell.outputs = []
    nbformat.write(notebook, page)


def faults(notebook: NotebookNode):
    """What a reader must not meet, each in a few words."""
    here = re.escape(str(Path.cwd()))
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {index} failed: {output.ename}: {output.evalue}"
            elif output.output_type == "stream" and output.name == "stderr":
                yield f"cell {index} printed to stderr: {output.text.strip().splitlines()[-1]}"
            elif re.search(
                here, nbformat.v4.writes(NotebookNode(nbformat=4, nbformat_minor=5, metadata={}, cells=[cell]))
            ):
                yield f"cell {index} shows a path of this machine"


def staged(notebook: NotebookNode, name: str) -> NotebookNode:
    """The notebook as a page of that name, ready for the book."""
    settings = parameters_of(notebook)
    cells = [cell for cell in notebook.cells if applies(cell, settings)]
    if "latent_dim" in settings:
        title = f"{settings['arch']}, d = {settings['latent_dim']}"
        cells[0].source = re.sub(r"^# .*", f"# {title}", cells[0].source, count=1)
        cells.insert(1, nbformat.v4.new_markdown_cell(settings_table(settings), id="settings"))
    for cell in cells:
        figure = cell.metadata.get("mystnb", {}).get("figure")
        if figure:
            figure["name"] = f"{name}-{figure['name']}"
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            shown.pop(PLOTLY, None)  # the page has it as HTML
            if "image/png" in shown:
                shown["image/png"] = of_few_colours(shown["image/png"])
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    notebook.metadata = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
    notebook.cells = cells
    return notebook


def of_few_colours(png: str) -> str:
    """The picture, in base64, with 256 colours: a third of the bytes, and nobody sees it."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def parameters_of(notebook: NotebookNode) -> dict:
    """The values that the notebook ran with: the template's, then the injected ones."""
    values = {}
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            for line in ast.parse(cell.source).body:
                values[line.targets[0].id] = ast.literal_eval(line.value)
    return values


def applies(cell: NotebookNode, settings: dict) -> bool:
    """Whether a cell belongs on the page: no parameters; ``only-latent_dim-2`` where latent_dim is 2."""
    for tag in cell.metadata.get("tags", []):
        if tag in ("parameters", "injected-parameters"):
            return False
        if tag.startswith("only-"):
            _, name, value = tag.split("-")
            if str(settings[name]) != value:
                return False
    return True


def settings_table(settings: dict) -> str:
    """The settings as a table of three pairs a row."""
    named = {key: value for key, value in settings.items() if key not in WHERE and value not in ("", [], None)}
    pairs = [f"`{key}` | {value}" for key, value in named.items()]
    pairs += [" | "] * (-len(pairs) % 3)
    rows = [f"| {' | '.join(pairs[index : index + 3])} |" for index in range(0, len(pairs), 3)]
    note = "The settings of this run; one that is not named is empty."
    return "\n".join([note, "", "| setting | value " * 3 + "|", "| --- | --- " * 3 + "|", *rows])


if __name__ == "__main__":
    app()
