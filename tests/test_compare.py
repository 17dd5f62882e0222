import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import small_config
from scipy import stats

from vaelib import InputError, comparison, evaluation
from vaelib.training import train


@dataclass
class Seeded:
    """Stands for a run: its seed, and where it lies."""

    seed: int
    path: Path = Path()

    @property
    def config(self):
        return self


def measured(values, seeds=None, error=None, over="once", n=1):
    seeds = seeds or range(len(values))
    measures = [{"value": value, "error": error, "n": n, "over": over} for value in values]
    return [(Seeded(seed), measure) for seed, measure in zip(seeds, measures, strict=True)]


def difference(ours, theirs):
    return comparison.difference(ours, theirs, "fid")


def test_seeds_in_common_are_paired():
    ours, theirs = np.array([10.0, 12, 17]), np.array([9.0, 10, 16])
    found = difference(measured(ours), measured(theirs))
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found["difference"] == pytest.approx(4 / 3)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert (found["n"], found["over"]) == (3, "seeds")
    assert found["beyond"] == (expected.low > 0)


def test_seeds_that_only_one_model_has_are_left_out():
    found = difference(measured([10.0, 12, 17], [0, 1, 2]), measured([10.5, 9.0], [1, 0]))
    expected = stats.ttest_rel([10.0, 12.0], [9.0, 10.5]).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert (found["value"], found["baseline"], found["n"]) == (11, 9.75, 2)


def test_other_seeds_are_not_paired():
    ours, theirs = [10.0, 12, 17], [9.0, 10]
    found = difference(measured(ours, [0, 1, 2]), measured(theirs, [3, 4]))
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert found["n"] == 2


def test_one_run_against_several_has_no_interval():
    found = difference(measured([100.0, 101, 105]), measured([99.0], error=0.1, over="images", n=100))
    assert np.isnan(found["low"])
    assert (found["difference"], found["beyond"]) == (3, False)


def test_of_one_seed_each_the_interval_is_over_resamplings():
    found = difference(
        measured([20.0], error=0.6, over="resamplings", n=5), measured([24.0], error=0.8, over="resamplings", n=5)
    )
    widest = stats.t.ppf(0.975, 4) * np.sqrt((0.6**2 + 0.8**2) / 5)
    assert (found["low"], found["high"]) == pytest.approx((-4 - widest, -4 + widest))
    assert (found["beyond"], found["n"], found["over"]) == (True, 5, "resamplings")


@pytest.mark.parametrize("over", ["once", "subsets"])
def test_what_is_measured_of_one_set_has_no_interval(over):
    found = difference(measured([3.0], error=0.1, over=over, n=50), measured([2.0], error=0.1, over=over, n=50))
    assert np.isnan(found["low"])
    assert not found["beyond"]


