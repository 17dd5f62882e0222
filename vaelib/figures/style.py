"""What all figures share: size and ground, the colours of classes and of architectures, and names that fit.

Labels are (N,) in 0..classes-1; names has a word or more for each class. Figures are opaque white, so that they read
on a dark page too.
"""

import io
from collections.abc import Sequence
from html import escape

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from vaelib.config import ARCHS

DPI = 100
FILE_DPI = 200  # of a file that a command writes, which is looked at by itself and enlarged
# The first ten are those of Petroff 2021, "Accessible color sequences for data visualization", which the colour-blind
# tell apart. Each one after is the colour that is farthest, in OKLab, from all before it.
CLASS_COLOURS = [
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
    "#ff5aff", "#1e3c0f", "#00f000", "#0000a5", "#009600", "#69003c", "#004bff", "#f00087", "#ffa5d2", "#2d4b78",
    "#b469c3", "#c300ff", "#695a00", "#0fc378", "#a50069", "#a5a5ff", "#b4e169", "#4b0087", "#875aff", "#ff6987",
    "#4b00d2", "#00c3ff", "#968700", "#00785a", "#692d00", "#2d69b4", "#c31eb4", "#784b5a", "#00f0b4", "#f0c3a5",
    "#3c2d3c", "#009696", "#ff002d", "#96b400", "#780078", "#7800ff", "#005a00",
]  # fmt: skip


def canvas(width: float, height: float, panels: int = 1, columns: int | None = None, margin: float = 0, **options):
    """A white figure and its axes (rows, columns): so many panels of so many inches, all in a row or in columns.

    margin is the inches that stay free on the right, for a legend.
    """
    columns = min(columns or panels, panels)
    rows = -(-panels // columns)
    look = dict(dpi=DPI, facecolor="white", layout="constrained", squeeze=False)
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns + margin, height * rows), **look, **options)
    for axis in axes.flat[panels:]:
        axis.set_visible(False)
    return figure, axes


def saved(figure: Figure, kind: str) -> bytes:
    """The figure as the content of a file, kind png, svg or pdf; the same bytes each time. It is closed."""
    buffer = io.BytesIO()
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with plt.rc_context({"svg.hashsalt": "vaelib"}):  # names inside an SVG file are otherwise drawn at random
        figure.savefig(buffer, format=kind, dpi=FILE_DPI, bbox_inches="tight", metadata=undated)
    plt.close(figure)
    return buffer.getvalue()


def page(title: str, body: str) -> str:
    """A whole HTML file around a player, or anything else that needs nothing from elsewhere."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def arch_colour(arch: str) -> str:
    """The colour of an architecture; grey for what is none, such as a table's row named PCA."""
    return ARCHS[arch].colour if arch in ARCHS else "0.45"


def arch_marker(arch: str) -> str:
    """matplotlib's sign for an architecture's marker; a diamond for what is none."""
    return ARCHS[arch].marker if arch in ARCHS else "D"


def class_colours(classes: int) -> list[str]:
    """A colour for each class, as hex; they repeat after 47."""
    return [CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in range(classes)]


def shortened(name: str, most: int = 8) -> str:
    """The name in at most so many characters, an ellipsis for those cut off, as matplotlib has to be given it."""
    name = name if len(name) <= most else f"{name[: most - 1].rstrip()}…"
    return name.replace("$", r"\$")  # dollars would enclose a formula


def class_legend(figure: Figure, labels: np.ndarray, names: Sequence[str], noun: str):
    """The full names of the classes among labels: right of the panels, or in columns below where many or long.

    The figure grows by what the legend takes, beyond the 0.6 inches that it has for it on the right.
    """
    dots = [
        plt.Line2D([], [], marker="o", ls="", color=colour, label=shortened(name, 60))
        for label, (colour, name) in enumerate(zip(class_colours(len(names)), names, strict=True))
        if label in labels
    ]
    look = dict(handles=dots, frameon=False, title=noun, fontsize=10 if len(dots) <= 20 else 8)
    legend = figure.legend(loc="outside right center", **look)
    size, needed = figure.get_size_inches(), legend.get_window_extent().size / figure.dpi
    if needed[0] <= 1.5 and needed[1] <= size[1]:
        figure.set_figwidth(size[0] + max(0, needed[0] - 0.6))
    else:
        legend.remove()
        legend = figure.legend(loc="outside lower center", ncols=max(1, int(size[0] / (needed[0] + 0.2))), **look)
        figure.set_figheight(size[1] + legend.get_window_extent().height / figure.dpi)
        figure.draw_without_rendering()  # panels find their places before equal scales widen the limits to fill them
