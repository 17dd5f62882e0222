"""Figures of numbers against epochs, latent dimensions or changes, each a function from a table to a figure.

Histories are a run's history.csv; tables are those of tables.py and intervals.py.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from vaelib.plots import ARCH_COLOURS, DPI, open_frame

SPLIT_STYLES = {"train": "--", "validation": "-", "test": "-"}


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
    """Final test reconstruction, KL and -ELBO against latent_dim, of the columns of tables.summary."""
    panels = {"recon_nats": "reconstruction", "kl_nats": "KL to the prior", "negative_elbo_nats": "negative ELBO"}
    figure = by_dimension(table, panels)
    figure.axes[0].set_ylabel("test nats per image")
    return figure


def by_dimension(table: pd.DataFrame, columns: dict[str, str], levels: dict[str, float] | None = None) -> Figure:
    """Each column against latent_dim: a dot for each run, a line through the means; a dashed level where one is given.

    table has arch and latent_dim; columns maps those to draw to the panels' titles.
    """
    figure, axes = plt.subplots(
        1, len(columns), figsize=(2.75 * len(columns), 2.8), dpi=DPI, facecolor="white", layout="constrained",
        squeeze=False,
    )  # fmt: skip
    places = {latent_dim: place for place, latent_dim in enumerate(sorted(table.latent_dim.unique()))}
    for axis, (column, title) in zip(axes[0], columns.items(), strict=True):
        for arch, rows in table.groupby("arch", sort=False):
            colour = ARCH_COLOURS.get(arch, "0.45")
            means = rows.groupby("latent_dim")[column].mean()
            axis.plot(means.index.map(places), means, color=colour, lw=1)
            axis.plot(rows.latent_dim.map(places), rows[column], "o", color=colour, label=arch, ms=4, alpha=0.8)
        if column in (levels or {}):
            axis.axhline(levels[column], color="0.5", ls="--", lw=1)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("latent dimensions d")
        axis.set_xticks(list(places.values()), list(places))
        open_frame(axis)
    axes[0, 0].legend(frameon=False, fontsize=8)
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


def _marker(rows) -> str:
    return "o" if len(rows) == 1 else ""


def _epoch_axis(axis, last: int):
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlim(0.5 if last == 1 else 1, last + (0.5 if last == 1 else 0))
    open_frame(axis)
