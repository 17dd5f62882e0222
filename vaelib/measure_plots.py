"""Figures of what was measured: bounds, rate and distortion, dimensions in use, differences between models.

Tables have arch, latent_dim and seed, a row for each run, as tables.measured makes them. plots.py holds what all
figures share.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from vaelib.plots import ARCH_COLOURS, DPI, open_frame

MARKERS = {"linear": "o", "conv": "s", "convbn": "^"}


def shade(latent_dim: int):
    """The colour of a number of latent dimensions, the same in every figure."""
    return colormaps["viridis"](LogNorm(2, 80)(latent_dim))


def bounds(table: pd.DataFrame, counts: list[int]) -> Figure:
    """Nats that L_k gains over L_1 against k, a panel for each arch, a line for each latent_dim: means over seeds."""
    archs = table.arch.unique()
    figure, axes = plt.subplots(
        1, len(archs), figsize=(4.2 * len(archs), 3.1), dpi=DPI, facecolor="white", layout="constrained", sharey=True,
        squeeze=False,
    )  # fmt: skip
    for axis, arch in zip(axes[0], archs, strict=True):
        for latent_dim, own in table[table.arch == arch].groupby("latent_dim"):
            gains = [(own[f"l{k}_nats"] - own.l1_nats).mean() for k in counts]
            axis.plot(counts, gains, "o-", ms=4, color=shade(latent_dim))
        axis.set_xscale("log")
        axis.set(title=arch, xlabel="draws k")
        open_frame(axis)
    axes[0, 0].set_ylabel("nats gained over the ELBO")
    shades = [plt.Line2D([], [], color=shade(d), marker="o", ms=4, label=f"d = {d}") for d in table.latent_dim.unique()]
    axes[0, -1].legend(handles=shades, frameon=False, fontsize=9)
    return figure


def rate_distortion(table: pd.DataFrame, floor: float, collapse: float) -> Figure:
    """Distortion (recon) against rate (KL) of each run, with lines of equal negative ELBO.

    floor is the least that a reconstruction can cost, the images' entropy; collapse what it costs at rate 0, with the
    mean image for all.
    """
    figure, axis = plt.subplots(figsize=(6.6, 4.6), dpi=DPI, facecolor="white", layout="constrained")
    right, top = 1.25 * table.kl_nats.max(), collapse + 12
    rates = np.array([0, right])
    for total in np.arange(20 * np.ceil(floor / 20), top + right, 20):
        axis.plot(rates, total - rates, color="0.88", lw=1, zorder=0)
        place = right if total - right < top else total - top
        if floor < total - place:
            axis.annotate(f"{total:.0f}", (place, total - place), fontsize=7, color="0.5", ha="right", va="bottom")
    axis.axhline(floor, color="0.4", ls="--", lw=1)
    axis.annotate(f"entropy of the pixels, {floor:.1f}", (right, floor), fontsize=8, color="0.3", ha="right", va="top")
    axis.plot([0], [collapse], "x", color="0.2", ms=7)
    axis.annotate(f"  total collapse, {collapse:.1f}", (0, collapse), fontsize=8, color="0.3", va="center")
    for (arch, latent_dim), own in table.groupby(["arch", "latent_dim"], sort=False):
        style = dict(marker=MARKERS[arch], ls="", ms=6, mec=ARCH_COLOURS[arch], mew=1.2)
        axis.plot(own.kl_nats, own.recon_nats, color=shade(latent_dim), **style)
    for latent_dim, own in table.groupby("latent_dim"):
        place = own.loc[own.kl_nats.idxmax(), ["kl_nats", "recon_nats"]]
        axis.annotate(f"d = {latent_dim}", place, xytext=(6, 3), textcoords="offset points", fontsize=9)
    axis.set(xlabel="rate: KL to the prior, nats", ylabel="distortion: reconstruction, nats")
    axis.set_xlim(-0.02 * right, right)
    axis.set_ylim(floor - 14, top)
    axis.legend(handles=_arch_handles(table.arch.unique()), frameon=False, loc="upper right")
    open_frame(axis)
    return figure


def dimensions(panels: dict[str, dict[str, np.ndarray]], name: str, level: float | None = None) -> Figure:
    """Values of each latent dimension (latent_dim,), sorted, the largest first: a panel for each title, a line for each
    arch's runs; level is dashed."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.2 * len(panels), 3.1), dpi=DPI, facecolor="white", layout="constrained",
        sharey=True, squeeze=False,
    )  # fmt: skip
    for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for arch, runs in lines.items():
            for values in runs:
                places = 1 + np.arange(len(values))
                axis.plot(places, np.sort(values)[::-1], ".-", ms=4, lw=0.8, color=ARCH_COLOURS[arch], alpha=0.7)
        axis.set(title=title, xlabel="dimension, the largest first")
        axis.set_yscale("log")
        axis.xaxis.get_major_locator().set_params(integer=True)
        if level is not None:
            axis.axhline(level, color="0.4", ls="--", lw=1)
        open_frame(axis)
    axes[0, 0].set_ylabel(name)
    axes[0, -1].legend(
        handles=_arch_handles(dict.fromkeys(arch for lines in panels.values() for arch in lines), line=True),
        frameon=False,
    )
    return figure


