"""The command that draws a run's figures: ``vaelib draw``, with the functions that the book's notebooks draw with."""

import enum
import inspect
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from vaelib.cli.images import learnt_images, refuse_existing, unknown_class, written_to
from vaelib.cli.options import ClassifierPath, DataRoot, RunPath
from vaelib.config import InputError

STILL = (".png", ".svg", ".pdf")
PAIR = ("1", "8")  # the classes that paths lead between, where the set has them
SHOWN = 1000  # codes in each picture of the plane as it unfolds


class What(enum.StrEnum):
    reconstructions = "reconstructions"
    losses = "losses"
    samples = "samples"
    map = "map"
    embeddings = "embeddings"
    traversals = "traversals"
    interpolation = "interpolation"
    transition = "transition"
    evolution = "evolution"
    confusion = "confusion"
    all = "all"


class Split(enum.StrEnum):
    test = "test"
    train = "train"


def draw(
    run: RunPath,
    what: Annotated[What, typer.Argument(metavar="WHAT", help="One of the figures above, or all.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="File that ends in .png, .svg or .pdf; of evolution and interpolation in .gif too, of evolution and "
            "of embeddings with d = 3 in .html too; of all a folder. Nothing is overwritten.",
            show_default="RUNNAME-WHAT.png; of all RUNNAME-figures",
        ),
    ] = None,
    split: Annotated[
        Optional[Split],  # noqa: UP045
        typer.Option(help="Images of reconstructions: seen in training or not.", show_default="test"),
    ] = None,
    count: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, max=10_000, help="Images of samples.", show_default="60"),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, max=2**31 - 1, help="Seed of samples.", show_default="0"),
    ] = None,
    steps: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=2, max=100, help="Pictures along each side of map and transition.", show_default="20; of transition 15"
        ),
    ] = None,
    extent: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="How far from 0 the map goes, up to 100; or quantiles: each picture stands for the same share of the "
            "prior.",
            show_default="2",
        ),
    ] = None,
    points: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=3, max=100_000, help="Test images of embeddings, the first ones.", show_default="2000"),
    ] = None,
    perplexity: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=1, max=10_000, help="Perplexity of t-SNE in embeddings.", show_default="30"),
    ] = None,
    start: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--from",
            metavar="CLASS",
            help="Class that traversals, interpolation and transition start from.",
            show_default="1, of traversals 7; the first where the set has no such class",
        ),
    ] = None,
    end: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--to",
            metavar="CLASS",
            help="Class that interpolation and transition end at.",
            show_default="8; the last where the set has no such class",
        ),
    ] = None,
    classifier: ClassifierPath = None,
    data_root: DataRoot = "",
):
    """Draw a figure of a trained model as the book has it, or all of them, and write it.

    \b
    reconstructions  an image of each class as it is after some of the epochs
    losses           reconstruction, KL and their sum, epoch by epoch
    samples          images from the prior
    map              the latent plane decoded place by place; needs d = 2
    embeddings       where test images lie: d = 2 the plane, d = 3 the cloud,
                     else t-SNE and principal components
    traversals       one dimension moved at a time, from an image of --from
    interpolation    from one image to another: straight, along an arc, in
                     pixels; as .gif a film through all classes
    transition       two images of --from become two of --to
    evolution        the model after each epoch; .gif and .html play it
    confusion        which class a reconstruction is taken for, by the
                     classifier
    all              a folder of every figure that the model can have

    For example: vaelib draw runs/mnist/conv-d2-s0 transition --from 1 --to 8 --out one-to-eight.png
    """
    options = dict(split=split and split.value, count=count, seed=seed, steps=steps, extent=extent, points=points)
    options |= dict(perplexity=perplexity, start=start, end=end, classifier=classifier)
    given = {name: value for name, value in options.items() if value is not None}
    if what is What.all:
        if out is not None and out.suffix.lower() in (*STILL, ".gif", ".html"):
            raise InputError(f"out {out}: accepted for all is the name of a folder")
    elif out is not None:
        accepted = [*STILL, *(suffix for suffix in (".gif", ".html") if _way(what, suffix))]
        if out.suffix.lower() not in accepted:
            raise InputError(f"out {out}: accepted for {what.value} is a file that ends in {', '.join(accepted)}")
    suffix = out.suffix.lower() if out is not None else ".png"
    if what is not What.all:
        _check_options(what, suffix, given)

    import matplotlib

    from vaelib import training

    matplotlib.use("Agg")
    loaded = training.load(run)
    loaded.require_finished()
    out = written_to(out, loaded.path.name, "-figures" if what is What.all else f"-{what.value}.png")
    refuse_existing(out)
    figures = Figures(loaded, data_root)
    if what is What.all:
        _write_all(figures, given, out)
    else:
        content = figures.content(what, suffix, given)
        out.parent.mkdir(parents=True, exist_ok=True)
        training.write(out, content)
        print(out)


