"""The command that draws images: vaelib generate."""

import enum
import re
from pathlib import Path
from typing import Annotated, Optional

import typer

from vaelib.cli.options import DataRoot, RunPath
from vaelib.config import InputError


class Format(enum.StrEnum):
    npy = "npy"
    png = "png"
    jpg = "jpg"
    grid = "grid"


class Covariance(enum.StrEnum):
    full = "full"
    diagonal = "diagonal"


def generate(
    run: RunPath,
    count: Annotated[
        int, typer.Option(min=1, max=100_000, help="Images to draw; with --per-class of each class.")
    ] = 64,
    of_class: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--class", "--digit", help="Draw from a Gaussian fitted to the codes of this class's training images."
        ),
    ] = None,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Draw so from each class in turn; a grid has a row for each.")
    ] = False,
    covariance: Annotated[Covariance, typer.Option(help="Covariance of the Gaussian of a class.")] = Covariance.full,
    format: Annotated[
        Format,
        typer.Option(help="npy: float32 (count, height, width) in [0, 1]; png, jpg: a folder of files; grid: one png."),
    ] = Format.npy,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the draws.")] = 0,
    data_root: DataRoot = "",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="File or folder to write; nothing is overwritten.", show_default="samples, named by the run"),
    ] = None,
):
    """Draw images from a trained model's prior, or from one class or each class, and write them."""
    from vaelib import data, latent, training

    if per_class and of_class is not None:
        raise InputError(f"class {of_class} and --per-class: accepted is one of the two")
    loaded = training.load(run)
    loaded.require_finished()
    suffix = {"npy": ".npy", "grid": ".png"}.get(format.value, "")
    kind = (
        ""
        if of_class is None and not per_class
        else "-per-class"
        if per_class
        else f"-{re.sub('[^A-Za-z0-9]+', '-', of_class)}"
    )
    out = out or Path(f"samples-{loaded.path.name}{kind}{suffix}")
    if out.suffix != suffix and (suffix or out.suffix in (".png", ".jpg", ".jpeg", ".npy")):
        wanted = f"a file that ends in {suffix}" if suffix else "the name of a folder"
        raise InputError(f"out {out}: accepted with --format {format.value} is {wanted}")
    if out.exists():
        raise InputError(f"{out} is already there: give another --out, or move it away")
    if kind:
        known = data.load(loaded.config.dataset, data_root or None)
        if known.checksum != loaded.provenance["data_sha256"]:
            raise InputError(f"{loaded.path} learnt other images than this {known.name}")
        names = list(known.class_names) if per_class else [of_class]
        classes = data.labels_of(known, names)
        if not classes:
            raise InputError(f"class {of_class!r}: accepted for {known.name} is one of {', '.join(known.class_names)}")
        diagonal = covariance is Covariance.diagonal
        images = latent.sample_classes(loaded.model(), known, classes, count, seed, diagonal)
    else:
        images = loaded.model().sample(count, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    _write_images(images.numpy(), out, format, columns=count if per_class else None)
    print(out)


def _write_images(images, out: Path, format: Format, columns: int | None = None):
    """Float images (N, height, width) as one array, one picture or a folder of files; whole or not at all.

    A picture is as near to a square as it goes unless its columns are given.
    """
    import io
    import tempfile

    import numpy as np
    from PIL import Image

    from vaelib.figures import tiled
    from vaelib.training import write

    buffer = io.BytesIO()
    if format is Format.npy:
        np.save(buffer, images)
        write(out, buffer.getvalue())
    elif format is Format.grid:
        columns = columns or int(np.ceil(np.sqrt(len(images))))
        shape = images.shape[1:]
        blank = np.zeros((-len(images) % columns, *shape), np.float32)
        picture = tiled(np.concatenate([images, blank]).reshape(-1, columns, *shape))
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
