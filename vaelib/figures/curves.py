"""Figures of numbers against epochs, dimensions, changes or each other, each a function from a table to a figure.

Histories are a run's history.csv. Tables have arch, latent_dim and seed, a row for each run, as results makes them.
"""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from vaelib.config import ARCHS
from vaelib.figures.style import arch_colour, arch_marker, canvas

DIMENSIONS = LogNorm(2, 80)  # from the first to the last colour of viridis


def loss_curves(history: pd.DataFrame, arch: str) -> Figure:
    """Reconstruction, KL and their sum against epoch in the arch's colour, train dashed, test or validation solid."""
    panels = {"recon": "reconstruction", "kl": "KL to the prior", "negative_elbo": "negative ELBO"}
    history = history.assign(negative_elbo=history.recon + history.kl)
    last = history.epoch.max()
    look = dict(color=arch_colour(arch), marker="o" if last == 1 else "")
    figure, axes = _row(panels.values(), 8 / 3, 2.7, "epoch")
    for axis, column in zip(axes, panels, strict=True):
        for split, rows in history.groupby("split", sort=False):
            axis.plot(rows.epoch, rows[column], "--" if split == "train" else "-", label=split, **look)
        _epoch_axis(axis, last)
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

    archs = sorted(table.arch.unique(), key=lambda arch: [*ARCHS, arch].index(arch))
    last = table.epoch.max()
    figure, axes = _row(archs, 4.5, 3.4, "epoch", sharey=True)
    for axis, arch in zip(axes, archs, strict=True):
        rows = table[table.arch == arch].rename(columns={"latent_dim": "d"})
        # errorbar: from the lowest to the highest seed
        sns.lineplot(
            rows, x="epoch", y=column, hue="d", hue_norm=DIMENSIONS, palette="viridis", legend="full",
            errorbar=("pi", 100), marker="o" if last == 1 else "", ax=axis,
        )  # fmt: skip
        axis.get_legend().remove()
        _epoch_axis(axis, last)
    axes[0].set_ylabel(name)
    lines = {int(d): line for axis in axes for line, d in zip(*axis.get_legend_handles_labels(), strict=True)}
    names = [f"d = {d}" for d in sorted(lines)]
    figure.legend([lines[d] for d in sorted(lines)], names, loc="outside right center", frameon=False)
    return figure


def grid_terms(table: pd.DataFrame) -> Figure:
    """Final test reconstruction, KL and -ELBO against latent_dim, of the columns of results.summary."""
    panels = {"recon_nats": "reconstruction", "kl_nats": "KL to the prior", "negative_elbo_nats": "negative ELBO"}
    figure = by_dimension(table, panels)
    figure.axes[0].set_ylabel("test nats per image")
    return figure