class Figures:
    """The figures of a finished run: a method for each figure, and NAME_gif or NAME_html for each that moves.

    The arguments of a method are the options of ``vaelib draw`` that it uses.
    """

    def __init__(self, run, data_root: str):
        from vaelib import results

        self.run, self.data_root = run, data_root
        self.title = results.title(run)
        self.latent_dim = run.config.latent_dim

    def content(self, what: What, suffix: str, options: dict[str, Any]) -> bytes:
        """A figure as the content of a file that ends so; InputError where this model has no such figure."""
        from vaelib import figures

        way = _way(what, suffix)
        drawn = way(self, **{name: value for name, value in options.items() if name in _uses(way)})
        if isinstance(drawn, bytes):
            return drawn
        return drawn.encode() if isinstance(drawn, str) else figures.saved(drawn, suffix[1:])

    @cached_property
    def model(self):
        return self.run.model()

    @cached_property
    def images(self):
        return learnt_images(self.run, self.data_root)

    def labels(self, start: str | None, end: str | None = None, otherwise: tuple[str, ...] = PAIR) -> list[int]:
        """The labels of the classes from start to end; those of ``otherwise`` for what is not given."""
        from vaelib import data

        found = data.labels_of(self.images, otherwise, len(otherwise))
        for place, name in enumerate((start, end)):
            if name is not None:
                if name not in self.images.class_names:
                    raise unknown_class(name, self.images)
                found[place] = self.images.class_names.index(name)
        return found

    def named(self, *labels: int) -> str:
        """``: 1 to 8``, for the end of a title."""
        from vaelib import figures

        return ": " + " to ".join(figures.shortened(self.images.class_names[label], 20) for label in labels)

    def reconstructions(self, split: str = "test"):
        from vaelib import figures

        shots = self.run.snapshots()
        shown = figures.shown_epochs(self.run.config.epochs)
        return figures.reconstructions(shots[f"{split}_x"], shots[f"{split}_recon"], shown)

    def losses(self):
        from vaelib import figures

        return figures.loss_curves(self.run.history(), self.run.config.arch)

    def samples(self, count: int = 60, seed: int = 0):
        from vaelib import figures

        columns = max(12, round(count**0.5))  # as in the book; of many images nearly a square
        rows = figures.whole_rows(self.model.sample(count, seed).numpy(), columns)
        return figures.image_grid(rows.reshape(-1, *rows.shape[2:]), rows.shape[1])

    def map(self, steps: int = 20, extent: str = "2"):
        from vaelib import figures, latent

        if extent == "quantiles":
            panels = {self.title: latent.latent_map(self.model, steps, None).numpy()}
            return figures.maps(panels, latent.places(steps, None))
        try:
            reach = float(extent)
        except ValueError:
            reach = 0.0
        if not 0 < reach <= 100:
            raise InputError(f"extent {extent}: accepted is quantiles, or a number above 0 and up to 100")
        return figures.latent_map(latent.latent_map(self.model, steps, reach), reach)

    def embeddings(self, points: int = 2000, perplexity: float | None = None):
        from vaelib import figures, latent

        if perplexity is not None and self.latent_dim in (2, 3):
            raise InputError(f"perplexity {perplexity:g}: {self.latent_dim} dimensions are drawn as they are")
        z, labels = self.codes(points)
        names, noun = self.images.class_names, self.images.noun
        if self.latent_dim == 3:
            return figures.scatter_3d_static({self.title: z}, labels, names, noun)
        if self.latent_dim == 2:
            return figures.embeddings({self.title: z}, labels, names, noun)
        usual = min(30, (len(z) - 1) // 3)  # t-SNE's perplexity, less than its usual 30 where there are few images
        panels = {f"{self.title}, t-SNE": latent.tsne(z, perplexity or usual)}
        panels[f"{self.title}, principal components"] = latent.pca(z)
        return figures.embeddings(panels, labels, names, noun)

    def embeddings_html(self, points: int = 2000):
        from vaelib import figures

        if self.latent_dim != 3:
            raise InputError(
                f"embeddings that turn need latent_dim 3, this model has {self.latent_dim}: "
                f"accepted is a file that ends in {', '.join(STILL)}"
            )
        z, labels = self.codes(points)
        names, noun = self.images.class_names, self.images.noun
        alt = "Test images in three latent dimensions, one colour a class."
        return figures.standalone(figures.scatter_3d(z, labels, self.title, names, noun), alt)

    def codes(self, points: int):
        """Where the first test images lie (points, latent_dim), and their labels."""
        x, labels = self.images.test_images[:points], self.images.test_labels[:points]
        return self.model.encode(x)[0].numpy(), labels.numpy()

    def traversals(self, start: str | None = None):
        import torch

        from vaelib import data, figures, latent

        labels = self.labels(start, otherwise=("7",))
        values = torch.linspace(-3, 3, 11)
        (first,) = data.examples(self.images, labels)
        panel = latent.costliest_traversals(self.model, self.images.test_images, first, values)
        return figures.traversals({f"{self.title}, from {self.named(*labels)[2:]}": panel}, values.tolist())

    def interpolation(self, start: str | None = None, end: str | None = None):
        from vaelib import data, figures, latent

        ends = data.examples(self.images, self.labels(start, end))
        x = data.as_float(self.images.test_images[ends])[:, 0]
        one, other = self.model.encode(self.images.test_images[ends])[0].split(1)
        rows = {"pixels": latent.lerp(x[:1], x[1:], 11)[0]}
        for kind, path in {"straight": latent.lerp, "arc": latent.slerp}.items():
            rows[f"{self.title}, {kind}"] = latent.decoded(self.model, path(one, other, 11))[0]
        return figures.strips({name: row.numpy() for name, row in rows.items()})

    def interpolation_gif(self):
        from vaelib import data, figures, latent

        each = data.examples(self.images, range(len(self.images.class_names)))
        walk = latent.closed_walk(self.model.encode(self.images.test_images[each])[0], 8)
        return figures.gif(figures.morph(self.model.decode(walk).numpy()), 120)

    def transition(self, start: str | None = None, end: str | None = None, steps: int = 15):
        from vaelib import data, figures, latent

        pair = self.labels(start, end)
        # An image of each class above, and the next one of each below.
        corners = self.images.test_images[data.examples(self.images, 2 * pair)]
        codes = latent.between_four(self.model.encode(corners)[0].unflatten(0, (2, 2)), steps)
        return figures.squares({self.title + self.named(*pair): latent.decoded(self.model, codes).numpy()})

    def evolution(self):
        import numpy as np

        from vaelib import data, figures

        shots, epochs = self.run.snapshots(), self.run.config.epochs
        if self.latent_dim == 2:
            moments = [epoch for epoch in (1, 2, 5) if epoch < epochs] + [epochs]
            panels = {f"{self.title}, epoch {epoch}": shots["test_mu"][epoch - 1, :SHOWN] for epoch in moments}
            labels, side = shots["test_labels"][:SHOWN], min(3.9, 8.4 / len(moments))
            names, noun = self.images.class_names, self.images.noun
            return figures.embeddings(panels, labels, names, noun, columns=len(moments), side=side)
        kept = data.hold_out(self.images, self.run.config.held_out) if self.run.config.held_out else self.images
        names = [figures.shortened(self.images.class_names[label]) for label in kept.test_labels.unique()]
        every = -(-epochs // 15)  # at most fifteen pictures in a row
        rows = {
            name: np.concatenate([shots["test_x"][place, None], shots["test_recon"][::every, place]])
            for place, name in enumerate(names)
        }
        columns = ["image", *(str(epoch) for epoch in range(1, epochs + 1, every))]
        return figures.strips(rows, below=columns, x="epoch")

    def evolution_gif(self):
        from vaelib import figures

        return figures.gif(self.film())

    def evolution_html(self):
        from vaelib import figures

        frames = self.film()
        names = [f"epoch {epoch}" for epoch in range(1, len(frames) + 1)]
        return figures.page(self.title, figures.player(frames, names, self.title))

    def film(self) -> list:
        """A frame for each epoch: the plane of a model that has one, else how it reconstructs the images."""
        from vaelib import figures

        shots = self.run.snapshots()
        if self.latent_dim == 2:
            codes, labels = shots["test_mu"][:, :SHOWN], shots["test_labels"][:SHOWN]
            return figures.film(codes, labels, self.images.class_names, self.title)
        return figures.sheets(shots["test_x"], {self.run.config.arch: {self.latent_dim: shots["test_recon"]}})

    def confusion(self, classifier: Path | None = None):
        from vaelib import figures, results, training

        beside = self.run.path.resolve().parent
        network = training.find_classifier(classifier or "", str(beside.parent), self.images)
        before = network.names(self.images.test_images)
        after = network.names(self.model.reconstruct(self.images.test_images))
        names = self.images.class_names
        moved = results.shares(before, after, list(range(len(names))))
        return figures.matrices({self.title: moved}, names, x="reconstruction", y="image", columns=1)


def _way(what: What, suffix: str):
    """The method that makes what as a file that ends so; None where there is none."""
    return getattr(Figures, what.value if suffix in STILL else f"{what.value}_{suffix[1:]}", None)


def _uses(way) -> list[str]:
    """The options that a method of Figures uses."""
    return list(inspect.signature(way).parameters)[1:]


def _check_options(what: What, suffix: str, given: dict[str, Any]):
    """Raises InputError for an option that the figure does not use."""
    for name in given:
        if name not in _uses(_way(what, suffix)):
            flag = {"start": "--from", "end": "--to"}.get(name, f"--{name}")
            as_film = f" as {suffix}" if suffix not in STILL else ""
            use_it = [one.value for one in What if one is not What.all and name in _uses(_way(one, ".png"))]
            raise InputError(f"{what.value}{as_film} does not use {flag}: accepted with {', '.join(use_it)}, all")


def _write_all(figures: Figures, given: dict[str, Any], out: Path):
    """Every figure that the model can have, in a folder that appears once it is whole; the others are named."""
    import sys
    import tempfile

    from tqdm import tqdm

    files = [(what, ".png") for what in What if what is not What.all] + [(What.evolution, ".gif")]
    if figures.latent_dim == 3:
        files.append((What.embeddings, ".html"))
    if "start" in given or "end" in given:
        figures.labels(given.get("start"), given.get("end"))  # A class that is not there stops it before it begins.
    left_out = {}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".figures-") as part:
        folder = Path(part) / out.name
        folder.mkdir()
        for what, suffix in tqdm(files, desc="figures", disable=None):
            try:
                content = figures.content(what, suffix, given)
            except InputError as error:
                if set(given) & {"extent", "perplexity", "points", "classifier"} & set(_uses(_way(what, suffix))):
                    raise  # It is the figure's own option that is wrong.
                left_out[f"{what.value}{suffix}"] = error
            else:
                (folder / f"{what.value}{suffix}").write_bytes(content)
        if not any(folder.iterdir()):
            raise InputError(f"{figures.run.path} has no figure: {next(iter(left_out.values()))}")
        written = sorted(file.name for file in folder.iterdir())
        folder.rename(out)
    for name in written:
        print(out / name)
    for name, reason in left_out.items():
        print(f"vaelib: no {name}: {reason}", file=sys.stderr)
