"""Figures made of images, each a function from arrays to a matplotlib figure.

Images are (..., side, side), uint8 or floats in [0, 1]. Gaps between them are shares of the side. Planes are squares
of places, rows from the largest z2 down.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from vaelib.figures.style import canvas

WIDE, NARROW, HAIR = 1 / 7, 1 / 14, 1 / 30
MOST = 10  # pictures that a row of reconstructions shows; a figure of more is wider than a page


def tiled(images: np.ndarray, gap: float = NARROW) -> np.ndarray:
    """(rows, columns, side, side) as one picture with white gaps, floats in [0, 1], ink dark.

    gap is a share of the side, and a pixel at least where it is not 0.
    """
    images = np.asarray(images)
    images = 1 - (images / 255 if images.dtype == np.uint8 else images.clip(0, 1))
    rows, columns, side, _ = images.shape
    gap = _pixels(gap, side)
    step = side + gap
    padded = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=1)
    picture = padded.transpose(0, 2, 1, 3).reshape(rows * step, columns * step)
    return picture[: rows * step - gap, : columns * step - gap]


def whole_rows(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, side, side) as (rows, columns, side, side); the places that N leaves in the last row are without ink.

    Fewer images than columns are one row of them all.
    """
    images = np.asarray(images)
    columns = min(columns, len(images))
    blank = np.zeros((-len(images) % columns, *images.shape[1:]), images.dtype)
    return np.concatenate([images, blank]).reshape(-1, columns, *images.shape[1:])


def image_grid(images: np.ndarray, columns: int = 10) -> Figure:
    """Images (N, side, side) in rows; N is cut to whole rows."""
    columns = min(columns, len(images))
    rows = len(images) // columns
    figure, axes = canvas(0.55 * columns, 0.55 * rows + 0.3)
    _show(axes[0, 0], np.asarray(images)[: rows * columns].reshape(rows, columns, *np.shape(images)[1:]))
    return figure


def reconstructions(originals: np.ndarray, over_epochs: np.ndarray, epochs: list[int]) -> Figure:
    """A row of originals (N, side, side), then a row of reconstructions for each of the epochs asked for.

    over_epochs is (all epochs, N, side, side), the first after epoch 1. The first ten images are shown.
    """
    rows = np.stack([originals, *(over_epochs[epoch - 1] for epoch in epochs)])[:, :MOST]
    figure, axes = canvas(0.6 * rows.shape[1] + 0.6, 0.6 * len(rows) + 0.3)
    _show(axes[0, 0], rows, WIDE, ["original", *(f"epoch {epoch}" for epoch in epochs)], fontsize=9)
    return figure


def shown_epochs(epochs: int) -> list[int]:
    """The epochs that figures show: 1, 2, 5, 10, 15, 30, 50, 100, as far as training went, and the last."""
    wanted = [1, 2, 5, 10, 15, 30, 50, 100]
    return sorted({epoch for epoch in wanted if epoch < epochs} | {epochs})


def reconstructions_by_cell(originals: np.ndarray, by_arch: dict[str, dict[int, np.ndarray]]) -> Figure:
    """The same images as each model reconstructs them, a panel for each arch, a row for each latent_dim.

    by_arch maps arch to latent_dim to images (N, side, side); the originals are the first row of each panel. The
    first ten images are shown.
    """
    rows = 1 + max(len(models) for models in by_arch.values())
    width = 3.6 * min(len(originals), MOST) / 10 + 0.4
    figure, axes = canvas(width, 0.41 * rows + 0.3, len(by_arch), margin=0.4)
    for axis, (arch, models) in zip(axes[0], by_arch.items(), strict=True):
        names = ["original", *(f"d = {latent_dim}" for latent_dim in models)]
        _show(axis, np.stack([originals, *models.values()])[:, :MOST], WIDE, names, fontsize=9)
        axis.set_title(arch, fontsize=10)
    return figure


def latent_map(images: np.ndarray, extent: float) -> Figure:
    """A plane decoded at steps by steps places of [-extent, extent]^2, each picture centred on its place."""
    edge = extent * len(images) / (len(images) - 1)
    figure, ((axis,),) = canvas(6, 6)
    axis.imshow(tiled(images, gap=0), cmap="gray", vmin=0, vmax=1, extent=(-edge, edge, -edge, edge))
    axis.set(xlabel="$z_1$", ylabel="$z_2$")
    axis.locator_params(integer=True)
    axis.spines[:].set_visible(False)
    return figure


