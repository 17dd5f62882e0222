"""Every figure of the report, each a function from arrays or tables to a matplotlib figure.

Images are (..., 28, 28), uint8 or floats in [0, 1]; histories are a run's history.csv.
Figures are opaque white, so that they read on a dark page too.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

ARCH_COLOURS = {"linear": "#0072B2", "conv": "#D55E00", "convbn": "#009E73"}
SPLIT_STYLES = {"train": "--", "validation": "-", "test": "-"}
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


def loss_curves(history: pd.DataFrame, colour: str = ARCH_COLOURS["linear"]) -> Figure:
    """Reconstruction, KL and their sum against epoch, train dashed, test or validation solid."""
    panels = {"recon": "reconstruction", "kl": "KL to the prior", "negative_elbo": "negative ELBO"}
    history = history.assign(negative_elbo=history.recon + history.kl)
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.7), dpi=DPI, facecolor="white", layout="constrained")
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        for split, style in SPLIT_STYLES.items():
            rows = history[history.split == split]
            if rows.empty:
                continue
            axis.plot(rows.epoch, rows[column], style, color=colour, label=split, marker=_marker(rows))
        axis.set(title=title, xlabel="epoch")
        _epoch_axis(axis, history.epoch.max())
    axes[0].set_ylabel("nats per image")
    axes[-1].legend(frameon=False)
    return figure


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


def grid_curves(histories: pd.DataFrame) -> Figure:
    """Test -ELBO against epoch, a panel for each architecture, a line for each latent_dim.

    histories has a run's columns and arch, latent_dim, seed; a band spans the seeds where there are several.
    """
    test = histories[histories.split != "train"].assign(negative_elbo=lambda rows: rows.recon + rows.kl)
    return curves(test, "negative_elbo", f"{test.split.iloc[0]} negative ELBO, nats per image")


def curves(table: pd.DataFrame, column: str, name: str) -> Figure:
    """A column against epoch, a panel for each architecture, a line for each latent_dim, a band over the seeds."""
    import seaborn as sns  # a second to import: only where it is used

    archs = [arch for arch in ARCH_COLOURS if arch in set(table.arch)]
    figure, axes = plt.subplots(
        1,
        len(archs),
        figsize=(4.5 * len(archs), 3.4),
        dpi=DPI,
        facecolor="white",
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for axis, arch in zip(axes[0], archs, strict=True):
        rows = table[table.arch == arch].rename(columns={"latent_dim": "d"})
        # errorbar: from the lowest to the highest seed
        sns.lineplot(
            rows, x="epoch", y=column, hue="d", hue_norm=LogNorm(2, 80), palette="viridis", legend="full",
            errorbar=("pi", 100), marker=_marker(rows.epoch.unique()), ax=axis,
        )  # fmt: skip
        axis.get_legend().remove()
        axis.set(title=arch, xlabel="epoch")
        _epoch_axis(axis, table.epoch.max())
    axes[0, 0].set_ylabel(name)
    lines, names = axes[0, -1].get_legend_handles_labels()
    figure.legend(lines, [f"d = {name}" for name in names], loc="outside right center", frameon=False)
    return figure


def grid_terms(table: pd.DataFrame) -> Figure:
    """Final test reconstruction, KL and -ELBO against latent_dim: a dot for each run, a line through the means."""
    panels = {"recon_nats": "reconstruction", "kl_nats": "KL to the prior", "negative_elbo_nats": "negative ELBO"}
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.8), dpi=DPI, facecolor="white", layout="constrained")
    places = {latent_dim: place for place, latent_dim in enumerate(sorted(table.latent_dim.unique()))}
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        for arch, rows in table.groupby("arch", sort=False):
            x = rows.latent_dim.map(places)
            means = rows.groupby("latent_dim")[column].mean()
            axis.plot(means.index.map(places), means, color=ARCH_COLOURS[arch], lw=1)
            axis.plot(x, rows[column], "o", color=ARCH_COLOURS[arch], label=arch, ms=4, alpha=0.8)
        axis.set(title=title, xlabel="latent dimensions d")
        axis.set_xticks(list(places.values()), list(places))
        open_frame(axis)
    axes[0].set_ylabel("test nats per image")
    axes[0].legend(frameon=False)
    return figure


def ablation(table: pd.DataFrame) -> Figure:
    """What each change costs in nats: a row a change, a dot and its interval, a panel for each arch and latent_dim.

    table has the columns of tables.ablation. Costs share one scale, linear up to a nat and logarithmic beyond.
    """
    archs, dims = table.arch.unique(), sorted(table.latent_dim.unique())
    heights = [table[table.arch == arch].change.nunique() for arch in archs]
    figure, axes = plt.subplots(
        len(archs),
        len(dims),
        figsize=(8, 0.27 * sum(heights) + 0.8 * len(archs)),
        dpi=DPI,
        facecolor="white",
        layout="constrained",
        sharex=True,
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    for (row, arch), (column, latent_dim) in itertools.product(enumerate(archs), enumerate(dims)):
        axis = axes[row, column]
        rows = table[(table.arch == arch) & (table.latent_dim == latent_dim)]
        places = -np.arange(len(rows))
        axis.axvline(0, color="0.6", lw=1)
        axis.hlines(places, rows.low, rows.high, color=ARCH_COLOURS[arch], lw=2, alpha=0.5)
        axis.plot(rows.cost_nats, places, "o", color=ARCH_COLOURS[arch], ms=5)
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xlim(1.3 * min(table.low.min(), -1), 1.3 * max(table.high.max(), 10))
        ticks = [tick for tick in (-10, -1, 0, 1, 10) if tick > axis.get_xlim()[0]]
        axis.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
        axis.set_yticks(places, rows.change if column == 0 else [])
        axis.set_ylim(places[-1] - 0.6, 0.6)
        axis.set_title(f"{arch}, d = {latent_dim}", fontsize=10)
        if row == len(archs) - 1:
            axis.set_xlabel("nats lost by the change")
        open_frame(axis)
        axis.tick_params(axis="y", length=0)
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


def _marker(rows) -> str:
    return "o" if len(rows) == 1 else ""


def _epoch_axis(axis, last: int):
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlim(0.5 if last == 1 else 1, last + (0.5 if last == 1 else 0))
    open_frame(axis)


def open_frame(axis):
    axis.spines[["top", "right"]].set_visible(False)
