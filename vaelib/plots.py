"""Figures made of images, each a function from arrays to a matplotlib figure, and what all figures share.

Images are (..., 28, 28), uint8 or floats in [0, 1]. Figures are opaque white, so that they read on a dark page too.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

ARCH_COLOURS = {"linear": "#0072B2", "conv": "#D55E00", "convbn": "#009E73"}
DPI = 100


def tiled(images: np.ndarray, gap: int = 2) -> np.ndarray:
    """(rows, columns, 28, 28) as one picture with white gaps, floats in [0, 1], ink dark."""
    images = np.asarray(images)
    images = 1 - (images / 255 if images.dtype == np.uint8 else images.clip(0, 1))
    rows, columns, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=1)
    picture = padded.transpose(0, 2, 1, 3).reshape(rows * (height + gap), columns * (width + gap))
    return picture[: rows * (height + gap) - gap, : columns * (width + gap) - gap]


def image_grid(images: np.ndarray, columns: int = 10) -> Figure:
    """Images (N, 28, 28) in rows; N is cut to whole rows."""
    rows = len(images) // columns
    picture = tiled(np.asarray(images)[: rows * columns].reshape(rows, columns, *np.shape(images)[1:]))
    figure, axes = _axes(width=0.55 * columns, height=0.55 * rows + 0.3)
    show(axes, picture)
    return figure


def reconstructions(originals: np.ndarray, over_epochs: np.ndarray, epochs: list[int]) -> Figure:
    """A row of originals (10, 28, 28), then a row of reconstructions for each of the epochs asked for.

    over_epochs is (all epochs, 10, 28, 28), the first after epoch 1.
    """
    rows = np.stack([originals, *(over_epochs[epoch - 1] for epoch in epochs)])
    figure, axes = _axes(width=6.6, height=0.6 * len(rows) + 0.3)
    show(axes, tiled(rows, gap=4))
    axes.set_yticks(14 + 32 * np.arange(len(rows)), ["original", *(f"epoch {epoch}" for epoch in epochs)], fontsize=9)
    axes.tick_params(length=0)
    return figure


def shown_epochs(epochs: int) -> list[int]:
    """The epochs that figures show: 1, 2, 5, 10, 15, 30, 50, 100, as far as training went, and the last."""
    wanted = [1, 2, 5, 10, 15, 30, 50, 100]
    return sorted({epoch for epoch in wanted if epoch < epochs} | {epochs})


def latent_map(images: np.ndarray, extent: float) -> Figure:
    """A plane decoded at steps by steps places of [-extent, extent]^2, each picture centred on its place."""
    edge = extent * len(images) / (len(images) - 1)
    figure, axes = _axes(width=6, height=6)
    axes.imshow(tiled(images, gap=0), cmap="gray", vmin=0, vmax=1, extent=(-edge, edge, -edge, edge))
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    axes.locator_params(integer=True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def reconstructions_by_cell(originals: np.ndarray, by_arch: dict[str, dict[int, np.ndarray]]) -> Figure:
    """The same ten images as each cell reconstructs them, a panel for each arch, a row for each latent_dim.

    by_arch maps arch to latent_dim to images (10, 28, 28); the originals are the first row of each panel.
    """
    rows = 1 + max(len(cells) for cells in by_arch.values())
    figure, axes = plt.subplots(
        1,
        len(by_arch),
        figsize=(4.0 * len(by_arch) + 0.4, 0.41 * rows + 0.3),
        dpi=DPI,
        facecolor="white",
        layout="constrained",
        squeeze=False,
    )
    for axis, (arch, cells) in zip(axes[0], by_arch.items(), strict=True):
        show(axis, tiled(np.stack([originals, *cells.values()]), gap=4))
        axis.set_title(arch, fontsize=10)
        names = ["original", *(f"d = {latent_dim}" for latent_dim in cells)]
        axis.set_yticks(14 + 32 * np.arange(len(names)), names, fontsize=9)
        axis.tick_params(length=0)
    return figure


def _axes(width: float, height: float):
    return plt.subplots(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def show(axes, picture: np.ndarray):
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def open_frame(axis):
    axis.spines[["top", "right"]].set_visible(False)
