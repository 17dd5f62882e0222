"""The commands that measure: ``vaelib evaluate``, ``fid``, ``compare``."""

import enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from vaelib.cli.options import ClassifierPath, DataRoot, InceptionWeights, RunPath


class Features(enum.StrEnum):
    classifier = "classifier"
    inception = "inception"


SOURCES = ".npy or .npz file, folder of png or jpg, run, or a split such as mnist:test."


def evaluate(
    run: RunPath,
    features: Annotated[
        list[Features], typer.Option(help="Network that samples are compared by; give it twice for both.")
    ] = [Features.classifier],  # noqa: B006
    draws: Annotated[int, typer.Option(min=1, max=100_000, help="Draws of z for each image of the bound L_k.")] = 1000,
    images: Annotated[
        int, typer.Option(min=1, max=100_000, help="Images that the bound is measured on, of each class its share.")
    ] = 1000,
    all_draws: Annotated[
        int, typer.Option(min=0, max=100_000, help="Draws of z for each of all images; 0: none. Thousands take long.")
    ] = 0,
    resamplings: Annotated[int, typer.Option(min=1, max=100, help="Sets of samples that FID is measured on.")] = 5,
    paths: Annotated[
        int, typer.Option(min=1, max=100_000, help="Pairs of images that the paths between are scored for.")
    ] = 500,
    class_draws: Annotated[
        int,
        typer.Option(
            min=1, max=100_000, help="Images drawn of each class, to count how many the classifier takes for it."
        ),
    ] = 300,
    embedded: Annotated[
        int, typer.Option(min=1, max=100_000, help="Images in the t-SNE, and those whose classes' overlap is measured.")
    ] = 2000,
    noise: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Corruption that images are restored from: salt-pepper:P or gaussian:SD; may be repeated. "
            "Clean images are then measured too.",
            show_default="none is measured",
        ),
    ] = None,
    classifier: ClassifierPath = None,
    inception_weights: InceptionWeights = None,
    data_root: DataRoot = "",
):
    """Measure a run on the images it has not seen: likelihood, codes, samples. Writes metrics.json and prints it.

    The classifier also says what reconstructions, paths between images and draws of a class look like. A few minutes
    on one core with --features classifier. Inception takes hours there: give --resamplings 1 with it, and use as many
    threads as there are. A network that is not to be had is named with how to get it, and the rest is measured.
    """
    from vaelib.config import parse_noise

    for one in filter(None, noise or []):
        parse_noise(one)  # A wrong level is refused before the libraries are loaded, which takes seconds.
    from vaelib import evaluation, training

    loaded = training.load(run)
    found = evaluation.evaluate(
        loaded,
        features=[one.value for one in features],
        depth=evaluation.Depth(draws, images, all_draws, resamplings, paths, class_draws, embedded),
        noises=noise or (),
        classifier=classifier,
        inception_weights=inception_weights,
        data_root=data_root or None,
    )
    print(evaluation.report(found))
    print(loaded.path / "metrics.json")


def fid(
    a: Annotated[str, typer.Argument(metavar="A", help=f"Images: {SOURCES}")],
    b: Annotated[str, typer.Argument(metavar="B", help="Images that they are compared with, likewise.")],
    features: Annotated[Features, typer.Option(help="Network whose features are compared.")] = Features.classifier,
    count: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=6, max=100_000, help="Images of A, drawn at random.", show_default="all; 10000 of a run"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the draws and subsets.")] = 0,
    classifier: ClassifierPath = None,
    inception_weights: InceptionWeights = None,
    runs_root: Annotated[str, typer.Option(help="Folder of runs that the classifier is looked for in.")] = "runs",
    data_root: DataRoot = "",
):
    """Compare two sets of grey images: FID, KID, precision, recall, density, coverage.

    A FID means little alone, and less without the number of images. What real ones score:
    vaelib fid mnist:train mnist:test --count 10000
    """
    from vaelib import evaluation

    found = evaluation.fid(
        a,
        b,
        features=features.value,
        count=count,
        seed=seed,
        classifier=classifier,
        inception_weights=inception_weights,
        runs_root=runs_root,
        data_root=data_root or None,
    )
    (ours, theirs), facts = found.pop("images"), found.pop("network")
    print(f"{ours:,} images of {a} against {theirs:,} of {b}")
    for key, value in facts.items():
        print(f"{key}: {value}")
    titles = {"fid": "FID", "fid_infinity": "FID at endless N", "kid": "KID"}
    for key, value in found.items():
        print(f"  {titles.get(key, key):18} {value:12.6g}")


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Evaluated runs; the first is the baseline.")],
    measure: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Measure of metrics.json; may be repeated.", show_default="all that the runs share"),
    ] = None,
):
    """Print how models differ from the first, measure by measure, and whether that is beyond the noise.

    Runs that differ in the seed alone are one model. With two seeds or more of each, the interval is over seeds, the
    same ones paired; of one run each it is over images, or sets of samples, and of these weights alone. Of twenty
    differences, one is beyond the noise by chance.
    """
    from vaelib import results, training

    loaded = [training.load(path) for path in runs]
    table = results.compare(loaded, measure)
    table["difference (95 %)"] = [
        results.interval_text(row.difference, row.low, row.high, digits=3) for row in table.itertuples()
    ]
    table["beyond the noise"] = ["yes" if beyond else "no" for beyond in table.beyond]
    table.loc[table.low.isna(), "beyond the noise"] = "unknown"
    shown = ["measure", "baseline", "value", "difference (95 %)", "beyond the noise", "n", "over"]
    print(f"baseline: {next(iter(results.by_model(loaded)))}")
    for model, own in table.groupby("model", sort=False):
        print(f"\n{model}")
        print(own[shown].to_string(index=False, float_format=lambda value: f"{value:.3f}"))
