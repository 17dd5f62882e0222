import itertools

import numpy as np
import pytest
import torch
from conftest import size
from matplotlib.colors import to_rgb

from vaelib import figures

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
MANY = tuple(f"kind {k} of many" for k in range(47))


def test_embeddings_show_every_code_in_its_classs_colour(rng):
    z, labels = rng.standard_normal((300, 2)), rng.integers(0, 10, 300)
    figure = figures.embeddings({"one": z, "two": 2 * z, "three": z}, labels, DIGITS)
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == ["one", "two", "three"]
    dots = shown[1].collections[0]
    order = np.lexsort(dots.get_offsets().T)
    expected = np.lexsort((2 * z).T)
    np.testing.assert_allclose(dots.get_offsets()[order], (2 * z)[expected])
    colours = np.array([to_rgb(figures.class_colours(10)[label]) for label in labels])
    np.testing.assert_allclose(dots.get_facecolors()[order, :3], colours[expected])
    assert {text.get_text() for text in shown[0].texts} == set("0123456789")
    assert len(figure.legends[0].get_texts()) == 10


@pytest.mark.parametrize("noun", ["digit", "garment"])
def test_only_the_noun_says_what_a_class_is(noun, rng):
    z, labels = rng.standard_normal((50, 3)), rng.integers(0, 10, 50)
    for figure in (
        figures.embeddings({"": z[:, :2]}, labels, CLOTHES, noun),
        figures.scatter_3d_static({"": z}, labels, CLOTHES, noun),
        figures.territories({"": np.full((9, 9, 10), 0.1)}, 2.0, CLOTHES, noun),
    ):
        assert figure.legends[0].get_title().get_text() == noun
    assert figures.scatter_3d(z, labels, "", CLOTHES, noun).layout.legend.title.text == noun
    assert figures.embeddings({"": z[:, :2]}, labels, CLOTHES).legends[0].get_title().get_text() == "class"


def test_the_mean_of_a_class_carries_its_name(rng):
    z, labels = rng.standard_normal((50, 2)), np.repeat([3, 8], 25)
    texts = figures.embeddings({"": z}, labels, DIGITS).axes[0].texts
    assert [text.get_text() for text in texts] == ["3", "8"]
    for text in texts:
        np.testing.assert_allclose(text.get_position(), z[labels == int(text.get_text())].mean(0))


