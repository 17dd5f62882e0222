"""The command that draws images: vaelib generate."""

import enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from vaelib import InputError, cli_measures


class Format(enum.StrEnum):
    npy = "npy"
    png = "png"
    jpg = "jpg"
    grid = "grid"


class Covariance(enum.StrEnum):
    full = "full"
    diagonal = "diagonal"


def generate(
    run: cli_measures.RunPath,
    count: Annotated[
        int, typer.Option(min=1, max=100_000, help="Images to draw; with --per-class of each class.")
    ] = 64,
    digit: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="Draw from a Gaussian fitted to the codes of this class's training images."),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Draw so from each class in turn; a grid has a row for each.")
    ] = False,
    covariance: Annotated[Covariance, typer.Option(help="Of the Gaussian of a class.")] = Covariance.full,
    format: Annotated[
        Format, typer.Option(help="npy: float32 (count, 28, 28) in [0, 1]; png, jpg: a folder of files; grid: one png.")
    ] = Format.npy,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the draws.")] = 0,
    data_root: Annotated[
        str, typer.Option(help="Folder of the data that classes are fitted to, $VAELIB_DATA or a cache folder.")
    ] = "",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="File or folder to write; nothing is overwritten.", show_default="samples, named by the run"),
    ] = None,
):
    """Draw images from a trained model's prior, or from one class or each class, and write them."""
    from vaelib import data, density, latent
    from vaelib.run import Run

    if per_class and digit is not None:
        raise InputError(f"digit {digit} and --per-class: accepted is one of the two")
    loaded = Run.load(run)
    loaded.require_finished()
    suffix = {"npy": ".npy", "grid": ".png"}.get(format.value, "")
    kind = "" if digit is None and not per_class else "-per-class" if per_class else f"-digit{digit}"
    out = out or Path(f"samples-{loaded.path.name}{kind}{suffix}")
    if out.suffix != suffix and (suffix or out.suffix in (".png", ".jpg", ".jpeg", ".npy")):
        wanted = f"a file that ends in {suffix}" if suffix else "the name of a folder"
        raise InputError(f"out {out}: accepted with --format {format.value} is {wanted}")
    if out.exists():
        raise InputError(f"{out} is already there: give another --out, or move it away")
    if kind:
        known = data.load(loaded.config.dataset, data_root or None)
        classes = known.train_labels.unique().tolist() if per_class else [digit]
        diagonal = covariance is Covariance.diagonal
        images = density.sample_classes(loaded.model(), known, classes, count, seed, diagonal)
    else:
        images = latent.sample_prior(loaded.model(), loaded.config.latent_dim, count, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    _write_images(images.numpy(), out, format, columns=count if per_class else None)
    print(out)


def _write_images(images, out: Path, format: Format, columns: int | None = None):
    """Float images (N, 28, 28) as one array, one picture or a folder of files; whole or not at all.

    A picture is as near to a square as it goes unless its columns are given.
    """
    import io
    import tempfile

    import numpy as np
    from PIL import Image

    from vaelib import plots
    from vaelib.run import write

    buffer = io.BytesIO()
    if format is Format.npy:
        np.save(buffer, images)
        write(out, buffer.getvalue())
    elif format is Format.grid:
        columns = columns or int(np.ceil(np.sqrt(len(images))))
        blank = np.zeros((-len(images) % columns, 28, 28), np.float32)
        picture = plots.tiled(np.concatenate([images, blank]).reshape(-1, columns, 28, 28))
        Image.fromarray((picture * 255).round().astype(np.uint8)).save(buffer, "png")
        write(out, buffer.getvalue())
    else:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".samples-") as part:
            folder = Path(part) / out.name
            folder.mkdir()
            digits = len(str(len(images) - 1))
            for index, image in enumerate((images * 255).round().astype(np.uint8)):
                Image.fromarray(image).save(folder / f"{index:0{digits}d}.{format.value}")
            folder.rename(out)
