import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from vaelib import figures


def history(epochs=3, **extra):
    rows = [
        dict(epoch=e, split=s, recon=100 - e + (s == "test"), kl=5 + e, loss=105, seconds=1, **extra)
        for e in range(1, epochs + 1)
        for s in ("train", "test")
    ]
    return pd.DataFrame(rows)


def test_loss_curves_draw_both_splits_of_each_term():
    figure = figures.loss_curves(history(), "conv")
    assert figure.get_facecolor() == (1, 1, 1, 1)
    for axis, expected in zip(figure.axes, ([99, 98, 97], [6, 7, 8], [105, 105, 105]), strict=True):
        train, test = axis.lines
        assert train.get_ydata().tolist() == expected
        assert train.get_linestyle() == "--"
        assert test.get_linestyle() == "-"
        assert train.get_color() == test.get_color() == figures.arch_colour("conv")
    assert figure.axes[0].lines[1].get_ydata().tolist() == [100, 99, 98]


def test_one_epoch_is_still_a_visible_curve():
    assert figures.loss_curves(history(epochs=1), "linear").axes[0].lines[0].get_marker() == "o"


def test_grid_curves_draw_the_mean_and_the_span_over_seeds():
    both = pd.concat([history(arch="conv", latent_dim=2, seed=0), history(arch="conv", latent_dim=2, seed=1)])
    both.loc[both.seed == 1, "recon"] += 2
    axis = figures.grid_curves(both).axes[0]
    assert axis.lines[0].get_ydata().tolist() == [107, 107, 107]
    band = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (106, 108)


def test_a_legend_of_curves_has_every_d_though_no_arch_has_all():
    models = (("conv", 3), ("linear", 2), ("linear", 10))
    table = pd.concat(history(arch=arch, latent_dim=d, seed=0) for arch, d in models)
    figure = figures.grid_curves(table)
    assert [axis.get_title() for axis in figure.axes] == ["linear", "conv"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["d = 2", "d = 3", "d = 10"]


def test_grid_terms_draw_a_dot_for_each_run():
    table = pd.DataFrame(
        dict(
            arch=["linear"] * 3, latent_dim=[2, 2, 50], recon_nats=[1.0, 3.0, 5.0], kl_nats=1.0, negative_elbo_nats=2.0
        )
    )
    means, dots = figures.grid_terms(table).axes[0].lines
    assert means.get_ydata().tolist() == [2, 5]
    assert dots.get_ydata().tolist() == [1, 3, 5]


def test_an_ablation_draws_every_cost_with_its_interval():
    rows = [
        dict(arch=arch, change=change, latent_dim=d, n=3, cost_nats=cost, low=cost - 1, high=cost + 2)
        for arch, changes in (("linear", "abc"), ("conv", "ab"))
        for d in (2, 10)
        for cost, change in enumerate(changes)
    ]
    figure = figures.ablation(pd.DataFrame(rows))
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


def test_costs_of_every_size_have_a_tick_near():
    row = dict(arch="conv", change="a", latent_dim=2, n=3)
    figure = figures.ablation(pd.DataFrame([row | dict(cost_nats=300.0, low=-40.0, high=400.0)]))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["-10", "-1", "0", "+1", "+10", "+100"]


def test_runs_are_dots_and_means_a_line():
    table = pd.DataFrame(
        {"arch": ["conv"] * 4 + ["PCA"], "latent_dim": [2, 2, 10, 10, 2], "knn": [0.5, 0.7, 0.8, 1.0, 0.4]}
    )
    axis = figures.by_dimension(table, {"knn": "k-NN"}, {"knn": 0.95}).axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [0.6, 0.9])
    np.testing.assert_allclose(axis.lines[1].get_ydata(), [0.5, 0.7, 0.8, 1.0])
    np.testing.assert_allclose(axis.lines[-1].get_ydata(), 0.95)


@pytest.fixture
def table():
    """Two architectures, two dimensions, two seeds."""
    rows = []
    for arch, better in (("linear", 0.0), ("conv", 2.0)):
        for d in (2, 10):
            for seed in (0, 1):
                rows.append(
                    {"arch": arch, "latent_dim": d, "seed": seed, "kl_nats": 3.0 + d + seed, "l1_nats": -100.0 + better}
                    | {"l10_nats": -97.0 + better + seed, "recon_nats": 120.0 - 3 * d - better, "parameters": 1000 * d}
                )
    return pd.DataFrame(rows).assign(model=lambda rows: rows.latent_dim)


