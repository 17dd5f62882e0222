"""The command that writes true images, ``vaelib data``, and how it and ``vaelib generate`` write images."""

import enum
import re
from pathlib import Path
from typing import Annotated, Optional

import typer

from vaelib.cli.options import DataRoot
from vaelib.config import DATASETS, InputError, dataset_name, expanded


class Format(enum.StrEnum):
    npy = "npy"
    png = "png"
    jpg = "jpg"
    grid = "grid"


class Ink(enum.StrEnum):
    white = "white"
    black = "black"


FormatOption = Annotated[
    Format,
    typer.Option(help="npy: float32 (count, height, width) in [0, 1]; png, jpg: a folder of files; grid: one png."),
]
InkOption = Annotated[
    Optional[Ink],  # noqa: UP045
    typer.Option(
        help="Ink of png, jpg and grid: white on black, as the images are kept and as vaelib fid takes them, or black "
        "on white.",
        show_default="white",
    ),
]


def data(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME:SPLIT",
            help=f"Image set and split, such as mnist:test; NAME is {', '.join(DATASETS)}, or a path as of train.",
        ),
    ],
    count: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, max=100_000, help="Images to write, the first ones.", show_default="all"),
    ] = None,
    of_class: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--class", "--digit", help="Write images of this class alone."),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, max=2**31 - 1, help="Draw the images at random, by this seed; needs --count."),
    ] = None,
    format: FormatOption = Format.npy,
    ink: InkOption = None,
    data_root: DataRoot = "",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="File or folder to write; nothing is overwritten.", show_default="named by the images"),
    ] = None,
):
    """Write the true images of a set, in the formats of vaelib generate.

    For example: vaelib data mnist:test --count 64 --format grid --ink black --out true.png
    """
    dataset, _, split = source.rpartition(":")
    if not dataset or split not in ("train", "test"):
        raise InputError(f"{source}: accepted is NAME:train or NAME:test, such as mnist:test or images.npz:train")
    if seed is not None and count is None:
        raise InputError(f"seed {seed}: accepted with --count, as all images need no draw")
    out = destination(out, f"{dataset_name(dataset)}-{split}" + named_by(of_class), format, ink)

    from vaelib.data import as_float, labels_of, load
    from vaelib.evaluation import read_images

    known = load(dataset, data_root or None)
    images, labels = known.train_images, known.train_labels
    if split == "test":
        images, labels = known.test_images, known.test_labels
    if of_class is not None:
        wanted = labels_of(known, [of_class])
        if not wanted:
            raise unknown_class(of_class, known)
        images = images[labels == wanted[0]]
    if count is not None and count > len(images):
        raise InputError(f"count {count:,}: accepted is 1 to the {len(images):,} images that are there")
    images = images[:count] if seed is None else read_images(images, count, seed)
    write_images(as_float(images)[:, 0].numpy(), out, format, ink)
    print(out)


def unknown_class(name: str, images) -> InputError:
    """What is said of a class that the images do not have."""
    return InputError(f"class {name!r}: accepted for {images.name} is one of {', '.join(images.class_names)}")


def named_by(of_class: str | None) -> str:
    """The end of a file's name that tells the class; empty where there is none."""
    return "" if of_class is None else f"-{re.sub('[^A-Za-z0-9]+', '-', of_class)}"


def learnt_images(run, data_root: str):
    """The image set that a run learnt; InputError where what is found under its name is another one."""
    from vaelib.data import load

    known = load(run.config.dataset, data_root or None)
    if known.checksum != run.provenance["data_sha256"]:
        raise InputError(f"{run.path} learnt other images than this {known.name}")
    return known


def destination(out: Path | None, name: str, format: Format, ink: Ink | None) -> Path:
    """Where images of that name go; InputError for what does not fit the format, and for what is there already."""
    suffix = {"npy": ".npy", "grid": ".png"}.get(format.value, "")
    out = written_to(out, name, suffix)
    if out.suffix != suffix and (suffix or out.suffix in (".png", ".jpg", ".jpeg", ".npy")):
        wanted = f"a file that ends in {suffix}" if suffix else "the name of a folder"
        raise InputError(f"out {out}: accepted with --format {format.value} is {wanted}")
    if ink and format is Format.npy:
        raise InputError(f"ink {ink.value}: accepted with --format png, jpg and grid, as npy holds numbers")
    refuse_existing(out)
    return out


def written_to(out: Path | None, name: str, end: str) -> Path:
    """The path that was given, its ~ expanded; by default the name, cut where a file system would refuse it."""
    return Path(expanded(out)) if out else Path(f"{name[:200]}{end}")


def refuse_existing(out: Path):
    """Raises InputError where something is there already."""
    if out.exists():
        raise InputError(f"{out} is already there: give another --out, or move it away")


def write_images(images, out: Path, format: Format, ink: Ink | None, columns: int | None = None):
    """Float images (N, height, width) as one array, one picture or a folder of files; whole or not at all.

    A picture is as near to a square as it goes unless its columns are given.
    """
    import io
    import tempfile

    import numpy as np
    from PIL import Image

    from vaelib.figures import tiled, whole_rows
    from vaelib.training import write

    def grey(picture):
        return Image.fromarray((picture * 255).round().astype(np.uint8))

    out.parent.mkdir(parents=True, exist_ok=True)
    black, buffer = ink is Ink.black, io.BytesIO()
    if format is Format.npy:
        np.save(buffer, images)
        write(out, buffer.getvalue())
    elif format is Format.grid:
        picture = tiled(whole_rows(images, columns or int(np.ceil(np.sqrt(len(images))))))
        grey(picture if black else 1 - picture).save(buffer, "png")
        write(out, buffer.getvalue())
    else:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".samples-") as part:
            folder = Path(part) / out.name
            folder.mkdir()
            digits = len(str(len(images) - 1))
            for index, image in enumerate(1 - images if black else images):
                grey(image).save(folder / f"{index:0{digits}d}.{format.value}")
            folder.rename(out)
