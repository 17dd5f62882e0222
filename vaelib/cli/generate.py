"""The command that draws images from a model: ``vaelib generate``."""

import enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from vaelib.cli.images import (
    Format,
    FormatOption,
    InkOption,
    destination,
    learnt_images,
    named_by,
    unknown_class,
    write_images,
)
from vaelib.cli.options import DataRoot, RunPath
from vaelib.config import InputError


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
    codes: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=2,
            max=100_000,
            help="Training images of a class that its Gaussian is fitted to, the first ones; a class with fewer uses "
            "all it has.",
            show_default="all",
        ),
    ] = None,
    epoch: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1,
            help="Draw with the weights after this epoch, of a run trained with --keep-every.",
            show_default="the last",
        ),
    ] = None,
    format: FormatOption = Format.npy,
    ink: InkOption = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the draws.")] = 0,
    data_root: DataRoot = "",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="File or folder to write; nothing is overwritten.", show_default="samples, named by the run"),
    ] = None,
):
    """Draw images from a trained model's prior, or from one class or each class, and write them."""
    if per_class and of_class is not None:
        raise InputError(f"class {of_class} and --per-class: accepted is one of the two")
    if codes is not None and of_class is None and not per_class:
        raise InputError(f"codes {codes}: accepted with --class or --per-class, as the prior is fitted to no codes")

    from vaelib import data, latent, training

    loaded = training.load(run)
    loaded.require_finished()
    kind = ("" if epoch is None else f"-epoch{epoch}") + ("-per-class" if per_class else named_by(of_class))
    out = destination(out, f"samples-{loaded.path.name}{kind}", format, ink)
    model = loaded.model(epoch=epoch)
    if per_class or of_class is not None:
        known = learnt_images(loaded, data_root)
        classes = data.labels_of(known, known.class_names if per_class else [of_class])
        if not classes:
            raise unknown_class(of_class, known)
        diagonal = covariance is Covariance.diagonal
        images = latent.sample_classes(model, known, classes, count, seed, diagonal, codes)
    else:
        images = model.sample(count, seed)
    write_images(images.numpy(), out, format, ink, columns=count if per_class else None)
    print(out)
