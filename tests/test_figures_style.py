import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgb

from vaelib import figures
from vaelib.config import ARCHS
from vaelib.figures import style


def oklab(colours):
    """sRGB in [0, 1] as OKLab. Ottosson 2020."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array([[0.4122, 0.2119, 0.0883], [0.5363, 0.6807, 0.2817], [0.0514, 0.1074, 0.6300]])
    return np.cbrt(cones) @ np.array([[0.2105, 1.9780, 0.0259], [0.7936, -2.4286, 0.7828], [-0.0041, 0.4506, -0.8087]])


def nearest_pair(points):
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    return distances[np.triu_indices(len(points), 1)].min()


def test_the_colour_blind_tell_ten_classes_apart():
    """Brettel's simulation is more than a test needs: grey values and hues together keep every pair apart."""
    colours = np.array([to_rgb(colour) for colour in figures.class_colours(10)])
    # Machado et al. 2009, severity 1.0
    deuteranopia = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    protanopia = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
    for seen in (np.eye(3), deuteranopia, protanopia):
        assert nearest_pair(colours @ seen.T) > 0.08


@pytest.mark.parametrize("classes", [2, 3, 10, 11, 26, 47])
def test_no_two_classes_look_more_alike_than_two_of_the_first_ten(classes):
    colours = np.array([to_rgb(colour) for colour in figures.class_colours(classes)])
    ten = np.array([to_rgb(colour) for colour in figures.class_colours(10)])
    assert len(colours) == classes
    assert nearest_pair(oklab(colours)) > 0.999 * nearest_pair(oklab(ten))


def test_a_class_keeps_its_colour_when_others_join():
    assert figures.class_colours(47)[:10] == figures.class_colours(10)
    assert figures.class_colours(50)[47:] == figures.class_colours(3)


def test_archs_have_the_colours_and_markers_of_the_settings():
    for name, arch in ARCHS.items():
        assert (figures.arch_colour(name), figures.arch_marker(name)) == (arch.colour, arch.marker)
    grey = to_rgb(figures.arch_colour("PCA"))
    assert grey[0] == grey[1] == grey[2]
    assert figures.arch_marker("PCA") not in {arch.marker for arch in ARCHS.values()}


def test_an_added_arch_is_in_every_figure_of_archs(monkeypatch):
    monkeypatch.setitem(ARCHS, "new", dataclasses.replace(ARCHS["conv"], colour="#123456", marker="v"))
    archs = ["PCA", "new", "linear"]
    table = pd.DataFrame(
        [
            dict(arch=arch, latent_dim=d, seed=0, model=d, kl_nats=5.0 + d, recon_nats=90.0 - d, l1_nats=-99.0)
            | dict(change="a", cost_nats=1.0, low=0.0, high=2.0, epoch=e, split="test", recon=90.0, kl=5.0)
            for arch in archs
            for d in (2, 10)
            for e in (1, 2)
        ]
    )
    drawn = {
        "curves": figures.grid_curves(table),
        "loss": figures.loss_curves(table, "new"),
        "by_dimension": figures.by_dimension(table, {"kl_nats": "KL"}),
        "ablation": figures.ablation(table[table.epoch == 1]),
        "bounds": figures.bounds(table, [1]),
        "rate": figures.rate_distortion(table, 45.0, 205.0),
        "dimensions": figures.dimensions({"": {arch: [np.ones(3)] for arch in archs}}, "KL"),
        "pareto": figures.pareto(table, {"kl_nats": "KL"}, "recon_nats", "recon"),
        "pictures": figures.reconstructions_by_cell(
            np.zeros((3, 8, 8)), {arch: {2: np.zeros((3, 8, 8))} for arch in archs}
        ),
    }
    for name in ("curves", "bounds", "pictures"):
        assert {axis.get_title() for axis in drawn[name].axes} == set(archs)
    assert [axis.get_title() for axis in drawn["curves"].axes] == ["linear", "new", "PCA"]
    for name in ("loss", "by_dimension", "ablation", "dimensions", "pareto"):
        assert "#123456" in {to_hex(line.get_color()) for axis in drawn[name].axes for line in axis.lines}
    edges = {(line.get_marker(), to_hex(line.get_markeredgecolor())) for line in drawn["rate"].axes[0].lines}
    assert {("v", "#123456"), ("D", to_hex("0.45"))} <= edges


@pytest.mark.parametrize(
    ("name", "short"), [("7", "7"), ("trousers", "trousers"), ("ankle boot", "ankle b…"), ("a$b$", r"a\$b\$")]
)
def test_long_names_end_in_an_ellipsis_and_dollars_stay_dollars(name, short):
    assert style.shortened(name) == short


def test_axes_beyond_the_panels_are_hidden():
    figure, axes = style.canvas(2, 3, 5, columns=3, margin=0.5)
    assert axes.shape == (2, 3)
    assert [axis.get_visible() for axis in axes.flat] == [True] * 5 + [False]
    assert figure.get_size_inches().tolist() == [6.5, 6]
    assert style.canvas(1, 1, 2, columns=4)[1].shape == (1, 2)


@pytest.mark.parametrize(
    ("names", "below"),
    [("0123456789", False), (["cat", "ship"], False), ([f"a long name of class {k}" for k in range(47)], True)],
    ids=["digits", "words", "many"],
)
def test_a_legend_has_every_full_name_and_stays_inside_the_figure(names, below):
    figure, axes = style.canvas(3.9, 3.9, 2, margin=0.6)
    style.class_legend(figure, np.arange(len(names)), names, "object")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(names)
    assert legend.get_title().get_text() == "object"
    box, room = legend.get_window_extent(), figure.bbox
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= room.width
    assert box.y1 <= room.height
    panel = axes[0, 0].get_window_extent()
    assert (box.y1 <= panel.y0) == below
    assert min(panel.width, panel.height) > 300


def test_a_legend_names_only_the_classes_that_are_shown():
    figure = plt.figure(figsize=(5, 3))
    style.class_legend(figure, np.array([2, 0, 2]), ["a", "b", "c"], "class")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "c"]
    assert to_hex(figure.legends[0].legend_handles[1].get_color()) == figures.class_colours(3)[2]


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_saved_figure_is_the_same_bytes_each_time_and_closed(kind, start):
    contents = []
    for _ in range(2):
        figure, axes = style.canvas(2, 2)
        axes[0, 0].scatter([1, 2], [3, 4])
        contents.append(style.saved(figure, kind))
    assert contents[0] == contents[1]
    assert contents[0].startswith(start)
    assert not plt.get_fignums()


def test_a_page_is_a_whole_file_with_its_title():
    html = figures.page("T-shirts & <b>", "<p>body</p>")
    assert html.startswith("<!DOCTYPE html>")
    assert "<title>T-shirts &amp; &lt;b&gt;</title>" in html
    assert "<body><p>body</p></body></html>" in html
