"""Figures of the latent space, each a function from arrays to a figure; Plotly's where a reader turns it.

Codes are (N, 2) or (N, 3), labels (N,). plots.py holds what all figures share.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from vaelib.plots import DPI

# Petroff 2021, "Accessible color sequences for data visualization": ten colours that the colour-blind tell apart
DIGIT_COLOURS = [
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
]  # fmt: skip


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
