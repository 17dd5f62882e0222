"""Figures of the decoded latent plane and of paths through the latent space, each a function from arrays to a figure.

Images are (..., 28, 28); planes are squares of places, rows from the largest z2 down.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from vaelib.latent_plots import DIGIT_COLOURS
from vaelib.plots import DPI, show, tiled


def few_greys(images: np.ndarray, gap: int = 2) -> np.ndarray:
    """plots.tiled in seventeen greys, which nobody tells from 256 in pictures this small: a third of the bytes."""
    return np.round(16 * tiled(images, gap)) / 16


def maps(panels: dict[str, np.ndarray], places: np.ndarray) -> Figure:
    """Latent maps (steps, steps, 28, 28) beside each other, rows and columns marked by the places they lie at."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.2 * len(panels), 4.3), dpi=DPI, facecolor="white", layout="constrained",
        squeeze=False,
    )  # fmt: skip
    every = slice(None, None, 2)
    names = [f"{place:.1f}" for place in places]
    centres = 28 * (np.arange(len(places)) + 0.5) - 0.5
    for axis, (title, images) in zip(axes[0], panels.items(), strict=True):
        show(axis, few_greys(images, gap=0))
        axis.set_xticks(centres[every], names[every], fontsize=7)
        axis.set_yticks(centres[every], names[::-1][every], fontsize=7)
        axis.set(xlabel="$z_1$", ylabel="$z_2$")
        axis.set_title(title, fontsize=10)
        axis.tick_params(length=0)
    return figure


def territories(panels: dict[str, np.ndarray], extent: float) -> Figure:
    """Whose land the decoded plane is, and how sure the judge of it is: a row for each title.

    Each value is the classes' probabilities (steps, steps, classes) of the plane [-extent, extent]^2 decoded, rows
    from the largest z2 down. Left a colour for each class, paler where its probability is lower; right the entropy.
    """
    from matplotlib.colors import to_rgb

    figure, axes = plt.subplots(
        len(panels), 2, figsize=(8, 3.7 * len(panels)), dpi=DPI, facecolor="white", layout="constrained", squeeze=False
    )
    palette = np.array([to_rgb(colour) for colour in DIGIT_COLOURS])
    where = (-extent, extent, -extent, extent)
    for row, (title, probabilities) in zip(axes, panels.items(), strict=True):
        labels, highest = probabilities.argmax(-1), probabilities.max(-1, keepdims=True)
        row[0].imshow(1 - highest * (1 - palette[labels % 10]), extent=where, interpolation="nearest")
        y, x = np.indices(labels.shape)
        scale = 2 * extent / len(labels)
        for label in np.unique(labels):
            own = labels == label
            if own.mean() > 0.005:  # room for its number
                centre = np.argmin(np.hypot(x - x[own].mean(), y - y[own].mean()) + 1e9 * ~own)
                down, right = np.unravel_index(centre, labels.shape)
                row[0].text(
                    (right + 0.5) * scale - extent, extent - (down + 0.5) * scale, str(label), ha="center", va="center"
                )
        entropy = -(probabilities * np.log(probabilities.clip(1e-12))).sum(-1)
        shade = row[1].imshow(entropy, extent=where, cmap="magma", vmin=0, vmax=np.log(probabilities.shape[-1]))
        figure.colorbar(shade, ax=row[1], label="entropy, nats", shrink=0.85)
        row[0].set_title(f"{title}: what the classifier sees", fontsize=10)
        row[1].set_title(f"{title}: how unsure it is", fontsize=10)
        for axis in row:
            axis.set(xlabel="$z_1$", ylabel="$z_2$")
    return figure


def holes(panels: dict[str, np.ndarray], extent: float) -> Figure:
    """log q(z) - log p(z) over the plane [-extent, extent]^2, a panel for each title; rings hold shares of the prior.

    Each value is (steps, steps), rows from the largest z2 down. Blue: the encoder puts less there than the prior.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.2 * len(panels) + 0.6, 4), dpi=DPI, facecolor="white", layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for axis, (title, ratio) in zip(axes[0], panels.items(), strict=True):
        shade = axis.imshow(
            ratio / np.log(10), extent=(-extent, extent, -extent, extent), cmap="RdBu_r", vmin=-3, vmax=3
        )
        for share in (0.5, 0.95):
            axis.add_patch(plt.Circle((0, 0), np.sqrt(-2 * np.log(1 - share)), fill=False, color="k", lw=0.8, ls="--"))
            axis.text(0, np.sqrt(-2 * np.log(1 - share)), f"{share:.0%}", fontsize=7, ha="center", va="bottom")
        axis.set_title(title, fontsize=10)
        axis.set(xlabel="$z_1$", ylabel="$z_2$")
    figure.colorbar(shade, ax=axes, label="$\\log_{10}\\, q(z) / p(z)$", shrink=0.8)
    return figure


def traversals(panels: dict[str, tuple[np.ndarray, list[str]]], values: np.ndarray) -> Figure:
    """A row for each latent dimension, named on the left, its value below; a panel for each title.

    Each panel is its pictures (rows, steps, 28, 28) and the names of its rows.
    """
    heights = [len(names) for _, names in panels.values()]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(0.4 * len(values) + 1.6, 0.4 * sum(heights) + 0.45 * len(panels)), dpi=DPI,
        facecolor="white", layout="constrained", squeeze=False, gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    for axis, (title, (images, names)) in zip(axes[:, 0], panels.items(), strict=True):
        show(axis, few_greys(images))
        axis.set_title(title, fontsize=10)
        axis.set_yticks(14 + 30 * np.arange(len(names)), names, fontsize=8)
        axis.tick_params(length=0)
    axis.set_xticks(14 + 30 * np.arange(len(values)), [f"{round(value, 6) + 0:g}" for value in values], fontsize=8)
    return figure


def strips(rows: dict[str, np.ndarray], gap: int = 2) -> Figure:
    """Rows of pictures (steps, 28, 28), each under its name."""
    images = np.stack(list(rows.values()))
    figure, axes = plt.subplots(
        figsize=(0.42 * images.shape[1] + 1.6, 0.42 * len(rows) + 0.2), dpi=DPI, facecolor="white", layout="constrained"
    )
    show(axes, few_greys(images, gap=gap))
    axes.set_yticks(14 + (28 + gap) * np.arange(len(rows)), list(rows), fontsize=8)
    axes.tick_params(length=0)
    return figure


def squares(panels: dict[str, np.ndarray], columns: int = 3) -> Figure:
    """Grids of pictures (rows, columns, 28, 28) beside each other, each under its title."""
    rows = -(-len(panels) // columns)
    columns = min(columns, len(panels))
    height, width = next(iter(panels.values())).shape[:2]
    side = 9 / columns
    figure, axes = plt.subplots(
        rows, columns, figsize=(9, (side * height / width + 0.3) * rows), dpi=DPI, facecolor="white",
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for axis, (title, images) in zip(axes.flat, panels.items(), strict=False):
        show(axis, few_greys(images, gap=1))
        axis.set_title(title, fontsize=9)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    return figure
