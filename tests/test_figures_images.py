import itertools

import numpy as np
import pytest
from conftest import size

from vaelib import figures


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 10, 28, 28), np.uint8)


def drawn(figure):
    return figure.axes[0].images[0].get_array()


def ticks(axis, which="y"):
    """The texts of the ticks and where they are, in pixels of the picture."""
    axis = getattr(axis, f"{which}axis")
    return {label.get_text(): place for label, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)}


def test_tiles_lie_where_they_should_with_dark_ink(images):
    picture = figures.tiled(images)
    assert picture.shape == (3 * 30 - 2, 10 * 30 - 2)
    np.testing.assert_allclose(picture[30:58, 60:88], 1 - images[1, 2] / 255)
    assert (picture[28:30] == 1).all()


def test_tiles_without_a_gap_touch(images):
    picture = figures.tiled(images, gap=0)
    assert picture.shape == (3 * 28, 10 * 28)
    np.testing.assert_allclose(picture[28:56, 56:84], 1 - images[1, 2] / 255)


@pytest.mark.parametrize(("side", "gap"), [(8, 1), (28, 2), (32, 2), (64, 5)])
def test_gaps_grow_with_the_pictures(side, gap, rng):
    images = rng.random((2, 3, side, side))
    picture = figures.tiled(images)
    assert picture.shape == (2 * side + gap, 3 * side + 2 * gap)
    np.testing.assert_allclose(picture[side + gap :, 2 * (side + gap) :], 1 - images[1, 2])
    assert (picture[side : side + gap] == 1).all()


def test_probabilities_and_grey_values_draw_alike(images):
    np.testing.assert_allclose(figures.tiled(images), figures.tiled(images / 255))


def test_reconstructions_show_the_epochs_asked_for(images):
    over_epochs = np.random.default_rng(1).integers(0, 256, (5, 10, 28, 28), np.uint8)
    figure = figures.reconstructions(images[0], over_epochs, [1, 5])
    assert list(ticks(figure.axes[0])) == ["original", "epoch 1", "epoch 5"]
    np.testing.assert_allclose(drawn(figure)[32:60, 0:28], 1 - over_epochs[0, 0] / 255)
    np.testing.assert_allclose(drawn(figure)[64:92, 32:60], 1 - over_epochs[4, 1] / 255)


@pytest.mark.parametrize(
    ("epochs", "shown"), [(1, [1]), (3, [1, 2, 3]), (15, [1, 2, 5, 10, 15]), (20, [1, 2, 5, 10, 15, 20])]
)
def test_shown_epochs_end_with_the_last(epochs, shown):
    assert figures.shown_epochs(epochs) == shown


def test_reconstructions_by_cell_have_a_panel_for_each_arch_and_a_row_for_each_d(images):
    figure = figures.reconstructions_by_cell(
        images[0], {"linear": {2: images[1], 50: images[2]}, "conv": {2: images[2]}}
    )
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("linear", "conv")
    assert list(ticks(left)) == ["original", "d = 2", "d = 50"]
    np.testing.assert_allclose(left.images[0].get_array()[64:92, 0:28], 1 - images[2, 0] / 255)
    np.testing.assert_allclose(right.images[0].get_array()[32:60, 0:28], 1 - images[2, 0] / 255)


@pytest.mark.parametrize("count", [3, 10, 47])
def test_a_row_of_reconstructions_has_at_most_ten_pictures(count, rng):
    images = rng.random((count, 12, 12))
    over_epochs = rng.random((2, count, 12, 12))
    columns = min(count, 10)
    for figure in (
        figures.reconstructions(images, over_epochs, [1, 2]),
        figures.reconstructions_by_cell(images, {"conv": {2: over_epochs[0], 3: over_epochs[1]}}),
    ):
        picture = drawn(figure)
        assert picture.shape == (3 * 14 - 2, columns * 14 - 2)
        np.testing.assert_allclose(picture[28:40, -12:], 1 - over_epochs[1, columns - 1])


def test_a_picture_of_the_map_is_centred_on_its_z(images):
    steps, extent = 5, 2.0
    plane = np.random.default_rng(2).random((steps, steps, 28, 28))
    picture = figures.latent_map(plane, extent).axes[0].images[0]
    np.testing.assert_allclose(picture.get_array()[28:56, 84:112], 1 - plane[1, 3])
    left, right, bottom, top = picture.get_extent()
    centres = left + (np.arange(steps) + 0.5) * (right - left) / steps
    np.testing.assert_allclose(centres, np.linspace(-extent, extent, steps))
    assert (bottom, top) == (left, right)


@pytest.mark.parametrize("side", [8, 28, 64])
def test_a_map_is_marked_by_its_places(side):
    images = np.zeros((5, 5, side, side))
    images[0, 1] = 1  # top row, second column
    axis = figures.maps({"conv": images}, np.array([-2.0, -1.0, 0.0, 1.0, 2.0])).axes[0]
    picture = axis.images[0].get_array()
    assert picture[:side, side : 2 * side].max() == 0
    assert picture[side:].min() == picture[:side, :side].min() == 1
    middle = (side - 1) / 2
    assert ticks(axis, "x") == {"-2.0": middle, "0.0": 2 * side + middle, "2.0": 4 * side + middle}
    assert ticks(axis) == {"2.0": middle, "0.0": 2 * side + middle, "-2.0": 4 * side + middle}