def test_long_names_are_short_in_the_scatter_and_whole_in_the_legend(rng):
    figure = figures.embeddings({"": rng.standard_normal((50, 2))}, np.repeat(np.arange(10), 5), CLOTHES)
    assert [text.get_text() for text in figure.axes[0].texts][-2:] == ["Bag", "Ankle b…"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(CLOTHES)


def test_names_that_would_hide_the_codes_are_left_out(rng):
    labels = np.repeat(np.arange(47), 3)
    z = {"": rng.standard_normal((len(labels), 2))}
    assert len(figures.embeddings(z, labels, [chr(65 + k) for k in range(47)]).axes[0].texts) == 47
    figure = figures.embeddings(z, labels, MANY)
    assert not figure.axes[0].texts
    assert len(figure.legends[0].get_texts()) == 47


@pytest.mark.parametrize("names", [DIGITS, MANY], ids=["legend right", "legend below"])
def test_equal_scales_fit_the_codes(names, rng):
    """Limits that were made equal in panels of another shape would leave the codes a small part of their panel."""
    z, labels = rng.uniform(-1, 1, (500, 2)), rng.integers(0, len(names), 500)
    figure = figures.embeddings({"a": z, "b": z}, labels, names)
    figure.draw_without_rendering()
    for axis in figure.axes:
        wide, high = np.ptp(axis.get_xlim()), np.ptp(axis.get_ylim())
        box = axis.get_window_extent()
        assert wide / box.width == pytest.approx(high / box.height, rel=0.01)
        assert max(wide, high) < 2.8


def test_a_cloud_that_turns_has_a_trace_for_each_class(rng):
    z, labels = rng.standard_normal((200, 3)), rng.integers(0, 10, 200)
    figure = figures.scatter_3d(z, labels, "conv, d = 3", DIGITS, "digit")
    assert [trace.name for trace in figure.data] == list("0123456789")
    assert sum(len(trace.x) for trace in figure.data) == 200
    np.testing.assert_allclose(figure.data[4].z, z[labels == 4, 2].round(2))
    bundle = figures.interactive(figure, "A cloud")
    assert 'src="../_static/plotly.min.js"' in bundle["text/html"]
    assert "cdn" not in bundle["text/html"]
    assert len(bundle["application/vnd.plotly.v1+json"]["data"]) == 10
    static = figures.scatter_3d_static({"linear": z, "conv": z}, labels, DIGITS, "digit")
    assert len(static.axes) == 4


def test_no_name_breaks_the_html_around_it(rng):
    figure = figures.scatter_3d(rng.standard_normal((4, 3)), np.array([0, 0, 1, 1]), "", ["<b>", "a"], "class")
    assert figure.data[0].name == "&lt;b&gt;"
    assert 'aria-label="Cloud of &quot;a&quot;"' in figures.interactive(figure, 'Cloud of "a"')["text/html"]


def test_territories_are_named_where_they_lie():
    probabilities = np.zeros((20, 20, 10))
    probabilities[:, :10, 3] = 1
    probabilities[:, 10:, 7] = 0.5
    probabilities[:, 10:, 8] = 0.5
    figure = figures.territories({"conv": probabilities}, 2.0, DIGITS)
    places = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert set(places) == {"3", "7"}
    assert places["3"][0] < 0 < places["7"][0]
    entropy = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose([entropy[0, 0], entropy[0, 19]], [0, np.log(2)], atol=1e-9)
    assert not figure.legends


def test_a_territory_without_room_for_its_name_is_in_the_legend():
    probabilities = np.zeros((50, 50, 3))
    probabilities[:, :3, 0] = 1
    probabilities[:, 3:, 2] = 1
    figure = figures.territories({"conv": probabilities}, 2.0, ["pullover", "coat", "bag"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["bag"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["pullover", "bag"]


def test_a_name_on_a_dark_territory_is_white():
    probabilities = np.zeros((20, 20, 47))
    probabilities[:, :10, 11] = 1  # nearly black
    probabilities[:, 10:, 12] = 1  # light green
    texts = figures.territories({"": probabilities}, 2.0, [chr(65 + k) for k in range(47)]).axes[0].texts
    assert [text.get_color() for text in texts] == ["white", "black"]


def test_holes_are_in_powers_of_ten_with_rings_of_the_priors_mass():
    figure = figures.holes({"conv": np.full((9, 9), -np.log(100))}, extent=3.0)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), -2)
    radii = [patch.radius for patch in figure.axes[0].patches]
    draws = np.linalg.norm(np.random.default_rng(0).standard_normal((100_000, 2)), axis=1)
    np.testing.assert_allclose([(draws < radius).mean() for radius in radii], [0.5, 0.95], atol=0.005)


def test_matrices_print_per_cent_and_leave_the_diagonal_unshaded():
    share = np.array([[0.9, 0.1], [0.004, 0.996]])
    figure = figures.matrices({"conv": share}, ["cat", "dog"], x="seen", y="asked for")
    assert [text.get_text() for text in figure.axes[0].texts] == ["90", "10", "0.4", "100"]
    assert figure.axes[0].images[0].get_array().mask.tolist() == [[True, False], [False, True]]
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == ["cat", "dog"]


def test_a_share_that_is_not_known_is_a_dash():
    share = np.array([[1.0, np.nan], [0.2, 0.8]])
    axis = figures.matrices({"": share}, ["a", "b"], "x", "y").axes[0]
    assert [text.get_text() for text in axis.texts] == ["100", "–", "20", "80"]
    assert axis.images[0].get_clim() == (0, 0.2)


@pytest.mark.parametrize(("names", "turned"), [(DIGITS, 0), (CLOTHES, 90), (("cat", "handwritten letter"), 0)])
def test_names_below_a_matrix_are_turned_where_they_would_meet(names, turned):
    figure = figures.matrices({"": np.eye(len(names)), "b": np.eye(len(names))}, names, "x", "y")
    assert {label.get_rotation() for label in figure.axes[0].get_xticklabels()} == {turned}
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_matrix_of_many_classes_has_a_colour_bar_for_numbers():
    figure = figures.matrices({"a": np.full((47, 47), 0.02), "b": np.full((47, 47), 0.01)}, MANY, "x", "y")
    assert not any(axis.texts for axis in figure.axes[:2])
    bar = figure.axes[2]
    figure.draw_without_rendering()
    assert bar.get_ylabel() == "share"
    assert all(label.get_text().endswith("%") for label in bar.get_yticklabels())
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(above.y0 > below.y0 + 0.8 * below.height for above, below in itertools.pairwise(boxes))


def test_a_scatter_stays_small_even_of_noise(rng):
    figure = figures.embeddings({"a": rng.standard_normal((2000, 2))}, rng.integers(0, 10, 2000), DIGITS)
    assert 3_000 < size(figure) < 300_000
    assert figure.get_facecolor() == (1, 1, 1, 1)


def test_tensors_draw_like_arrays(rng):
    z, labels, share = rng.standard_normal((30, 3)), np.arange(30) % 3, rng.random((9, 9, 3))
    for draw, *arrays in (
        (lambda z, labels: figures.embeddings({"": z[:, :2]}, labels, "abc"), z, labels),
        (lambda z, labels: figures.scatter_3d_static({"": z}, labels, "abc", "class"), z, labels),
        (lambda share: figures.territories({"": share}, 2.0, "abc"), share),
        (lambda share: figures.holes({"": share[..., 0]}, 2.0), share),
        (lambda share: figures.matrices({"": share[0, :3]}, "abc", "x", "y"), share),
    ):
        assert size(draw(*arrays)) == size(draw(*map(torch.from_numpy, arrays)))


@pytest.mark.parametrize(("side", "count"), [(3.9, 1), (3.9, 2), (2.9, 2), (2.1, 4)])
def test_the_numbers_of_a_small_plane_do_not_run_into_each_other(side, count, rng):
    z = rng.uniform((-0.37, 0.56), (-0.25, 0.77), (100, 2))
    panels = {str(k): z for k in range(count)}
    figure = figures.embeddings(panels, np.arange(100) % 10, DIGITS, columns=count, side=side)
    figure.draw_without_rendering()
    for axis in figure.axes:
        low, high = axis.get_xlim()
        labels = [label for label in axis.get_xticklabels() if low <= label.get_position()[0] <= high]
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) > 1
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_no_axis_name_of_a_cloud_is_hidden_by_the_next_panel(rng):
    figure = figures.scatter_3d_static({"": rng.standard_normal((30, 3))}, np.arange(30) % 3, "abc", "class")
    figure.draw_without_rendering()
    left, right = (axis.zaxis.label.get_window_extent() for axis in figure.axes)
    assert left.x1 < figure.axes[1].get_window_extent().x0
    assert not left.overlaps(right)


def test_a_cloud_that_stands_alone_brings_its_script(rng):
    drawn = figures.scatter_3d(rng.standard_normal((30, 3)), np.arange(30) % 3, "conv, d = 3", "abc", "class")
    html = figures.standalone(drawn, "A cloud")
    assert html == figures.standalone(drawn, "A cloud")
    assert html.startswith("<!DOCTYPE html>")
    assert 'aria-label="A cloud"' in html
    assert len(html) > 1_000_000  # Plotly's script is in it,
    assert "<script src" not in html  # and not only named.


def test_few_dots_are_larger_than_many():
    sizes = []
    for count in (12, 2000):
        figure = figures.embeddings({"a": np.zeros((count, 2))}, np.zeros(count, int), ["word"])
        sizes.append(figure.axes[0].collections[0].get_sizes()[0])
    assert sizes == [30, 3]
