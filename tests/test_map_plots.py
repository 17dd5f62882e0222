import numpy as np
import pytest
from conftest import size

from vaelib import map_plots


def test_a_map_is_marked_by_its_places():
    images = np.zeros((5, 5, 28, 28))
    images[0, 1] = 1  # top row, second column
    figure = map_plots.maps({"conv": images}, np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))
    picture = figure.axes[0].images[0].get_array()
    assert picture[:28, 28:56].max() == 0
    assert picture[28:].min() == picture[:28, :28].min() == 1
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["-2.0", "0.0", "2.0"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["2.0", "0.0", "-2.0"]


def test_the_values_of_a_walk_are_short():
    """Zero among equal steps in float32 can be -1e-7."""
    values = np.linspace(-3, 3, 11, dtype=np.float32).tolist()
    values[5] = -1.19209e-07
    figure = map_plots.traversals({"conv": (np.zeros((2, 11, 28, 28)), ["a", "b"])}, values)
    shown = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert shown == ["-3", "-2.4", "-1.8", "-1.2", "-0.6", "0", "0.6", "1.2", "1.8", "2.4", "3"]


def test_territories_are_numbered_where_they_lie():
    probabilities = np.zeros((20, 20, 10))
    probabilities[:, :10, 3] = 1
    probabilities[:, 10:, 7] = 0.5
    probabilities[:, 10:, 8] = 0.5
    figure = map_plots.territories({"conv": probabilities}, extent=2.0)
    places = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert set(places) == {"3", "7"}
    assert places["3"][0] < 0 < places["7"][0]
    entropy = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose([entropy[0, 0], entropy[0, 19]], [0, np.log(2)], atol=1e-9)


def test_holes_are_in_powers_of_ten_with_rings_of_the_priors_mass():
    figure = map_plots.holes({"conv": np.full((9, 9), -np.log(100))}, extent=3.0)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), -2)
    radii = [patch.radius for patch in figure.axes[0].patches]
    draws = np.linalg.norm(np.random.default_rng(0).standard_normal((100_000, 2)), axis=1)
    np.testing.assert_allclose([(draws < radius).mean() for radius in radii], [0.5, 0.95], atol=0.005)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: map_plots.maps(
            {"a": rng.random((15, 15, 28, 28)), "b": rng.random((15, 15, 28, 28))}, np.arange(15.0)
        ),
        lambda rng: map_plots.traversals({"a": (rng.random((10, 11, 28, 28)), ["z"] * 10)}, np.linspace(-3, 3, 11)),
        lambda rng: map_plots.strips({"a": rng.random((11, 28, 28)), "b": rng.random((11, 28, 28))}),
        lambda rng: map_plots.squares({"a": rng.random((10, 10, 28, 28)), "b": rng.random((10, 10, 28, 28))}),
    ],
    ids=["maps", "traversals", "strips", "squares"],
)
def test_figures_draw_and_stay_small_even_of_noise(draw, rng):
    figure = draw(rng)
    assert 3_000 < size(figure) < 300_000
    assert figure.get_facecolor() == (1, 1, 1, 1)