def maps(panels: dict[str, np.ndarray], places: np.ndarray) -> Figure:
    """Latent maps (steps, steps, side, side) beside each other, rows and columns marked by the places they lie at."""
    figure, axes = canvas(4.2, 4.3, len(panels))
    every = slice(None, None, max(2, -(-len(places) // 12)))  # more than twelve numbers would run into each other
    names = [f"{round(place, 1) + 0:.1f}" for place in places]  # adding 0 makes -0.0 a 0.0
    for axis, (title, images) in zip(axes[0], panels.items(), strict=True):
        _show(axis, images, gap=0, greys=17)
        centres = np.shape(images)[-1] * (np.arange(len(places)) + 0.5) - 0.5
        axis.set_xticks(centres[every], names[every], fontsize=7)
        axis.set_yticks(centres[every], names[::-1][every], fontsize=7)
        axis.set(xlabel="$z_1$", ylabel="$z_2$")
        axis.set_title(title, fontsize=10)
    return figure


def traversals(panels: dict[str, tuple[np.ndarray, list[str]]], values: np.ndarray) -> Figure:
    """A row for each latent dimension, named on the left, its value below; a panel for each title.

    Each panel is its pictures (rows, steps, side, side) and the names of its rows.
    """
    heights = [len(names) for _, names in panels.values()]
    width, height = 0.4 * len(values) + 1.6, 0.4 * np.mean(heights) + 0.45
    figure, axes = canvas(width, height, len(panels), columns=1, gridspec_kw={"height_ratios": heights})
    shown = [f"{round(value, 6) + 0:g}" for value in np.asarray(values).tolist()]
    for axis, (title, (images, names)) in zip(axes[:, 0], panels.items(), strict=True):
        _show(axis, images, NARROW, names, shown if axis is axes[-1, 0] else (), greys=17)
        axis.set_title(title, fontsize=10)
    return figure


def strips(rows: dict[str, np.ndarray], gap: float = NARROW, below: Sequence[str] = (), x: str = "") -> Figure:
    """Rows of pictures (steps, side, side), named on the left; below has the columns' names, x what these are."""
    images = np.stack([np.asarray(row) for row in rows.values()])
    figure, axes = canvas(0.42 * images.shape[1] + 1.6, 0.42 * len(rows) + 0.2)
    _show(axes[0, 0], images, gap, list(rows), below, greys=17)
    axes[0, 0].set_xlabel(x, fontsize=8)
    return figure


def squares(panels: dict[str, np.ndarray], columns: int = 3) -> Figure:
    """Grids of pictures (rows, columns, side, side) beside each other, each under its title."""
    high, wide = next(iter(panels.values())).shape[:2]
    width = 9 / min(columns, len(panels))
    figure, axes = canvas(width, width * high / wide + 0.3, len(panels), columns)
    for axis, (title, images) in zip(axes.flat, panels.items(), strict=False):
        _show(axis, images, HAIR, greys=17)
        axis.set_title(title, fontsize=9)
    return figure


def _show(axis, images, gap=NARROW, left=(), below=(), fontsize=8, greys=None):
    """Pictures (rows, columns, side, side) without a frame, names of the rows on the left, of the columns below.

    In seventeen greys, which nobody tells from 256 in pictures this small, a figure has a third of the bytes.
    """
    side = np.shape(images)[-1]
    centres = side / 2 + (side + _pixels(gap, side)) * np.arange(max(np.shape(images)[:2]))
    picture = tiled(images, gap)
    picture = np.round((greys - 1) * picture) / (greys - 1) if greys else picture
    look = dict(cmap="gray", interpolation="nearest")
    if side > 32:  # these are scaled down, and would lose thin lines
        shades = colormaps["gray"].resampled(greys or 256)
        look = dict(cmap=shades, interpolation="antialiased", interpolation_stage="data")
    axis.imshow(picture, vmin=0, vmax=1, **look)
    axis.set_xticks(centres[: len(below)], below, fontsize=fontsize)
    axis.set_yticks(centres[: len(left)], left, fontsize=fontsize)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def _pixels(gap: float, side: int) -> int:
    return max(1, round(gap * side)) if gap else 0
