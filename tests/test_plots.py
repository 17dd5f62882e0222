import numpy as np
import pytest

from vaelib import plots


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 10, 28, 28), np.uint8)


def drawn(figure):
    return figure.axes[0].images[0].get_array()


def test_tiles_lie_where_they_should_with_dark_ink(images):
    picture = plots.tiled(images, gap=2)
    assert picture.shape == (3 * 30 - 2, 10 * 30 - 2)
    np.testing.assert_allclose(picture[30:58, 60:88], 1 - images[1, 2] / 255)
    assert (picture[28:30] == 1).all()


def test_tiles_without_a_gap_touch(images):
    picture = plots.tiled(images, gap=0)
    assert picture.shape == (3 * 28, 10 * 28)
    np.testing.assert_allclose(picture[28:56, 56:84], 1 - images[1, 2] / 255)


def test_probabilities_and_grey_values_draw_alike(images):
    np.testing.assert_allclose(plots.tiled(images), plots.tiled(images / 255))


def test_reconstructions_show_the_epochs_asked_for(images):
    over_epochs = np.random.default_rng(1).integers(0, 256, (5, 10, 28, 28), np.uint8)
    figure = plots.reconstructions(images[0], over_epochs, [1, 5])
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["original", "epoch 1", "epoch 5"]
    np.testing.assert_allclose(drawn(figure)[32:60, 0:28], 1 - over_epochs[0, 0] / 255)
    np.testing.assert_allclose(drawn(figure)[64:92, 32:60], 1 - over_epochs[4, 1] / 255)


@pytest.mark.parametrize(
    ("epochs", "shown"), [(1, [1]), (3, [1, 2, 3]), (15, [1, 2, 5, 10, 15]), (20, [1, 2, 5, 10, 15, 20])]
)
def test_shown_epochs_end_with_the_last(epochs, shown):
    assert plots.shown_epochs(epochs) == shown


def test_reconstructions_by_cell_have_a_panel_for_each_arch_and_a_row_for_each_d(images):
    figure = plots.reconstructions_by_cell(images[0], {"linear": {2: images[1], 50: images[2]}, "conv": {2: images[2]}})
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("linear", "conv")
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["original", "d = 2", "d = 50"]
    np.testing.assert_allclose(left.images[0].get_array()[64:92, 0:28], 1 - images[2, 0] / 255)
    np.testing.assert_allclose(right.images[0].get_array()[32:60, 0:28], 1 - images[2, 0] / 255)


def test_a_picture_of_the_map_is_centred_on_its_z(images):
    steps, extent = 5, 2.0
    plane = np.random.default_rng(2).random((steps, steps, 28, 28))
    picture = plots.latent_map(plane, extent).axes[0].images[0]
    np.testing.assert_allclose(picture.get_array()[28:56, 84:112], 1 - plane[1, 3])
    left, right, bottom, top = picture.get_extent()
    centres = left + (np.arange(steps) + 0.5) * (right - left) / steps
    np.testing.assert_allclose(centres, np.linspace(-extent, extent, steps))
    assert (bottom, top) == (left, right)


def test_figures_are_opaque_white(images):
    for figure in (
        plots.image_grid(images[0]),
        plots.latent_map(images[:, :3], 2.0),
        plots.reconstructions_by_cell(images[0], {"conv": {2: images[1]}}),
    ):
        assert figure.get_facecolor() == (1, 1, 1, 1)
