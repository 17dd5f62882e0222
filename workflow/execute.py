"""Execute a notebook with papermill, refusing parameters that it does not have.

papermill only warns of those, and would run the default instead. Of several sets of parameters each makes a notebook of
its own, one after the other in one kernel, whose modules stay imported and whose names are cleared in between.
"""

import json
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import nbformat
import papermill
import typer
from jupyter_client import KernelManager
from traitlets.config import Config

# The project's own packages are found, and win over others of their names, also where this file is run by its path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from workflow.chapters import parameters as parameters_of

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    template: Path,
    outs: Annotated[list[Path], typer.Argument(metavar="OUT...", help="The notebooks to write.")],
    parameters: Annotated[
        list[str], typer.Option("-p", "--parameters", help="One's parameters as a JSON object, in order.")
    ] = [],  # noqa: B006
):
    """Execute the TEMPLATE for each OUT; one that fails stops no other."""
    notebook, values = nbformat.read(template, as_version=4), [json.loads(text) for text in parameters or ["{}"]]
    known = parameters_of(notebook)
    unknown = sorted({name for own in values for name in own} - set(known))
    if unknown:
        stop(2, [f"{template} has no parameter {', '.join(unknown)}: accepted are {', '.join(known)}"])
    if len(values) != len(outs):
        stop(2, [f"{len(values)} sets of parameters for {len(outs)} notebooks: accepted is one -p for each"])

    # A kernel, too, imports the project's own packages, whatever else PYTHONPATH names.
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

    failed, code = [], 0
    with kernel(notebook.metadata.kernelspec.name) as manager:
        for out, own in zip(outs, values, strict=True):
            out.parent.mkdir(parents=True, exist_ok=True)
            try:
                papermill.execute_notebook(notebook, str(out), own, progress_bar=False, km=manager)
            except papermill.PapermillExecutionError as error:
                failed.append(f"{template} in {out}: {error.ename}: {error.evalue}")
                code = max(code, 2 if error.ename == "InputError" else 1)
            clear(manager)
    stop(code, failed)


@contextmanager
def kernel(name: str):
    """The manager of a kernel that papermill starts when it first needs it."""
    # Kernels that start side by side race for TCP ports; sockets in a folder of their own cannot. A socket's path has
    # at most 103 bytes on macOS, 107 on Linux.
    short = len(os.fsencode(tempfile.gettempdir())) < 70
    with tempfile.TemporaryDirectory(prefix="kernel-", dir=None if short else "/tmp") as sockets:
        over_ipc = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/socket"}})
        manager = KernelManager(kernel_name=name, config=over_ipc)
        try:
            yield manager
        finally:
            # It is killed, which is all that is left to do: a kernel that is asked to go may complain on stderr.
            if manager.has_kernel:
                manager.shutdown_kernel(now=True)


def clear(manager: KernelManager):
    """Forgets a notebook's names, and counts cells from 1 again."""
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        client.execute_interactive("get_ipython().reset()", store_history=False, timeout=60)
    finally:
        client.stop_channels()


def stop(code: int, lines: list[str]):
    print("\n".join(lines), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    app()