def test_bounds_are_drawn_as_what_they_gain(table):
    figure = figures.bounds(table, [1, 10])
    linear, conv = figure.axes
    assert (linear.get_title(), conv.get_title()) == ("linear", "conv")
    for axis in (linear, conv):
        assert len(axis.lines) == 2
        np.testing.assert_allclose(axis.lines[0].get_xydata(), [[1, 0], [10, 3.5]])


def test_every_run_has_its_place_in_the_plane(table):
    axis = figures.rate_distortion(table, floor=45.5, collapse=205.8).axes[0]
    places = {tuple(place) for line in axis.lines for place in line.get_xydata()}
    assert set(zip(table.kl_nats, table.recon_nats, strict=True)) <= places
    assert (0, 205.8) in places
    assert any("45.5" in text.get_text() for text in axis.texts)


@pytest.mark.parametrize(("floor", "collapse", "step"), [(45.5, 205.8, 20), (4.5, 21.0, 2), (300.0, 1400.0, 200)])
def test_lines_of_equal_elbo_have_an_equal_sum(table, floor, collapse, step):
    axis = figures.rate_distortion(table, floor, collapse).axes[0]
    grey = [line for line in axis.lines if line.get_color() == "0.88"]
    assert len(grey) > 5
    assert np.diff([line.get_ydata()[0] for line in grey]) == pytest.approx(step)
    for line in grey:
        (x0, y0), (x1, y1) = line.get_xydata()
        assert x0 + y0 == pytest.approx(x1 + y1)


def test_dimensions_come_with_the_largest_first():
    values = np.array([0.1, 3.0, 1.0])
    axis = figures.dimensions({"d = 3": {"conv": [values, values / 2]}}, "KL", 0.5).axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [3, 1, 0.1])
    np.testing.assert_allclose(axis.lines[1].get_ydata(), [1.5, 0.5, 0.05])
    assert to_rgb(axis.lines[0].get_color()) == to_rgb(figures.arch_colour("conv"))
    assert axis.lines[2].get_ydata()[0] == 0.5


def test_a_difference_is_a_dot_in_its_interval():
    rows = [
        {"measure": name, "latent_dim": d, "difference": gap, "low": gap - 1, "high": gap + 2}
        for name in ("elbo", "fid")
        for d, gap in ((2, -3.0), (10, 0.5))
    ]
    figure = figures.differences(pd.DataFrame(rows), {"fid": "FID"})
    (axis,) = figure.axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["d = 2", "d = 10"]
    dots = axis.lines[-1]
    np.testing.assert_allclose(dots.get_xdata(), [-3, 0.5])
    for (start, end), gap in zip(axis.collections[0].get_segments(), (-3, 0.5), strict=True):
        assert (start[0], end[0]) == (gap - 1, gap + 2)


def test_pareto_lines_go_through_the_means(table):
    columns = {"parameters": "parameters", "kl_nats": "KL"}
    figure = figures.pareto(table, columns, "l10_nats", "bound")
    assert [axis.get_xlabel() for axis in figure.axes] == ["parameters", "KL"]
    by_arch = {line.get_label(): line for line in figure.axes[0].lines}
    assert len(by_arch["linear"].get_xdata()) == 4
    means = next(line for line in figure.axes[0].lines if line.get_marker() == "None")
    np.testing.assert_allclose(means.get_xydata(), [[2000, -96.5], [10_000, -96.5]])


def test_sizes_that_hardly_differ_have_few_ticks_that_do_not_meet():
    rows = [
        dict(arch=arch, model=n, parameters=n, nats=100.0) for arch, n in (("linear", 1_746_240), ("conv", 1_746_512))
    ]
    figure = figures.pareto(pd.DataFrame(rows), {"parameters": "parameters"}, "nats", "nats")
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert 1 <= len(boxes) <= 4
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_differences_of_two_further_architectures_are_told_apart():
    row = dict(measure="nats", latent_dim=2, difference=1.0, low=0.5, high=1.5)
    table = pd.DataFrame([row | dict(arch="conv"), row | dict(arch="convbn")])
    figure = figures.differences(table, {"nats": "negative ELBO"})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["conv, d = 2", "convbn, d = 2"]
    alone = figures.differences(table[:1], {"nats": "negative ELBO"})
    assert [label.get_text() for label in alone.axes[0].get_yticklabels()] == ["d = 2"]