@pytest.mark.parametrize("seeds", [[0, 1, 2], [7, 8, 9]])
def test_seeds_that_all_say_the_same_give_no_interval(seeds):
    """Three equal numbers of active units are no proof; and scipy would warn of their t."""
    for theirs in (2.0, 10.0 + 1e-15):
        found = difference(measured([10.0, 10, 10]), measured([theirs] * 3, seeds))
        assert np.isnan(found["low"])
        assert not found["beyond"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two models of two seeds, with measures made up."""
    made = []
    root = tmp_path_factory.mktemp("compared")
    for arch, seed, elbo in (("linear", 0, 100.0), ("linear", 1, 101.0), ("conv", 0, 96.0), ("conv", 1, 97.5)):
        run = train(small_config(root, arch=arch, seed=seed, epochs=1))
        each = elbo + np.random.default_rng(seed).normal(size=360) + 0.1 * np.arange(360) * (arch == "conv") / 360
        write_metrics(run, elbo, each)
        made.append(run)
    return made


def write_metrics(run, elbo, each, **more):
    over = {"error": 0.05, "n": 360, "over": "images"}
    measures = {"negative_elbo_nats": {"value": elbo, **over}, "active_units": measured([2])[0][1]}
    content = {"weights_sha256": evaluation.weights_sha256(run), "data_sha256": "d", "split": "test", "networks": {}}
    (run.path / "metrics.json").write_text(json.dumps(content | {"measures": measures} | more))
    np.savez(run.path / "metrics.npz", negative_elbo_nats=each)


def test_models_are_held_against_the_first(runs):
    table = comparison.compare([runs[0], runs[2], runs[1], runs[3]])
    assert table.model.unique().tolist() == ["digits conv-d2-epochs1-encoder_widths32"]
    row = table.set_index("measure").loc["negative_elbo_nats"]
    expected = stats.ttest_rel([96.0, 97.5], [100.0, 101.0]).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    assert comparison.as_text(row) == f"-3.75 ({expected.low:+.2f} to {expected.high:+.2f})"
    assert table.set_index("measure").loc["active_units"].difference == 0


def test_of_one_run_each_images_are_paired(runs):
    row = comparison.compare([runs[0], runs[2]], ["negative_elbo_nats"]).iloc[0]
    ours, theirs = (evaluation.per_image(run)["negative_elbo_nats"] for run in (runs[2], runs[0]))
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    assert (row.over, row.n, row.beyond) == ("images", 360, True)


def test_each_dimension_is_compared_by_itself(runs):
    table = comparison.at_each_dimension(runs, ["negative_elbo_nats"])
    assert table[["latent_dim", "difference", "n"]].to_numpy().tolist() == [[2, -3.75, 2]]
    with pytest.raises(InputError, match=r"^latent_dim 2 has the models digits linear-d2.*: accepted are two$"):
        comparison.at_each_dimension(runs[:2], ["negative_elbo_nats"])


@pytest.mark.parametrize(("key", "value"), [("data_sha256", "e"), ("split", "validation")])
def test_runs_that_were_measured_otherwise_are_refused(key, value, runs, tmp_path):
    other = train(small_config(tmp_path, arch="conv", epochs=1, encoder_widths=(8,)))
    write_metrics(other, 96.0, np.zeros(360), **{key: value})
    with pytest.raises(InputError, match=f"were not measured alike: {key} is"):
        comparison.compare([runs[0], other])


def test_other_networks_and_numbers_are_refused():
    one = {"data_sha256": "d", "split": "test", "networks": {"mnist": {"sha256": "a"}}}
    one["measures"] = {"mnist_fid": measured([2.0])[0][1]}
    other = json.loads(json.dumps(one))
    comparison.require_alike({"x": one, "y": other}, ["mnist_fid"])
    other["networks"]["mnist"]["sha256"] = "b"
    with pytest.raises(InputError, match="x and y were not measured alike: network mnist"):
        comparison.require_alike({"x": one, "y": other}, ["mnist_fid"])
    other = json.loads(json.dumps(one))
    other["measures"]["mnist_fid"]["n"] = 7
    with pytest.raises(InputError, match=r"mnist_fid is \(1, 'once'\) and \(7, 'once'\)"):
        comparison.require_alike({"x": one, "y": other}, ["mnist_fid"])


def test_one_model_or_one_run_twice_is_refused(runs):
    with pytest.raises(InputError, match="1 model in 2 runs"):
        comparison.compare(runs[:2])
    with pytest.raises(InputError, match=r"are both .* with seed 0: give one"):
        comparison.compare([runs[0], runs[0], runs[2]])
    with pytest.raises(InputError, match="measure 'fid': accepted of these runs is one of negative_elbo_nats"):
        comparison.compare(runs, ["fid"])


def test_a_run_that_was_not_evaluated_is_named(run):
    with pytest.raises(InputError, match=r"has no metrics.json: vaelib evaluate .* makes it"):
        evaluation.read(run)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"weights_sha256": "other", "measures": {"a": 1}}', "was measured of other weights"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
    ],
)
def test_metrics_that_are_not_this_runs_are_refused(text, expected, run):
    (run.path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=rf"^{run.path}/metrics.json {expected}.*vaelib evaluate"):
        evaluation.read(run)


def test_an_unfinished_run_is_called_so(run):
    (run.path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=rf"^{run.path} is not finished"):
        evaluation.read(run)
