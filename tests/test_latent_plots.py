import numpy as np
from conftest import size
from matplotlib.colors import to_rgb

from vaelib import latent_plots


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


def test_matrices_print_per_cent_and_leave_the_diagonal_unshaded():
    share = np.array([[0.9, 0.1], [0.004, 0.996]])
    figure = latent_plots.matrices({"conv": share}, x="seen", y="asked for")
    assert [text.get_text() for text in figure.axes[0].texts] == ["90", "10", "0.4", "100"]
    assert figure.axes[0].images[0].get_array().mask.tolist() == [[True, False], [False, True]]


def test_a_scatter_stays_small_even_of_noise(rng):
    figure = latent_plots.embeddings({"a": rng.standard_normal((2000, 2))}, rng.integers(0, 10, 2000))
    assert 3_000 < size(figure) < 300_000
    assert figure.get_facecolor() == (1, 1, 1, 1)
