"""Execute a notebook with papermill, refusing parameters that it does not have.

papermill only warns of those, and would run the default instead.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import nbformat
import papermill
import typer
from traitlets.config import Config

# The project's own packages are found, and win over others of their names, also where this file is run by its path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from workflow.chapters import parameters as parameters_of

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    template: Path,
    out: Path,
    parameters: Annotated[str, typer.Option("-p", help="The parameters as one JSON object.")] = "{}",
):
    notebook = nbformat.read(template, as_version=4)
    values, known = json.loads(parameters), parameters_of(notebook)
    unknown = sorted(set(values) - set(known))
    if unknown:
        stop(2, f"{template} has no parameter {', '.join(unknown)}: accepted are {', '.join(known)}")

    out.parent.mkdir(parents=True, exist_ok=True)
    # Kernels that start side by side race for TCP ports; sockets in a folder of their own cannot. A socket's path has
    # at most 103 bytes on macOS, 107 on Linux.
    short = len(os.fsencode(tempfile.gettempdir())) < 70
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=None if short else "/tmp") as sockets:
        over_ipc = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/socket"}})
        try:
            # The kernel is killed at the end, which is all that is left to do: one that is asked to go may complain
            # on stderr.
            ending = {"shutdown_kernel": "immediate"}
            papermill.execute_notebook(notebook, str(out), values, progress_bar=False, config=over_ipc, **ending)
        except papermill.PapermillExecutionError as error:
            stop(2 if error.ename == "InputError" else 1, f"{template} in {out}: {error.ename}: {error.evalue}")


def stop(code: int, message: str):
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    app()
