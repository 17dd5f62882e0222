"""The ``vaelib`` command: its commands from the files beside, its errors in one line, its exit codes."""

import sys
import warnings
from typing import Annotated

import typer

from vaelib import __version__
from vaelib.cli import draw, generate, images, measure, train
from vaelib.config import InputError

app = typer.Typer(
    help="Train and measure variational autoencoders on small grey images.",
    epilog="Start with: vaelib train --dataset digits --arch conv --latent-dim 2 --epochs 2",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    train.train,
    train.classifier,
    train.info,
    draw.draw,
    generate.generate,
    images.data,
    measure.evaluate,
    measure.fid,
    measure.compare,
):
    app.command()(command)


def _version(asked: bool):
    if asked:
        print(f"vaelib {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
): ...


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; 0 when it worked, 2 after a line on stderr when it cannot be done, 130 when interrupted."""
    code, message = outcome(arguments)
    if message:
        print(message if message.startswith("Usage:") else f"vaelib: {message}", file=sys.stderr)
    return code


def outcome(arguments: list[str] | None = None) -> tuple[int, str]:
    """Runs a command; its exit code, as main gives it, and where that is not 0 the line that says why."""
    # typer bundles click under changing names, so click's usage error is found by way of a subclass of it.
    usage_error = typer.BadParameter.__base__
    code, message = 2, ""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"vaelib: {message}", file=sys.stderr)
            code = app(arguments, standalone_mode=False) or 0
    except usage_error as error:
        message = error.format_message()
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    if code == 130:  # Some versions of typer answer Ctrl-C so themselves, without a word.
        message = "interrupted; vaelib train goes on where it was when asked for again"
    return code, message
