import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from vaelib import measure_plots
from vaelib.plots import ARCH_COLOURS


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
    figure = measure_plots.bounds(table, [1, 10])
    linear, conv = figure.axes
    assert (linear.get_title(), conv.get_title()) == ("linear", "conv")
    for axis in (linear, conv):
        assert len(axis.lines) == 2
        np.testing.assert_allclose(axis.lines[0].get_xydata(), [[1, 0], [10, 3.5]])


def test_every_run_has_its_place_in_the_plane(table):
    axis = measure_plots.rate_distortion(table, floor=45.5, collapse=205.8).axes[0]
    places = {tuple(place) for line in axis.lines for place in line.get_xydata()}
    assert set(zip(table.kl_nats, table.recon_nats, strict=True)) <= places
    assert (0, 205.8) in places
    assert any("45.5" in text.get_text() for text in axis.texts)


def test_lines_of_equal_elbo_have_an_equal_sum(table):
    axis = measure_plots.rate_distortion(table, floor=45.5, collapse=205.8).axes[0]
    grey = [line for line in axis.lines if line.get_color() == "0.88"]
    assert len(grey) > 5
    for line in grey:
        (x0, y0), (x1, y1) = line.get_xydata()
        assert x0 + y0 == pytest.approx(x1 + y1)


def test_dimensions_come_with_the_largest_first():
    values = np.array([0.1, 3.0, 1.0])
    axis = measure_plots.dimensions({"d = 3": {"conv": [values, values / 2]}}, "KL", 0.5).axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [3, 1, 0.1])
    np.testing.assert_allclose(axis.lines[1].get_ydata(), [1.5, 0.5, 0.05])
    assert to_rgb(axis.lines[0].get_color()) == to_rgb(ARCH_COLOURS["conv"])
    assert axis.lines[2].get_ydata()[0] == 0.5


def test_a_difference_is_a_dot_in_its_interval():
    rows = [
        {"measure": name, "latent_dim": d, "difference": gap, "low": gap - 1, "high": gap + 2}
        for name in ("elbo", "fid")
        for d, gap in ((2, -3.0), (10, 0.5))
    ]
    figure = measure_plots.differences(pd.DataFrame(rows), {"fid": "FID"})
    (axis,) = figure.axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["d = 2", "d = 10"]
    dots = axis.lines[-1]
    np.testing.assert_allclose(dots.get_xdata(), [-3, 0.5])
    for (start, end), gap in zip(axis.collections[0].get_segments(), (-3, 0.5), strict=True):
        assert (start[0], end[0]) == (gap - 1, gap + 2)


def test_pareto_lines_go_through_the_means(table):
    columns = {"parameters": "parameters", "kl_nats": "KL"}
    figure = measure_plots.pareto(table, columns, "l10_nats", "bound")
    assert [axis.get_xlabel() for axis in figure.axes] == ["parameters", "KL"]
    by_arch = {line.get_label(): line for line in figure.axes[0].lines}
    assert len(by_arch["linear"].get_xdata()) == 4
    means = next(line for line in figure.axes[0].lines if line.get_marker() == "None")
    np.testing.assert_allclose(means.get_xydata(), [[2000, -96.5], [10_000, -96.5]])