def differences(table: pd.DataFrame, measures: dict[str, str]) -> Figure:
    """A dot and its interval for each latent_dim, a panel for each measure, titled as measures say; 0 is marked.

    table has the columns of comparison.at_each_dimension.
    """
    figure, axes = plt.subplots(
        1, len(measures), figsize=(2.5 * len(measures), 2.6), dpi=DPI, facecolor="white", layout="constrained",
        sharey=True, squeeze=False,
    )  # fmt: skip
    for axis, (measure, title) in zip(axes[0], measures.items(), strict=True):
        own = table[table.measure == measure]
        places = -np.arange(len(own))
        axis.axvline(0, color="0.6", lw=1)
        axis.hlines(places, own.low, own.high, color="0.6", lw=2)
        axis.plot(own.difference, places, "o", color="0.1", ms=5)
        axis.set_yticks(places, [f"d = {latent_dim}" for latent_dim in own.latent_dim])
        axis.set_title(title, fontsize=10)
        axis.locator_params(axis="x", nbins=4)
        axis.tick_params(axis="y", length=0)
        open_frame(axis)
    return figure


def pareto(table: pd.DataFrame, columns: dict[str, str], value: str, name: str) -> Figure:
    """A column's value against each of the columns, on a logarithmic scale: a dot for each run, a line through means.

    table has arch and model, which says what is averaged; columns map those of the x axes to their labels.
    """
    figure, axes = plt.subplots(
        1, len(columns), figsize=(4 * len(columns), 3.1), dpi=DPI, facecolor="white", layout="constrained",
        sharey=True, squeeze=False,
    )  # fmt: skip
    for axis, (column, label) in zip(axes[0], columns.items(), strict=True):
        for arch, own in table.groupby("arch", sort=False):
            means = own.groupby("model")[[column, value]].mean().sort_values(column)
            axis.plot(means[column], means[value], color=ARCH_COLOURS[arch], lw=1)
            axis.plot(own[column], own[value], MARKERS[arch], color=ARCH_COLOURS[arch], ms=4, label=arch, alpha=0.8)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(label)
        open_frame(axis)
    axes[0, 0].set_ylabel(name)
    axes[0, 0].legend(frameon=False)
    return figure


def _arch_handles(archs, line: bool = False) -> list:
    return [
        plt.Line2D([], [], marker="" if line else MARKERS[arch], ls="-" if line else "", color=ARCH_COLOURS[arch],
                   markerfacecolor="none", label=arch)
        for arch in archs
    ]  # fmt: skip