def by_dimension(table: pd.DataFrame, columns: dict[str, str], levels: dict[str, float] | None = None) -> Figure:
    """Each column against latent_dim: a dot for each run, a line through the means; a dashed level where one is given.

    table has arch and latent_dim; columns maps those to draw to the panels' titles.
    """
    figure, axes = _row(columns.values(), 2.75, 2.8, "latent dimensions d", fontsize=10)
    places = {latent_dim: place for place, latent_dim in enumerate(sorted(table.latent_dim.unique()))}
    for axis, column in zip(axes, columns, strict=True):
        for arch, rows in table.groupby("arch", sort=False):
            colour = arch_colour(arch)
            means = rows.groupby("latent_dim")[column].mean()
            axis.plot(means.index.map(places), means, color=colour, lw=1)
            axis.plot(rows.latent_dim.map(places), rows[column], "o", color=colour, label=arch, ms=4, alpha=0.8)
        if column in (levels or {}):
            axis.axhline(levels[column], color="0.5", ls="--", lw=1)
        axis.set_xticks(list(places.values()), list(places))
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def on_log_axis(
    table: pd.DataFrame, x: str, columns: dict[str, str], label: str, levels: dict[str, float] | None = None
) -> Figure:
    """Each column against x on a logarithmic axis: a dot for each run, a line through the means of each architecture.

    table has arch and x; columns maps those to draw to the panels' titles, label says what x is. A level is dashed.
    """
    figure, axes = _row(columns.values(), 2.75, 2.8, label, fontsize=10)
    for axis, column in zip(axes, columns, strict=True):
        for arch, rows in table.groupby("arch", sort=False):
            style = dict(color=arch_colour(arch), label=arch)
            axis.plot(rows.groupby(x)[column].mean(), lw=1, color=style["color"])
            axis.plot(rows[x], rows[column], arch_marker(arch), ms=4, alpha=0.8, **style)
        if column in (levels or {}):
            axis.axhline(levels[column], color="0.5", ls="--", lw=1)
        axis.set_xscale("log")
        axis.set_xticks(sorted(table[x].unique()), minor=False)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        if table[x].nunique() > 5:  # more numbers would run into each other
            axis.tick_params(axis="x", labelsize=8, rotation=60)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def beta_curve(table: pd.DataFrame) -> Figure:
    """Distortion (recon) against rate (KL) along beta, a panel for each architecture.

    table has arch, beta, seed, kl_nats and recon_nats. A small dot for each run, a line through the means with the
    value of beta at each; on one grey line all models have the same negative ELBO, the lowest is that of the best mean.
    """
    archs = table.arch.unique()
    figure, axes = _row(archs, 4.4, 3.8, "rate: KL to the prior, nats", sharex=True, sharey=True)
    totals = table.kl_nats + table.recon_nats
    step = np.diff(MaxNLocator(15, steps=[1, 2, 5, 10]).tick_values(totals.min(), totals.max()))[0]
    for axis, arch in zip(axes, archs, strict=True):
        own, colour = table[table.arch == arch], arch_colour(arch)
        means = own.groupby("beta")[["kl_nats", "recon_nats"]].mean()
        axis.plot(own.kl_nats, own.recon_nats, "o", ms=3, alpha=0.5, color=colour)
        axis.plot(means.kl_nats, means.recon_nats, "-", lw=1, color=colour, marker=arch_marker(arch), ms=6, mfc="white")
        for beta, place in means.iterrows():
            axis.annotate(f"{beta:g}", place, xytext=(5, 4), textcoords="offset points", fontsize=9)
    limits = dict(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim())  # those of the runs, not of the grey lines
    for axis, arch in zip(axes, archs, strict=True):
        sums = table[table.arch == arch].groupby("beta")[["kl_nats", "recon_nats"]].mean().sum(axis=1)
        for total in sums.min() + step * np.arange(40):
            axis.axline((0, total), slope=-1, color="0.88", lw=1, zorder=0)
    axes[0].set(ylabel="distortion: reconstruction, nats", **limits)
    return figure


def traces(table: pd.DataFrame, x: str, columns: dict[str, str], label: str, log: bool = False) -> Figure:
    """Each column against x, a panel for each, a line for each run in the colour of its architecture.

    table has model, which the legend names, arch and seed; columns maps those to draw to the panels' titles, label
    says what x is. Models of one architecture differ in their dashes.
    """
    figure, axes = _row(columns.values(), 4.4, 3.3, label)
    dashes = {}
    for _, own in table.groupby("arch", sort=False):
        dashes |= dict(zip(own.model.unique(), itertools.cycle(["-", "--", ":", "-."]), strict=False))
    for axis, column in zip(axes, columns, strict=True):
        for (arch, model, _), own in table.groupby(["arch", "model", "seed"], sort=False):
            style = dict(color=arch_colour(arch), ls=dashes[model], lw=1.2, alpha=0.8)
            axis.plot(own[x], own[column], marker="o" if len(own) == 1 else "", ms=4, **style)
        if log:
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("nats per image")
    models = table.drop_duplicates("model")
    lines = [
        plt.Line2D([], [], color=arch_colour(arch), ls=dashes[model], label=model)
        for arch, model in zip(models.arch, models.model, strict=True)
    ]
    axes[-1].legend(handles=lines, frameon=False, fontsize=9)
    return figure


def crossed(panels: dict[str, pd.DataFrame], x: str, y: str, digits: int) -> Figure:
    """The numbers of tables on a shade, a panel below another for each title; the darkest of a column is its largest.

    x and y say what the columns and the rows are.
    """
    heights = [len(table) for table in panels.values()]
    width = max(table.shape[1] for table in panels.values())
    size = 0.7 * width + 1.8, 0.3 * np.mean(heights) + 1.3
    figure, axes = canvas(*size, len(panels), columns=1, gridspec_kw={"height_ratios": heights})
    for axis, (title, table) in zip(axes[:, 0], panels.items(), strict=True):
        # Each column has a shade of its own, as levels of noise differ more than models do.
        low, high = table.min(), table.max()
        share = (table - low) / (high - low).where(high > low, 1)
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1.6, aspect="auto")  # up to a blue that black type reads on
        for (row, column), value in np.ndenumerate(table.to_numpy()):
            axis.text(column, row, f"{value:.{digits}f}", ha="center", va="center", fontsize=10)
        turned = dict(fontsize=9, rotation=40, ha="right", rotation_mode="anchor")
        axis.set_xticks(range(table.shape[1]), table.columns, **turned)
        axis.set_yticks(range(len(table)), table.index, fontsize=9)
        axis.set(xlabel=x, ylabel=y)
        axis.set_title(title, fontsize=10)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    return figure


