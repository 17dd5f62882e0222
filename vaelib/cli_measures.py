"""The commands that measure: ``vaelib evaluate``, ``fid``, ``compare``."""

import enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from vaelib import InputError


class Features(enum.StrEnum):
    mnist = "mnist"
    inception = "inception"


RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory, as vaelib train prints it.")]
ClassifierPath = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="What vaelib classifier made, for --features mnist.", show_default="classifier-s0 by the runs"),
]
Weights = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="File of Inception's weights.", show_default="in torch's cache, downloaded on first use"),
]
DataRoot = Annotated[str, typer.Option(help="Folder of the data, $VAELIB_DATA or a cache folder.")]
SOURCES = ".npy or .npz file, folder of png or jpg, run, or a split such as mnist:test."


def evaluate(
    run: RunPath,
    features: Annotated[
        list[Features], typer.Option(help="Network that samples are compared by; give it twice for both.")
    ] = [Features.mnist],  # noqa: B006
    draws: Annotated[int, typer.Option(min=1, max=100_000, help="Of z, for each image of the bound L_k.")] = 1000,
    images: Annotated[int, typer.Option(min=1, max=100_000, help="That the bound is measured on, stratified.")] = 1000,
    all_draws: Annotated[
        int, typer.Option(min=0, max=100_000, help="Of z, for each of all images; 0: none. Thousands take long.")
    ] = 0,
    resamplings: Annotated[int, typer.Option(min=1, max=100, help="Sets of samples that FID is measured on.")] = 5,
    classifier: ClassifierPath = None,
    inception_weights: Weights = None,
    data_root: DataRoot = "",
):
    """Measure a run on the images it has not seen: likelihood, codes, samples. Writes metrics.json and prints it.

    A minute or two on one core with --features mnist. Inception takes hours there: give --resamplings 1 with it, and
    use as many threads as there are. A network that is not to be had is named with how to get it, and the rest is
    measured.
    """
    from vaelib import classifier as judge
    from vaelib import data, evaluation, measures
    from vaelib.features import Inception
    from vaelib.run import Run

    loaded = Run.load(run)
    loaded.require_finished()
    known = data.load(loaded.config.dataset, data_root or None)
    beside = loaded.path.resolve().parent / "classifier-s0"
    ways = {
        Features.mnist: (classifier, lambda: judge.find(classifier or beside, "", known)),
        Features.inception: (inception_weights, lambda: Inception.load(inception_weights)),
    }
    networks, missing = {}, {}
    for name in dict.fromkeys(features):
        given, load = ways[name]
        try:
            networks[name.value] = load()
        except InputError as error:
            if given is not None:
                raise
            missing[name.value] = str(error)
    depth = measures.Depth(draws, images, all_draws, resamplings)
    found = evaluation.evaluate(loaded, known, networks, missing, depth)
    print(evaluation.as_text(found))
    print(loaded.path / "metrics.json")


def fid(
    a: Annotated[str, typer.Argument(metavar="A", help=f"Images: {SOURCES}")],
    b: Annotated[str, typer.Argument(metavar="B", help="Images that they are compared with, likewise.")],
    features: Annotated[Features, typer.Option(help="Network whose features are compared.")] = Features.mnist,
    count: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=6, max=100_000, help="Images of A, drawn at random.", show_default="all; 10000 of a run"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the draws and subsets.")] = 0,
    classifier: ClassifierPath = None,
    inception_weights: Weights = None,
    runs_root: Annotated[str, typer.Option(help="Folder that mnist/classifier-s0 is looked for in.")] = "runs",
    data_root: DataRoot = "",
):
    """Compare two sets of grey 28x28 images: FID, KID, precision, recall, density, coverage.

    A FID means little alone, and less without the number of images. What real ones score:
    vaelib fid mnist:train mnist:test --count 10000
    """
    from vaelib import classifier as judge
    from vaelib import images, quality
    from vaelib.features import Inception

    # other draws for B: of two runs, or of one twice
    sets = [images.read(a, count, seed, data_root or None), images.read(b, None, seed + 1, data_root or None)]
    if features is Features.mnist:
        network = judge.Classifier.load(classifier or Path(runs_root) / "mnist" / "classifier-s0")
    else:
        network = Inception.load(inception_weights)
    ours, theirs = map(network.features, sets)
    shares = quality.neighbourhoods(ours, theirs)  # first: it refuses sets that are too small for anything
    rows = {
        "FID": quality.fid(ours, theirs),
        "FID at endless N": quality.fid_infinity(ours, theirs, seed),
        "KID": quality.kid(ours, theirs, seed).mean().item(),
        **shares,
    }
    print(f"{len(ours):,} images of {a} against {len(theirs):,} of {b}")
    for key, value in network.facts().items():
        print(f"{key}: {value}")
    for key, value in rows.items():
        print(f"  {key:18} {value:12.6g}")


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
    from vaelib import comparison
    from vaelib.run import Run

    loaded = [Run.load(path) for path in runs]
    table = comparison.compare(loaded, measure)
    table["difference (95 %)"] = [comparison.as_text(row, 3) for row in table.itertuples()]
    table["beyond the noise"] = ["yes" if beyond else "no" for beyond in table.beyond]
    table.loc[table.low.isna(), "beyond the noise"] = "unknown"
    shown = ["measure", "baseline", "value", "difference (95 %)", "beyond the noise", "n", "over"]
    print(f"baseline: {next(iter(comparison.by_model(loaded)))}")
    for model, own in table.groupby("model", sort=False):
        print(f"\n{model}")
        print(own[shown].to_string(index=False, float_format=lambda value: f"{value:.3f}"))
