"""Figures of the latent space, each a function from arrays to a figure; Plotly's where a reader turns it.

Codes are (N, 2) or (N, 3), labels (N,) in 0..classes-1, names a word or more for each class and noun what a class is
called. Planes are squares of places, rows from the largest z2 down.
"""

from collections.abc import Sequence
from html import escape

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from vaelib.figures.style import canvas, class_colours, class_legend, page, shortened


def scatter(axes, z: np.ndarray, labels: np.ndarray, names: Sequence[str]):
    """Codes as dots in their class's colour, each class's name at its mean, shortened where it is long.

    Dots are larger where there are few. Names that would hide more than a quarter of the panel are left out.
    """
    z, labels = np.asarray(z), np.asarray(labels)
    order = np.random.default_rng(0).permutation(len(z))  # In order, the last class would lie on top of all others.
    colours = class_colours(len(names))
    axes.scatter(
        *z[order].T, s=dot_size(len(z)), c=np.array(colours)[labels[order]], alpha=0.6, linewidths=0, rasterized=True
    )
    shown = {label: shortened(names[label]) for label in np.unique(labels)}
    hidden = sum(0.2 * (0.1 + 0.08 * len(name)) for name in shown.values())  # square inches
    for label, name in shown.items() if hidden < np.prod(axes.bbox.size / axes.figure.dpi) / 4 else ():
        shape = f"{'circle' if len(name) < 3 else 'round'},pad=0.15"
        outline = dict(boxstyle=shape, facecolor="white", edgecolor=colours[label], alpha=0.85)
        axes.text(*z[labels == label].mean(0), name, fontsize=9, ha="center", va="center", bbox=outline)


def dot_size(count: int) -> float:
    """The area of a dot, in square points, in a scatter of so many."""
    return min(30, max(3, 900 / count))


def embeddings(
    panels: dict[str, np.ndarray], labels: np.ndarray, names: Sequence[str], noun: str = "class", columns: int = 2,
    side: float = 3.9,
) -> Figure:  # fmt: skip
    """A scatter of codes (N, 2) for each title, all of the same images, with one legend of the classes."""
    figure, axes = canvas(side, side, len(panels), columns, margin=0.6)
    for axis, (title, z) in zip(axes.flat, panels.items(), strict=False):
        scatter(axis, z, labels, names)
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=8)
        axis.locator_params(nbins=max(3, round(1.5 * side)))  # Numbers such as -0.025 need two thirds of an inch.
    class_legend(figure, labels, names, noun)
    for axis in axes.flat:
        axis.set_aspect("equal", adjustable="datalim")
    return figure


def scatter_3d(z: np.ndarray, labels: np.ndarray, title: str, names: Sequence[str], noun: str):
    """Codes (N, 3) as a Plotly figure that a reader turns, a legend entry for each class."""
    from plotly import graph_objects as go  # a second to import: only where it is used

    z, labels = np.asarray(z), np.asarray(labels)
    colours = class_colours(len(names))
    clouds = []
    for label in np.unique(labels):
        x, y, depth = z[labels == label].round(2).T.tolist()
        marker = dict(size=2 * (dot_size(len(z)) / 3) ** 0.5, color=colours[label], opacity=0.7)
        clouds.append(go.Scatter3d(x=x, y=y, z=depth, mode="markers", name=escape(names[label]), marker=marker))
    axes = {f"{axis}axis": dict(title=f"z{index}") for index, axis in enumerate("xyz", start=1)}
    figure = go.Figure(clouds)
    figure.update_layout(
        template="plotly_white", title=title, height=520, margin=dict(l=0, r=0, t=40, b=0), scene=axes, autosize=True,
        legend=dict(title=noun, itemsizing="constant", x=1, xanchor="right"),
    )  # fmt: skip
    return figure


