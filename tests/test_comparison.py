import json

import numpy as np
import pytest
from conftest import small_config
from scipy import stats

from vaelib import InputError, comparison, evaluation
from vaelib.run import Run
from vaelib.training import train


def measured(values, error=None, over="once", n=1):
    return [{"value": value, "error": error, "n": n, "over": over} for value in values]


def test_seeds_in_common_are_paired():
    ours, theirs = np.array([10.0, 12, 17]), np.array([9.0, 10, 16])
    found = comparison.difference(measured(ours), measured(theirs), paired=True)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found["difference"] == pytest.approx(4 / 3)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert (found["n"], found["over"]) == (3, "seeds")
    assert found["beyond"] == (expected.low > 0)


def test_other_seeds_are_not():
    ours, theirs = [10.0, 12, 17], [9.0, 10]
    found = comparison.difference(measured(ours), measured(theirs), paired=False)
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert found["n"] == 2


def test_of_one_seed_each_the_interval_is_over_images():
    ours, theirs = measured([100.0], 0.3, "images", 10_000), measured([101.0], 0.4, "images", 10_000)
    found = comparison.difference(ours, theirs, paired=True)
    assert (found["low"], found["high"]) == pytest.approx((-1 - 1.96 * 0.5, -1 + 1.96 * 0.5), abs=1e-3)
    assert (found["beyond"], found["n"], found["over"]) == (True, 10_000, "images")


def test_what_is_measured_once_has_no_interval():
    found = comparison.difference(measured([3.0]), measured([2.0]), paired=True)
    assert np.isnan(found["low"])
    assert not found["beyond"]


@pytest.mark.parametrize("paired", [True, False])
def test_seeds_that_all_say_the_same_need_no_t(paired):
    found = comparison.difference(measured([10.0, 10]), measured([2.0, 2]), paired)
    assert (found["low"], found["high"], found["beyond"]) == (8, 8, True)
    assert not comparison.difference(measured([2.0, 2]), measured([2.0, 2]), paired)["beyond"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two models of two seeds, with measures made up."""
    made = []
    for arch, seed, elbo in (("linear", 0, 100.0), ("linear", 1, 101.0), ("conv", 0, 96.0), ("conv", 1, 97.5)):
        config = small_config(tmp_path_factory.getbasetemp() / "compared", arch=arch, seed=seed, epochs=1)
        run = train(config)
        measures = {"negative_elbo_nats": measured([elbo], 0.3, "images", 360)[0], "active_units": measured([2])[0]}
        content = {"weights_sha256": evaluation.weights_sha256(run), "measures": measures}
        (run.path / "metrics.json").write_text(json.dumps(content))
        made.append(run)
    return made


def test_models_are_held_against_the_first(runs):
    table = comparison.compare([runs[0], runs[2], runs[1], runs[3]])
    row = table.set_index("measure").loc["negative_elbo_nats"]
    expected = stats.ttest_rel([96.0, 97.5], [100.0, 101.0]).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    assert comparison.as_text(row) == f"-3.75 ({expected.low:+.2f} to {expected.high:+.2f})"
    assert table.set_index("measure").loc["active_units"].difference == 0


def test_of_one_seed_each_the_table_says_so(runs):
    table = comparison.compare([runs[0], runs[2]], ["negative_elbo_nats"])
    assert (table.over.item(), table.n.item(), table.beyond.item()) == ("images", 360, True)


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


def test_metrics_of_other_weights_are_refused(run):
    file = run.path / "metrics.json"
    file.write_text(json.dumps({"weights_sha256": "other", "measures": {"a": 1}}))
    with pytest.raises(InputError, match="measured of other weights"):
        evaluation.read(Run.load(run.path))
    file.write_text("{")
    with pytest.raises(InputError, match=r"metrics.json is damaged"):
        evaluation.read(run)