def ablation(table: pd.DataFrame) -> Figure:
    """What each change costs in nats: a row a change, a dot and its interval, a panel for each arch and latent_dim.

    table has the columns of results.ablation. Costs share one scale, linear up to a nat and logarithmic beyond.
    """
    archs, dims = table.arch.unique(), sorted(table.latent_dim.unique())
    heights = [table[table.arch == arch].change.nunique() for arch in archs]
    size = 8 / len(dims), 0.27 * np.mean(heights) + 0.8
    shape = len(archs) * len(dims), len(dims)
    figure, axes = canvas(*size, *shape, sharex=True, gridspec_kw={"height_ratios": heights})
    # Seeds that cost the same have no interval, and then no ends of one.
    least, most = table[["cost_nats", "low"]].min(axis=None), table[["cost_nats", "high"]].max(axis=None)
    for (row, arch), (column, latent_dim) in itertools.product(enumerate(archs), enumerate(dims)):
        axis = axes[row, column]
        rows = table[(table.arch == arch) & (table.latent_dim == latent_dim)]
        places = -np.arange(len(rows))
        axis.axvline(0, color="0.6", lw=1)
        axis.hlines(places, rows.low, rows.high, color=arch_colour(arch), lw=2, alpha=0.5)
        axis.plot(rows.cost_nats, places, "o", color=arch_colour(arch), ms=5)
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xlim(1.3 * min(least, -1), 1.3 * max(most, 10))
        low, high = axis.get_xlim()
        ticks = [tick for tick in (-100, -10, -1, 0, 1, 10, 100, 1000) if low < tick < high]
        axis.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
        axis.set_yticks(places, rows.change if column == 0 else [])
        axis.set_ylim(places[-1] - 0.6, 0.6)
        axis.set_title(f"{arch}, d = {latent_dim}", fontsize=10)
        if row == len(archs) - 1:
            axis.set_xlabel("nats lost by the change")
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    return figure


def bounds(table: pd.DataFrame, counts: list[int]) -> Figure:
    """Nats that L_k gains over L_1 against k, a panel for each arch, a line for each latent_dim: means over seeds."""
    archs = table.arch.unique()
    figure, axes = _row(archs, 4.2, 3.1, "draws k", sharey=True)
    for axis, arch in zip(axes, archs, strict=True):
        for latent_dim, own in table[table.arch == arch].groupby("latent_dim"):
            gains = [(own[f"l{k}_nats"] - own.l1_nats).mean() for k in counts]
            axis.plot(counts, gains, "o-", ms=4, color=shade(latent_dim))
        axis.set_xscale("log")
    axes[0].set_ylabel("nats gained over the ELBO")
    shades = [plt.Line2D([], [], color=shade(d), marker="o", ms=4, label=f"d = {d}") for d in table.latent_dim.unique()]
    axes[-1].legend(handles=shades, frameon=False, fontsize=9)
    return figure


def rate_distortion(table: pd.DataFrame, floor: float, collapse: float) -> Figure:
    """Distortion (recon) against rate (KL) of each run, with lines of equal negative ELBO.

    floor is the least that a reconstruction can cost, the images' entropy; collapse what it costs at rate 0, with the
    mean image for all.
    """
    figure, ((axis,),) = canvas(6.6, 4.6)
    step = np.diff(MaxNLocator(10, steps=[1, 2, 5, 10]).tick_values(floor, collapse))[0]
    right, top = 1.25 * table.kl_nats.max(), collapse + 0.6 * step
    rates = np.array([0, right])
    for total in np.arange(step * np.ceil(floor / step), top + right, step):
        axis.plot(rates, total - rates, color="0.88", lw=1, zorder=0)
        place = right if total - right < top else total - top
        if floor < total - place:
            axis.annotate(f"{total:g}", (place, total - place), fontsize=7, color="0.5", ha="right", va="bottom")
    axis.axhline(floor, color="0.4", ls="--", lw=1)
    axis.annotate(f"entropy of the pixels, {floor:.1f}", (right, floor), fontsize=8, color="0.3", ha="right", va="top")
    axis.plot([0], [collapse], "x", color="0.2", ms=7)
    axis.annotate(f"  total collapse, {collapse:.1f}", (0, collapse), fontsize=8, color="0.3", va="center")
    for (arch, latent_dim), own in table.groupby(["arch", "latent_dim"], sort=False):
        style = dict(marker=arch_marker(arch), ls="", ms=6, mec=arch_colour(arch), mew=1.2)
        axis.plot(own.kl_nats, own.recon_nats, color=shade(latent_dim), **style)
    for latent_dim, own in table.groupby("latent_dim"):
        place = own.loc[own.kl_nats.idxmax(), ["kl_nats", "recon_nats"]]
        axis.annotate(f"d = {latent_dim}", place, xytext=(6, 3), textcoords="offset points", fontsize=9)
    axis.set(xlabel="rate: KL to the prior, nats", ylabel="distortion: reconstruction, nats")
    axis.set_xlim(-0.02 * right, right)
    axis.set_ylim(floor - 0.7 * step, top)
    axis.legend(handles=_arch_handles(table.arch.unique()), frameon=False, loc="upper right")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def dimensions(panels: dict[str, dict[str, list[np.ndarray]]], name: str, level: float | None = None) -> Figure:
    """Values of each latent dimension (latent_dim,), sorted, the largest first; level is dashed.

    A panel for each title, in it a line for each run of each arch.
    """
    figure, axes = _row(panels, 4.2, 3.1, "dimension, the largest first", sharey=True)
    for axis, lines in zip(axes, panels.values(), strict=True):
        for arch, runs in lines.items():
            for values in runs:
                places = 1 + np.arange(len(values))
                axis.plot(places, np.sort(values)[::-1], ".-", ms=4, lw=0.8, color=arch_colour(arch), alpha=0.7)
        axis.set_yscale("log")
        axis.xaxis.get_major_locator().set_params(integer=True)
        if level is not None:
            axis.axhline(level, color="0.4", ls="--", lw=1)
    axes[0].set_ylabel(name)
    archs = dict.fromkeys(arch for lines in panels.values() for arch in lines)
    axes[-1].legend(handles=_arch_handles(archs, line=True), frameon=False)
    return figure