def scatter_3d_static(panels: dict[str, np.ndarray], labels: np.ndarray, names: Sequence[str], noun: str) -> Figure:
    """The same for paper: codes (N, 3) from two sides for each title; the few beyond 3 are left out."""
    colours = np.array(class_colours(len(names)))[np.asarray(labels)]
    figure, axes = canvas(4, 3.9, 2 * len(panels), columns=2, subplot_kw={"projection": "3d"})
    for row, (title, z) in zip(axes, panels.items(), strict=True):
        for axis, turn in zip(row, (-60, 30), strict=True):
            axis.scatter(*np.asarray(z).T, c=colours, s=dot_size(len(z)) + 2, alpha=0.7, linewidths=0, axlim_clip=True)
            axis.view_init(elev=20, azim=turn)
            axis.set_title(f"{title}, turned to {turn}°", fontsize=10)
            wide, ticks = (-3, 3), (-2, 0, 2)
            axis.set(xlabel="$z_1$", ylabel="$z_2$", zlabel="$z_3$", xlim=wide, ylim=wide, zlim=wide)
            axis.set(xticks=ticks, yticks=ticks, zticks=ticks)
            axis.tick_params(labelsize=7, pad=0)
            axis.zaxis.labelpad = -4  # The second panel would otherwise hide the first one's label.
            axis.set_box_aspect(None, zoom=0.9)
    class_legend(figure, labels, names, noun)
    return figure


def interactive(figure, alt: str) -> dict[str, object]:
    """A Plotly figure for IPython's display(..., raw=True): as HTML for a page of the book, as JSON for Jupyter.

    The HTML asks for Plotly's script in the book's _static, where building the book puts it.
    """
    script = dict(full_html=False, include_plotlyjs="../_static/plotly.min.js")
    inner = figure.to_html(**script, default_width="100%", config={"responsive": True})
    html = f'<div role="img" aria-label="{escape(alt)}" style="overflow: hidden">{inner}</div>'
    return {"text/html": html, "application/vnd.plotly.v1+json": figure.to_plotly_json()}


def standalone(figure, alt: str) -> str:
    """A Plotly figure as a whole HTML file that holds Plotly's script too, and so needs no network."""
    # A name of the part that shows it, which is otherwise drawn at random, makes the file the same each time.
    script = dict(full_html=False, include_plotlyjs=True, div_id="figure")
    inner = figure.to_html(**script, default_width="100%", config={"responsive": True})
    return page(alt, f'<div role="img" aria-label="{escape(alt)}">{inner}</div>')


def territories(panels: dict[str, np.ndarray], extent: float, names: Sequence[str], noun: str = "class") -> Figure:
    """Whose land the decoded plane is, and how sure the classifier is of it: a row for each title.

    Each value is the classes' probabilities (steps, steps, classes) of the plane [-extent, extent]^2 decoded, rows
    from the largest z2 down. Left a colour for each class, paler where its probability is lower; right the entropy.
    A class's name stands where there is room for it; a legend has all where names are words, or more than ten.
    """
    figure, axes = canvas(4, 3.7, 2 * len(panels), columns=2)
    palette = np.array([to_rgb(colour) for colour in class_colours(len(names))])
    where = (-extent, extent, -extent, extent)
    seen = set()
    for row, (title, probabilities) in zip(axes, panels.items(), strict=True):
        probabilities = np.asarray(probabilities)
        labels, highest = probabilities.argmax(-1), probabilities.max(-1, keepdims=True)
        seen |= set(labels.flat)
        land = 1 - highest * (1 - palette[labels])
        row[0].imshow(land, extent=where, interpolation="nearest")
        y, x = np.indices(labels.shape)
        scale = 2 * extent / len(labels)
        for label in np.unique(labels):
            own, name = labels == label, shortened(names[label])
            centre = np.argmin(np.hypot(x - x[own].mean(), y - y[own].mean()) + 1e9 * ~own)
            down, right = np.unravel_index(centre, labels.shape)
            if own.mean() > 0.005 and own[down].mean() >= 0.03 * (len(name) - 1):  # there is room for the name
                place = (right + 0.5) * scale - extent, extent - (down + 0.5) * scale
                ink = "white" if land[down, right] @ (0.2126, 0.7152, 0.0722) < 0.24 else "black"
                row[0].text(*place, name, ha="center", va="center", color=ink)
        entropy = -(probabilities * np.log(probabilities.clip(1e-12))).sum(-1)
        shade = row[1].imshow(entropy, extent=where, cmap="magma", vmin=0, vmax=np.log(probabilities.shape[-1]))
        figure.colorbar(shade, ax=row[1], label="entropy, nats", shrink=0.85)
        row[0].set_title(f"{title}: what the classifier sees", fontsize=10)
        row[1].set_title(f"{title}: how unsure it is", fontsize=10)
        for axis in row:
            axis.set(xlabel="$z_1$", ylabel="$z_2$")
    if len(names) > 10 or max(map(len, names)) > 2:
        class_legend(figure, sorted(seen), names, noun)
    return figure


