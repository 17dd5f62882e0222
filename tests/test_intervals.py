import numpy as np
import pandas as pd
import pytest
from conftest import small_config
from scipy import stats

from vaelib import InputError
from vaelib.intervals import ablation, contrast, verdict, wilson
from vaelib.run import Run
from vaelib.training import train


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    root = tmp_path_factory.mktemp("ablation") / "runs"
    changes = {"tuned": {}, "ReLU": dict(activation="relu")}
    small = dict(encoder_widths=(8,), epochs=1, held_out=300)
    runs = {
        change: [
            train(small_config(root, seed=seed, latent_dim=d, **small, **settings))
            for d in (2, 3)
            for seed in (0, 1, 2)
        ]
        for change, settings in changes.items()
    }
    return {"linear": {change: [str(run.path) for run in found] for change, found in runs.items()}}


def test_an_ablation_pairs_seeds_and_gives_students_interval(lines):
    """Against the textbook formula, with t(2) = 4.303 from a table."""
    table = ablation(lines)
    assert table.latent_dim.tolist() == [2, 3]
    assert table.n.tolist() == [3, 3]
    costs = [
        Run.load(changed).final()["negative_elbo_nats"] - Run.load(tuned).final()["negative_elbo_nats"]
        for changed, tuned in zip(lines["linear"]["ReLU"], lines["linear"]["tuned"], strict=True)
    ]
    for row, cost in zip(table.itertuples(), np.reshape(costs, (2, 3)), strict=True):
        half = 4.302653 * cost.std(ddof=1) / np.sqrt(3)
        assert row.cost_nats == pytest.approx(cost.mean())
        assert (row.low, row.high) == pytest.approx((cost.mean() - half, cost.mean() + half), rel=1e-5)
    shown = verdict(table)
    assert shown.loc[("linear", "ReLU"), "d = 2"].startswith(f"{np.mean(costs[:3]):+.2f} (")


def test_a_change_is_shown_where_its_whole_interval_is_above_0():
    rows = [
        dict(arch="conv", change="ReLU", latent_dim=d, n=3, cost_nats=1.0, low=low, high=2.0, train_seconds=3.0)
        | dict(tuned_seconds=2.0)
        for d, low in ((2, 0.1), (5, -0.1), (10, 0.2))
    ]
    shown = verdict(pd.DataFrame(rows)).loc[("conv", "ReLU")]
    assert shown["above 0 at d"] == "2, 10"
    assert shown["seconds"] == "1.50"


def test_an_ablation_without_its_tuned_line_is_refused(lines):
    with pytest.raises(InputError, match="no line named 'tuned' to hold 'ReLU' against"):
        ablation({"linear": {"ReLU": lines["linear"]["ReLU"]}})


def test_an_ablation_of_other_seeds_is_refused(lines):
    halved = {"linear": {"tuned": lines["linear"]["tuned"], "ReLU": lines["linear"]["ReLU"][:2]}}
    with pytest.raises(InputError, match="'ReLU': wanted are the tuned cells' dimensions and seeds"):
        ablation(halved)


def test_a_contrast_is_paired_by_seed():
    rng = np.random.default_rng(0)
    low, gain = rng.normal(size=4), rng.normal(1, 0.1, 4)
    rows = [dict(arch="conv", latent_dim=2, seed=seed, score=low[seed]) for seed in range(4)]
    rows += [dict(arch="conv", latent_dim=10, seed=seed, score=low[seed] + gain[seed]) for seed in (3, 1, 0, 2)]
    interval = stats.t.interval(0.95, 3, gain.mean(), stats.sem(gain))
    shown = contrast(pd.DataFrame(rows), {"score": "score"}, 2, 10, digits=3).loc["conv"]
    assert shown["score"] == f"{gain.mean():+.3f} ({interval[0]:+.3f} to {interval[1]:+.3f})"
    assert shown["n"] == 4


def test_one_seed_has_no_interval():
    rows = [dict(arch="conv", latent_dim=d, seed=0, score=d / 10) for d in (2, 10)]
    assert contrast(pd.DataFrame(rows), {"score": "score"}, 2, 10).loc["conv"].tolist() == ["+0.80", 1]


def test_wilsons_interval_is_its_formula():
    hits = np.arange(50) < 43
    p, n, z = 43 / 50, 50, stats.norm.ppf(0.975)
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((middle + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    assert wilson(hits) == f"0.86 ({low:.2f} to {high:.2f})"


def test_seconds_are_those_of_the_fastest_seed(lines):
    slow = Run.load(lines["linear"]["ReLU"][1]).path / "history.csv"
    kept = slow.read_text()
    history = pd.read_csv(slow).assign(seconds=1e6)
    history.to_csv(slow, index=False)
    try:
        table = ablation(lines)
    finally:
        slow.write_text(kept)
    fastest = [min(Run.load(path).train_seconds() for path in lines["linear"]["tuned"][i : i + 3]) for i in (0, 3)]
    assert table.tuned_seconds.tolist() == fastest
    assert table.train_seconds.max() < 1e6