def differences(table: pd.DataFrame, measures: dict[str, str]) -> Figure:
    """A dot and its interval for each latent_dim, a panel for each measure, titled as measures say; 0 is marked.

    table has the columns of results.at_each_dimension.
    """
    figure, axes = _row(measures.values(), 2.5, 2.6, fontsize=10, sharey=True)
    for axis, measure in zip(axes, measures, strict=True):
        own = table[table.measure == measure]
        places = -np.arange(len(own))
        axis.axvline(0, color="0.6", lw=1)
        axis.hlines(places, own.low, own.high, color="0.6", lw=2)
        axis.plot(own.difference, places, "o", color="0.1", ms=5)
        names = [f"d = {latent_dim}" for latent_dim in own.latent_dim]
        if len(set(table.get("arch", []))) > 1:
            names = [f"{arch}, {name}" for arch, name in zip(own.arch, names, strict=True)]
        axis.set_yticks(places, names)
        axis.locator_params(axis="x", nbins=4)
        axis.tick_params(axis="y", length=0)
    return figure


def pareto(table: pd.DataFrame, columns: dict[str, str], value: str, name: str) -> Figure:
    """A column's value against each of the columns, on a logarithmic scale: a dot for each run, a line through means.

    table has arch and model, which says what is averaged; columns map those of the x axes to their labels.
    """
    figure, axes = _row([""] * len(columns), 4, 3.1, sharey=True)
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        for arch, own in table.groupby("arch", sort=False):
            colour = arch_colour(arch)
            means = own.groupby("model")[[column, value]].mean().sort_values(column)
            axis.plot(means[column], means[value], color=colour, lw=1)
            axis.plot(own[column], own[value], arch_marker(arch), color=colour, ms=4, label=arch, alpha=0.8)
        axis.set_xscale("log")
        # Sizes that hardly differ have no round number between them; three ticks then say where they lie.
        near = table[column].max() < 2 * table[column].min()
        axis.xaxis.set_major_locator(MaxNLocator(2) if near else LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(label)
    axes[0].set_ylabel(name)
    axes[0].legend(frameon=False)
    return figure


def shade(latent_dim: int):
    """The colour of a number of latent dimensions, the same in every figure."""
    return colormaps["viridis"](DIMENSIONS(latent_dim))


def _row(titles, width: float, height: float, xlabel: str = "", fontsize="large", **options):
    """A figure of a row of panels under those titles, each so many inches wide, and its axes."""
    figure, axes = canvas(width, height, len(titles), **options)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=fontsize)
        axis.set_xlabel(xlabel)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[0]


def _arch_handles(archs, line: bool = False) -> list:
    style = dict(marker="", ls="-") if line else dict(ls="", markerfacecolor="none")
    styles = [dict(color=arch_colour(arch), marker=arch_marker(arch), label=arch) | style for arch in archs]
    return [plt.Line2D([], [], **style) for style in styles]


def _epoch_axis(axis, last: int):
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlim(0.5 if last == 1 else 1, last + (0.5 if last == 1 else 0))