def test_the_values_of_a_walk_are_short():
    """Zero among equal steps in float32 can be -1e-7."""
    values = np.linspace(-3, 3, 11, dtype=np.float32).tolist()
    values[5] = -1.19209e-07
    figure = figures.traversals({"conv": (np.zeros((2, 11, 28, 28)), ["a", "b"])}, values)
    shown = ["-3", "-2.4", "-1.8", "-1.2", "-0.6", "0", "0.6", "1.2", "1.8", "2.4", "3"]
    assert list(ticks(figure.axes[0], "x")) == shown


@pytest.mark.parametrize("side", [8, 16, 28, 32, 64])
def test_names_stand_at_the_middle_of_their_rows_and_columns(side, rng):
    figure = figures.traversals({t: (rng.random((3, 5, side, side)), list("abc")) for t in "xy"}, np.arange(5))
    above, below = figure.axes
    pitch = side + max(1, round(side / 14))
    assert list(ticks(above)) == list(ticks(below)) == list("abc")
    np.testing.assert_allclose(list(ticks(above).values()), side / 2 + pitch * np.arange(3))
    assert list(ticks(above, "x")) == []
    assert list(ticks(below, "x")) == list("01234")
    np.testing.assert_allclose(list(ticks(below, "x").values()), side / 2 + pitch * np.arange(5))
    strips = figures.strips({"a": rng.random((4, side, side)), "b": rng.random((4, side, side))})
    np.testing.assert_allclose(list(ticks(strips.axes[0]).values()), side / 2 + pitch * np.arange(2))
    assert drawn(strips).shape == (pitch + side, 3 * pitch + side)


def test_a_grid_of_few_images_is_one_row(images):
    np.testing.assert_allclose(drawn(figures.image_grid(images[0, :3])), figures.tiled(images[:1, :3]))
    np.testing.assert_allclose(
        drawn(figures.image_grid(images[0], columns=4)), figures.tiled(images[0, :8].reshape(2, 4, 28, 28))
    )


def test_images_are_in_whole_rows_and_none_is_lost(images):
    rows = figures.whole_rows(images[0], 4)
    np.testing.assert_array_equal(rows.reshape(12, 28, 28)[:10], images[0])
    assert (rows.shape, rows.dtype) == ((3, 4, 28, 28), np.uint8)
    assert rows[2, 2:].max() == 0
    np.testing.assert_array_equal(figures.whole_rows(images[0], 50), images[:1])


def test_the_columns_of_strips_can_have_names(images):
    rows = {"a": images[0, :3], "b": images[1, :3]}
    axis = figures.strips(rows, below=["image", "1", "2"], x="epoch").axes[0]
    assert list(ticks(axis, "x")) == ["image", "1", "2"]
    np.testing.assert_allclose(list(ticks(axis, "x").values()), 14 + 30 * np.arange(3))
    assert axis.get_xlabel() == "epoch"
    assert list(ticks(figures.strips(rows).axes[0], "x")) == []


@pytest.mark.parametrize("steps", [2, 15, 40, 100])
def test_the_places_of_a_map_do_not_run_into_each_other(steps):
    figure = figures.maps({"": np.zeros((steps, steps, 8, 8))}, np.linspace(-2, 2, steps))
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_zero_has_no_sign():
    axis = figures.maps({"": np.zeros((3, 3, 8, 8))}, np.array([-0.01, 0.0, 0.01])).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.0", "0.0"]


def test_figures_are_opaque_white(images):
    for figure in (
        figures.image_grid(images[0]),
        figures.latent_map(images[:, :3], 2.0),
        figures.reconstructions_by_cell(images[0], {"conv": {2: images[1]}}),
    ):
        assert figure.get_facecolor() == (1, 1, 1, 1)


@pytest.mark.parametrize("side", [8, 28, 64])
@pytest.mark.parametrize("figure", ["maps", "traversals", "strips", "squares"])
def test_figures_draw_and_stay_small_even_of_noise(figure, side, rng):
    noise = lambda *shape: rng.random((*shape, side, side))  # noqa: E731
    drawn = {
        "maps": lambda: figures.maps({"a": noise(15, 15), "b": noise(15, 15)}, np.arange(15.0)),
        "traversals": lambda: figures.traversals({"a": (noise(10, 11), ["z"] * 10)}, np.linspace(-3, 3, 11)),
        "strips": lambda: figures.strips({"a": noise(11), "b": noise(11)}),
        "squares": lambda: figures.squares({"a": noise(10, 10), "b": noise(10, 10)}),
    }[figure]()
    assert 3_000 < size(drawn) < 300_000
    assert drawn.get_facecolor() == (1, 1, 1, 1)