def holes(panels: dict[str, np.ndarray], extent: float) -> Figure:
    """log q(z) - log p(z) over the plane [-extent, extent]^2, a panel for each title; rings hold shares of the prior.

    Each value is (steps, steps), rows from the largest z2 down. Blue: the encoder puts less there than the prior.
    """
    figure, axes = canvas(4.2, 4, len(panels), margin=0.6)
    for axis, (title, ratio) in zip(axes[0], panels.items(), strict=True):
        where = (-extent, extent, -extent, extent)
        shade = axis.imshow(np.asarray(ratio) / np.log(10), extent=where, cmap="RdBu_r", vmin=-3, vmax=3)
        for share in (0.5, 0.95):
            radius = np.sqrt(-2 * np.log(1 - share))
            axis.add_patch(plt.Circle((0, 0), radius, fill=False, color="k", lw=0.8, ls="--"))
            axis.text(0, radius, f"{share:.0%}", fontsize=7, ha="center", va="bottom")
        axis.set_title(title, fontsize=10)
        axis.set(xlabel="$z_1$", ylabel="$z_2$")
    figure.colorbar(shade, ax=axes, label="$\\log_{10}\\, q(z) / p(z)$", shrink=0.8)
    return figure


def matrices(panels: dict[str, np.ndarray], names: Sequence[str], x: str, y: str, columns: int = 2) -> Figure:
    """Shares (classes, classes) in per cent on a shade, a panel for each title; the diagonal is not shaded.

    Of more than 16 classes the numbers could not be read: a colour bar stands for them. What is not a number is a dash.
    """
    classes, ticks = len(names), [shortened(name, 16) for name in names]
    readable = classes <= 16
    longest = max(map(len, ticks))
    side = max(9 / columns, 0.11 * classes + 0.06 * longest + 1)  # inches; a row of type needs 0.11
    figure, axes = canvas(side, side - 0.4 / columns, len(panels), columns)
    rotation = 90 if longest * 4.8 > 72 * (side - 1) / classes else 0  # points; a character is 4.8 wide
    fontsize = min(13, 13 / columns * max(1, 10 / classes))
    diagonal = np.eye(classes, dtype=bool)
    limit = max(np.nanmax(np.where(diagonal, 0, share)) for share in panels.values())
    for axis, (title, share) in zip(axes.flat, panels.items(), strict=False):
        share = np.asarray(share)
        off = np.ma.masked_array(share, diagonal | np.isnan(share))
        shade = axis.imshow(off, cmap="Reds", vmin=0, vmax=max(limit, 1e-9))
        for (i, j), value in np.ndenumerate(share) if readable else ():
            if not value < 0.0005:
                text = "–" if np.isnan(value) else f"{100 * value:.{int(value < 0.0995)}f}"
                ink = "white" if i != j and value > 0.6 * limit else "black"
                axis.text(j, i, text, ha="center", va="center", fontsize=fontsize, color=ink)
        axis.set_xticks(range(classes), ticks, fontsize=8 if readable else 7, rotation=rotation)
        axis.set_yticks(range(classes), ticks, fontsize=8 if readable else 7)
        axis.set_xlabel(x, fontsize=8)
        axis.set_ylabel(y, fontsize=8)
        axis.set_title(title, fontsize=10)
    if not readable:
        figure.colorbar(shade, ax=axes, label="share", format=PercentFormatter(1), shrink=0.5)
    return figure
