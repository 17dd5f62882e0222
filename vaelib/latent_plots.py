"""Figures of the latent space, each a function from arrays to a figure; Plotly's where a reader turns it.

Codes are (N, 2) or (N, 3), labels (N,), images (..., 28, 28). plots.py holds what all figures share.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vaelib.plots import ARCH_COLOURS, DPI, open_frame, show, tiled

# Petroff 2021, "Accessible color sequences for data visualization": ten colours that the colour-blind tell apart
DIGIT_COLOURS = [
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
]  # fmt: skip


def few_greys(images: np.ndarray, gap: int = 2) -> np.ndarray:
    """plots.tiled in seventeen greys, which nobody tells from 256 in pictures this small: a third of the bytes."""
    return np.round(16 * tiled(images, gap)) / 16


def scatter(axes, z: np.ndarray, labels: np.ndarray, size: float = 3):
    """Codes as dots in their class's colour, each class's number at its mean."""
    order = np.random.default_rng(0).permutation(len(z))  # or the last class would lie on top of all others
    colours = np.array(DIGIT_COLOURS)[labels % 10]
    axes.scatter(*z[order].T, s=size, c=colours[order], alpha=0.6, linewidths=0, rasterized=True)
    for label in np.unique(labels):
        outline = dict(boxstyle="circle,pad=0.15", facecolor="white", edgecolor=DIGIT_COLOURS[label % 10], alpha=0.85)
        axes.text(*z[labels == label].mean(0), str(label), fontsize=9, ha="center", va="center", bbox=outline)


def embeddings(panels: dict[str, np.ndarray], labels: np.ndarray, columns: int = 2, side: float = 3.9) -> Figure:
    """A scatter of codes (N, 2) for each title, all of the same images, with one legend of the classes."""
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(side * columns + 0.6, side * rows), dpi=DPI, facecolor="white", layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for axis, (title, z) in zip(axes.flat, panels.items(), strict=False):
        scatter(axis, z, labels)
        axis.set_title(title, fontsize=10)
        axis.set_aspect("equal", adjustable="datalim")
        axis.tick_params(labelsize=8)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    figure.legend(handles=_class_handles(labels), loc="outside right center", frameon=False, title="digit")
    return figure


def scatter_3d(z: np.ndarray, labels: np.ndarray, title: str):
    """Codes (N, 3) as a Plotly figure that a reader turns, a legend entry for each class."""
    from plotly import graph_objects as go  # a second to import: only where it is used

    clouds = []
    for label in np.unique(labels):
        own = z[labels == label].round(2)
        marker = dict(size=2, color=DIGIT_COLOURS[label % 10], opacity=0.7)
        x, y, depth = own.T.tolist()
        clouds.append(go.Scatter3d(x=x, y=y, z=depth, mode="markers", name=str(label), marker=marker))
    axes = {f"{axis}axis": dict(title=f"z{index}") for index, axis in enumerate("xyz", start=1)}
    figure = go.Figure(clouds)
    figure.update_layout(
        template="plotly_white", title=title, height=520, margin=dict(l=0, r=0, t=40, b=0), scene=axes, autosize=True,
        legend=dict(title="digit", itemsizing="constant", x=1, xanchor="right"),
    )  # fmt: skip
    return figure


def scatter_3d_static(panels: dict[str, np.ndarray], labels: np.ndarray) -> Figure:
    """The same for paper: codes (N, 3) from two sides for each title; the few beyond 3 are left out."""
    figure = plt.figure(figsize=(8, 3.9 * len(panels)), dpi=DPI, facecolor="white", layout="constrained")
    for row, (title, z) in enumerate(panels.items()):
        for column, turn in enumerate((-60, 30)):
            axis = figure.add_subplot(len(panels), 2, 2 * row + column + 1, projection="3d")
            axis.scatter(*z.T, c=np.array(DIGIT_COLOURS)[labels % 10], s=5, alpha=0.7, linewidths=0, axlim_clip=True)
            axis.view_init(elev=20, azim=turn)
            axis.set_title(f"{title}, turned to {turn}°", fontsize=10)
            wide, ticks = (-3, 3), (-2, 0, 2)
            axis.set(xlabel="$z_1$", ylabel="$z_2$", zlabel="$z_3$", xlim=wide, ylim=wide, zlim=wide)
            axis.set(xticks=ticks, yticks=ticks, zticks=ticks)
            axis.tick_params(labelsize=7, pad=0)
            axis.set_box_aspect(None, zoom=0.9)
    figure.legend(handles=_class_handles(labels), loc="outside right center", frameon=False, title="digit")
    return figure


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


def matrices(panels: dict[str, np.ndarray], x: str, y: str, columns: int = 2) -> Figure:
    """Shares (classes, classes) in per cent on a shade, a panel for each title; the diagonal is not shaded."""
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(9 / columns * min(columns, len(panels)), 8.6 / columns * rows), dpi=DPI,
        facecolor="white", layout="constrained",
        squeeze=False,
    )  # fmt: skip
    limit = max(np.where(np.eye(len(share)), 0, share).max() for share in panels.values())
    for axis, (title, share) in zip(axes.flat, panels.items(), strict=False):
        classes = len(share)
        off = np.ma.masked_array(share, np.eye(classes, dtype=bool))
        axis.imshow(off, cmap="Reds", vmin=0, vmax=max(limit, 1e-9))
        for i, j in np.ndindex(classes, classes):
            if share[i, j] >= 0.0005:
                dark = i != j and share[i, j] > 0.6 * limit
                text = f"{100 * share[i, j]:.0f}" if share[i, j] >= 0.0995 else f"{100 * share[i, j]:.1f}"
                axis.text(
                    j, i, text, ha="center", va="center", fontsize=13 / columns, color="white" if dark else "black"
                )
        axis.set_xticks(range(classes), range(classes), fontsize=8)
        axis.set_yticks(range(classes), range(classes), fontsize=8)
        axis.set_xlabel(x, fontsize=8)
        axis.set_ylabel(y, fontsize=8)
        axis.set_title(title, fontsize=10)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
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


def interactive(figure, alt: str) -> dict[str, object]:
    """A Plotly figure for IPython's display(..., raw=True): as HTML for a page of the book, as JSON for Jupyter.

    The HTML asks for Plotly's script in the book's _static, where building the book puts it.
    """
    inner = figure.to_html(
        full_html=False,
        include_plotlyjs="../_static/plotly.min.js",
        default_width="100%",
        config={"responsive": True},
    )
    html = f'<div role="img" aria-label="{alt}" style="overflow: hidden">{inner}</div>'
    return {"text/html": html, "application/vnd.plotly.v1+json": figure.to_plotly_json()}


def _class_handles(labels: np.ndarray) -> list:
    return [
        plt.Line2D([], [], marker="o", ls="", color=DIGIT_COLOURS[label % 10], label=str(label))
        for label in np.unique(labels)
    ]