def test_an_ablation_is_drawn_where_no_change_has_an_interval():
    row = dict(arch="linear", change="none at all", latent_dim=2, cost_nats=0.0, low=np.nan, high=np.nan)
    figure = figures.ablation(pd.DataFrame([row]))
    assert figure.axes[0].lines[-1].get_xdata().tolist() == [0]
    assert np.isfinite(figure.axes[0].get_xlim()).all()


def test_a_logarithmic_axis_has_every_value_and_the_means(table):
    table = table.assign(beta=lambda rows: rows.latent_dim / 4)
    figure = figures.on_log_axis(table, "beta", {"kl_nats": "KL"}, "beta", {"kl_nats": 6.0})
    (axis,) = figure.axes
    assert (axis.get_xscale(), axis.get_xlabel(), axis.get_title()) == ("log", "beta", "KL")
    figure.draw_without_rendering()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.5", "2.5"]
    means, dots, *_, level = axis.lines
    np.testing.assert_allclose(means.get_xydata(), [[0.5, 5.5], [2.5, 13.5]])
    assert sorted(dots.get_ydata()) == [5, 6, 13, 14]
    assert set(level.get_ydata()) == {6}


def test_the_curve_along_beta_has_each_run_and_the_best_sum(table):
    table = table.assign(beta=lambda rows: rows.latent_dim / 4)
    figure = figures.beta_curve(table)
    assert [axis.get_title() for axis in figure.axes] == ["linear", "conv"]
    axis = figure.axes[1]
    assert [text.get_text() for text in axis.texts] == ["0.5", "2.5"]
    runs, means, *grey = axis.lines
    own = table[table.arch == "conv"]
    assert {*map(tuple, runs.get_xydata())} == {*zip(own.kl_nats, own.recon_nats, strict=True)}
    np.testing.assert_allclose(means.get_xydata(), [[5.5, 112], [13.5, 88]])
    assert min(line.get_xy1()[1] for line in grey) == pytest.approx(101.5)
    assert {line.get_slope() for line in grey} == {-1}
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    assert left < 5 < 14 < right
    assert bottom < 88 < 114 < top


def test_traces_of_one_architecture_differ_in_their_dashes():
    models = (("ours", "linear", 0), ("ours", "linear", 1), ("wide", "linear", 0), ("other", "conv", 0))
    table = pd.concat(history(model=model, arch=arch, seed=seed) for model, arch, seed in models)
    table = table[table.split == "test"]
    figure = figures.traces(table, "epoch", {"kl": "KL", "recon": "reconstruction"}, "epoch", log=True)
    left, right = figure.axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[6, 7, 8]] * 4
    assert right.lines[0].get_ydata().tolist() == [100, 99, 98]
    assert left.get_xscale() == "log"
    ours, again, wide, other = left.lines
    assert ours.get_linestyle() == again.get_linestyle() == other.get_linestyle() == "-"
    assert wide.get_linestyle() == "--"
    assert ours.get_color() == wide.get_color() == figures.arch_colour("linear") != other.get_color()
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["ours", "wide", "other"]


def test_one_epoch_is_a_visible_trace():
    table = history(epochs=1, model="ours", arch="conv", seed=0)
    (axis,) = figures.traces(table[table.split == "test"], "epoch", {"kl": "KL"}, "epoch").axes
    assert axis.lines[0].get_marker() == "o"


def test_crossed_tables_show_their_numbers_and_shade_each_column_by_itself():
    table = pd.DataFrame({"clean": [1.0, 2.0, 3.0], "noisy": [300.0, 100.0, 200.0]}, index=["a", "b", "c"])
    figure = figures.crossed({"one": table, "other": table.iloc[:1]}, "tested on", "trained on", digits=1)
    one, other = figure.axes
    assert [text.get_text() for text in one.texts] == ["1.0", "300.0", "2.0", "100.0", "3.0", "200.0"]
    np.testing.assert_allclose(one.images[0].get_array(), [[0, 1], [0.5, 0], [1, 0.5]])
    assert [label.get_text() for label in one.get_yticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in one.get_xticklabels()] == ["clean", "noisy"]
    np.testing.assert_allclose(other.images[0].get_array(), 0)
    assert (one.get_xlabel(), one.get_ylabel(), one.get_title()) == ("tested on", "trained on", "one")
