"""The options that several commands share."""

from pathlib import Path
from typing import Annotated, Optional

import typer

RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory, as vaelib train prints it.")]
DataRoot = Annotated[str, typer.Option(help="Folder of the known sets; by default $VAELIB_DATA or a cache folder.")]
RunsRoot = Annotated[str, typer.Option(help="Folder that the runs are kept in.")]
Renew = Annotated[
    bool,
    typer.Option(
        "--renew",
        help="Train again what other code, torch or images made; it stays as it is until its successor is whole.",
    ),
]
ClassifierPath = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        help="Classifier whose features are taken, as vaelib classifier printed it.",
        show_default="classifier-s0 of the image set, beside the runs",
    ),
]
InceptionWeights = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="File of Inception's weights.", show_default="in torch's cache, downloaded on first use"),
]
