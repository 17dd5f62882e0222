import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from vaelib import latent_plots


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def size(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return len(buffer.getvalue())


def test_embeddings_show_every_code_in_its_classs_colour(rng):
    z, labels = rng.standard_normal((300, 2)), rng.integers(0, 10, 300)
    figure = latent_plots.embeddings({"one": z, "two": 2 * z, "three": z}, labels)
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == ["one", "two", "three"]
    dots = shown[1].collections[0]
    order = np.lexsort(dots.get_offsets().T)
    expected = np.lexsort((2 * z).T)
    np.testing.assert_allclose(dots.get_offsets()[order], (2 * z)[expected])
    colours = np.array([to_rgb(latent_plots.DIGIT_COLOURS[label]) for label in labels])
    np.testing.assert_allclose(dots.get_facecolors()[order, :3], colours[expected])
    assert {text.get_text() for text in shown[0].texts} == set("0123456789")
    assert len(figure.legends[0].get_texts()) == 10


def test_the_mean_of_a_class_carries_its_number(rng):
    z, labels = rng.standard_normal((50, 2)), np.repeat([3, 8], 25)
    texts = latent_plots.embeddings({"": z}, labels).axes[0].texts
    for text in texts:
        np.testing.assert_allclose(text.get_position(), z[labels == int(text.get_text())].mean(0))


def test_the_colour_blind_tell_the_digits_apart():
    """Brettel's simulation is more than a test needs: grey values and hues together keep every pair apart."""
    colours = np.array([to_rgb(colour) for colour in latent_plots.DIGIT_COLOURS])
    # Machado et al. 2009, severity 1.0
    deuteranopia = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    protanopia = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
    for seen in (np.eye(3), deuteranopia, protanopia):
        shown = colours @ seen.T
        distances = np.linalg.norm(shown[:, None] - shown[None], axis=2)
        assert distances[np.triu_indices(10, 1)].min() > 0.08


def test_a_cloud_that_turns_has_a_trace_for_each_class(rng):
    z, labels = rng.standard_normal((200, 3)), rng.integers(0, 10, 200)
    figure = latent_plots.scatter_3d(z, labels, "conv, d = 3")
    assert [trace.name for trace in figure.data] == list("0123456789")
    assert sum(len(trace.x) for trace in figure.data) == 200
    np.testing.assert_allclose(figure.data[4].z, z[labels == 4, 2].round(2))
    bundle = latent_plots.interactive(figure, "A cloud")
    assert 'src="../_static/plotly.min.js"' in bundle["text/html"]
    assert "cdn" not in bundle["text/html"]
    assert len(bundle["application/vnd.plotly.v1+json"]["data"]) == 10
    static = latent_plots.scatter_3d_static({"linear": z, "conv": z}, labels)
    assert len(static.axes) == 4


def test_a_map_is_marked_by_its_places():
    images = np.zeros((5, 5, 28, 28))
    images[0, 1] = 1  # top row, second column
    figure = latent_plots.maps({"conv": images}, np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))
    picture = figure.axes[0].images[0].get_array()
    assert picture[:28, 28:56].max() == 0
    assert picture[28:].min() == picture[:28, :28].min() == 1
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["-2.0", "0.0", "2.0"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["2.0", "0.0", "-2.0"]


def test_the_values_of_a_walk_are_short():
    """Zero among equal steps in float32 can be -1e-7."""
    values = np.linspace(-3, 3, 11, dtype=np.float32).tolist()
    values[5] = -1.19209e-07
    figure = latent_plots.traversals({"conv": (np.zeros((2, 11, 28, 28)), ["a", "b"])}, values)
    shown = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert shown == ["-3", "-2.4", "-1.8", "-1.2", "-0.6", "0", "0.6", "1.2", "1.8", "2.4", "3"]


def test_territories_are_numbered_where_they_lie():
    probabilities = np.zeros((20, 20, 10))
    probabilities[:, :10, 3] = 1
    probabilities[:, 10:, 7] = 0.5
    probabilities[:, 10:, 8] = 0.5
    figure = latent_plots.territories({"conv": probabilities}, extent=2.0)
    places = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert set(places) == {"3", "7"}
    assert places["3"][0] < 0 < places["7"][0]
    entropy = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose([entropy[0, 0], entropy[0, 19]], [0, np.log(2)], atol=1e-9)


def test_holes_are_in_powers_of_ten_with_rings_of_the_priors_mass():
    figure = latent_plots.holes({"conv": np.full((9, 9), -np.log(100))}, extent=3.0)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), -2)
    radii = [patch.radius for patch in figure.axes[0].patches]
    draws = np.linalg.norm(np.random.default_rng(0).standard_normal((100_000, 2)), axis=1)
    np.testing.assert_allclose([(draws < radius).mean() for radius in radii], [0.5, 0.95], atol=0.005)


def test_matrices_print_per_cent_and_leave_the_diagonal_unshaded():
    share = np.array([[0.9, 0.1], [0.004, 0.996]])
    figure = latent_plots.matrices({"conv": share}, x="seen", y="asked for")
    assert [text.get_text() for text in figure.axes[0].texts] == ["90", "10", "0.4", "100"]
    assert figure.axes[0].images[0].get_array().mask.tolist() == [[True, False], [False, True]]


def test_runs_are_dots_and_means_a_line():
    table = pd.DataFrame(
        {"arch": ["conv"] * 4 + ["PCA"], "latent_dim": [2, 2, 10, 10, 2], "knn": [0.5, 0.7, 0.8, 1.0, 0.4]}
    )
    axis = latent_plots.by_dimension(table, {"knn": "k-NN"}, {"knn": 0.95}).axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [0.6, 0.9])
    np.testing.assert_allclose(axis.lines[1].get_ydata(), [0.5, 0.7, 0.8, 1.0])
    np.testing.assert_allclose(axis.lines[-1].get_ydata(), 0.95)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: latent_plots.maps(
            {"a": rng.random((15, 15, 28, 28)), "b": rng.random((15, 15, 28, 28))}, np.arange(15.0)
        ),
        lambda rng: latent_plots.traversals({"a": (rng.random((10, 11, 28, 28)), ["z"] * 10)}, np.linspace(-3, 3, 11)),
        lambda rng: latent_plots.strips({"a": rng.random((11, 28, 28)), "b": rng.random((11, 28, 28))}),
        lambda rng: latent_plots.squares({"a": rng.random((10, 10, 28, 28)), "b": rng.random((10, 10, 28, 28))}),
        lambda rng: latent_plots.embeddings({"a": rng.standard_normal((2000, 2))}, rng.integers(0, 10, 2000)),
    ],
    ids=["maps", "traversals", "strips", "squares", "embeddings"],
)
def test_figures_draw_and_stay_small_even_of_noise(draw, rng):
    figure = draw(rng)
    assert 3_000 < size(figure) < 300_000
    assert figure.get_facecolor() == (1, 1, 1, 1)
