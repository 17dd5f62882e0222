"""Execute a notebook with papermill, refusing parameters that it does not have.

papermill only warns of those, and would run the default instead.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Optional

import nbformat
import papermill
import typer
from traitlets.config import Config

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    template: Path,
    out: Path,
    parameters: Annotated[str, typer.Option("-p", help="The parameters as one JSON object.")] = "{}",
    until: Annotated[Optional[str], typer.Option(help="Stop after the cell that has this tag.")] = None,  # noqa: UP045
):
    values = json.loads(parameters)
    known = papermill.inspect_notebook(str(template))
    unknown = sorted(set(values) - set(known))
    if unknown:
        stop(2, f"{template} has no parameter {', '.join(unknown)}: accepted are {', '.join(known)}")

    notebook = nbformat.read(template, as_version=4)
    if until:
        tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
        last = next((index for index, tagged in enumerate(tags) if until in tagged), None)
        if last is None:
            stop(2, f"{template} has no cell tagged {until!r}")
        notebook.cells = notebook.cells[: last + 1]

    out.parent.mkdir(parents=True, exist_ok=True)
    # kernels that start side by side race for TCP ports; sockets in a folder of their own cannot
    with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
        over_ipc = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/socket"}})
        try:
            # killed at the end, which is all that is left to do: a kernel that is asked to go may complain on stderr
            ending = {"shutdown_kernel": "immediate"}
            papermill.execute_notebook(notebook, str(out), values, progress_bar=False, config=over_ipc, **ending)
        except papermill.PapermillExecutionError as error:
            stop(2 if error.ename == "InputError" else 1, f"{template} in {out}: {error.ename}: {error.evalue}")


def stop(code: int, message: str):
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    app()
