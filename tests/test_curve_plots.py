import numpy as np
import pandas as pd

from vaelib import curve_plots


def history(epochs=3, **extra):
    rows = [
        dict(epoch=e, split=s, recon=100 - e + (s == "test"), kl=5 + e, loss=105, seconds=1, **extra)
        for e in range(1, epochs + 1)
        for s in ("train", "test")
    ]
    return pd.DataFrame(rows)


def test_loss_curves_draw_both_splits_of_each_term():
    figure = curve_plots.loss_curves(history())
    assert figure.get_facecolor() == (1, 1, 1, 1)
    for axis, expected in zip(figure.axes, ([99, 98, 97], [6, 7, 8], [105, 105, 105]), strict=True):
        train, test = axis.lines
        assert train.get_ydata().tolist() == expected
        assert train.get_linestyle() == "--"
        assert test.get_linestyle() == "-"
    assert figure.axes[0].lines[1].get_ydata().tolist() == [100, 99, 98]


def test_one_epoch_is_still_a_visible_curve():
    assert curve_plots.loss_curves(history(epochs=1)).axes[0].lines[0].get_marker() == "o"


def test_grid_curves_draw_the_mean_and_the_span_over_seeds():
    both = pd.concat([history(arch="conv", latent_dim=2, seed=0), history(arch="conv", latent_dim=2, seed=1)])
    both.loc[both.seed == 1, "recon"] += 2
    axis = curve_plots.grid_curves(both).axes[0]
    assert axis.lines[0].get_ydata().tolist() == [107, 107, 107]
    band = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (106, 108)


def test_grid_terms_draw_a_dot_for_each_run():
    table = pd.DataFrame(
        dict(
            arch=["linear"] * 3, latent_dim=[2, 2, 50], recon_nats=[1.0, 3.0, 5.0], kl_nats=1.0, negative_elbo_nats=2.0
        )
    )
    means, dots = curve_plots.grid_terms(table).axes[0].lines
    assert means.get_ydata().tolist() == [2, 5]
    assert dots.get_ydata().tolist() == [1, 3, 5]


def test_an_ablation_draws_every_cost_with_its_interval():
    rows = [
        dict(arch=arch, change=change, latent_dim=d, n=3, cost_nats=cost, low=cost - 1, high=cost + 2)
        for arch, changes in (("linear", "abc"), ("conv", "ab"))
        for d in (2, 10)
        for cost, change in enumerate(changes)
    ]
    figure = curve_plots.ablation(pd.DataFrame(rows))
    assert [axis.get_title() for axis in figure.axes] == [
        "linear, d = 2",
        "linear, d = 10",
        "conv, d = 2",
        "conv, d = 10",
    ]
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "b", "c"]
    np.testing.assert_allclose(first.lines[-1].get_xdata(), [0, 1, 2])
    bars = [segment[:, 0] for segment in first.collections[0].get_segments()]
    np.testing.assert_allclose(bars, [[-1, 2], [0, 3], [1, 4]])


def test_runs_are_dots_and_means_a_line():
    table = pd.DataFrame(
        {"arch": ["conv"] * 4 + ["PCA"], "latent_dim": [2, 2, 10, 10, 2], "knn": [0.5, 0.7, 0.8, 1.0, 0.4]}
    )
    axis = curve_plots.by_dimension(table, {"knn": "k-NN"}, {"knn": 0.95}).axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [0.6, 0.9])
    np.testing.assert_allclose(axis.lines[1].get_ydata(), [0.5, 0.7, 0.8, 1.0])
    np.testing.assert_allclose(axis.lines[-1].get_ydata(), 0.95)
