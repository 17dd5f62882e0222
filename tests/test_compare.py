import importlib
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import EARLIER_RUNS, small_config
from scipy import stats

from vaelib import InputError, compare, evaluate, train
from vaelib.evaluation import Depth, per_image, read
from vaelib.results import (
    ablation,
    at_each_dimension,
    by_model,
    contrast,
    interval,
    interval_text,
    read_sizes,
    read_study,
    verdict,
)
from vaelib.training import Run

module = importlib.import_module("vaelib.results.compare")  # The room has the function under this name.


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
    return module.difference(ours, theirs, "fid")


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
    content = {"weights_sha256": run.weights_sha256, "data_sha256": "d", "split": "test", "networks": {}}
    (run.path / "metrics.json").write_text(json.dumps(content | {"measures": measures} | more))
    np.savez(run.path / "metrics.npz", negative_elbo_nats=each)


def test_models_are_held_against_the_first(runs):
    table = compare([runs[0], runs[2], runs[1], runs[3]])
    assert table.model.unique().tolist() == ["digits conv-d2-epochs1-encoder_widths32"]
    row = table.set_index("measure").loc["negative_elbo_nats"]
    expected = stats.ttest_rel([96.0, 97.5], [100.0, 101.0]).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    assert interval_text(row.difference, row.low, row.high) == f"-3.75 ({expected.low:+.2f} to {expected.high:+.2f})"
    assert table.set_index("measure").loc["active_units"].difference == 0


def test_of_one_run_each_images_are_paired(runs):
    row = compare([runs[0], runs[2]], ["negative_elbo_nats"]).iloc[0]
    ours, theirs = (per_image(run)["negative_elbo_nats"] for run in (runs[2], runs[0]))
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    assert (row.over, row.n, row.beyond) == ("images", 360, True)


def test_each_dimension_is_compared_by_itself(runs):
    table = at_each_dimension(runs, ["negative_elbo_nats"])
    assert table[["latent_dim", "difference", "n"]].to_numpy().tolist() == [[2, -3.75, 2]]
    with pytest.raises(InputError, match=r"^latent_dim 2 has the models digits linear-d2.*: accepted are two$"):
        at_each_dimension(runs[:2], ["negative_elbo_nats"])


@pytest.mark.parametrize(("key", "value"), [("data_sha256", "e"), ("split", "validation")])
def test_runs_that_were_measured_otherwise_are_refused(key, value, runs, tmp_path):
    other = train(small_config(tmp_path, arch="conv", epochs=1, encoder_widths=(8,)))
    write_metrics(other, 96.0, np.zeros(360), **{key: value})
    with pytest.raises(InputError, match=f"were not measured alike: {key} is"):
        compare([runs[0], other])


def test_other_networks_and_numbers_are_refused():
    one = {"data_sha256": "d", "split": "test", "networks": {"classifier": {"sha256": "a"}}}
    one["measures"] = {"classifier_fid": measured([2.0])[0][1]}
    other = json.loads(json.dumps(one))
    module.require_alike({"x": one, "y": other}, ["classifier_fid"])
    other["networks"]["classifier"]["sha256"] = "b"
    with pytest.raises(InputError, match="x and y were not measured alike: network classifier"):
        module.require_alike({"x": one, "y": other}, ["classifier_fid"])
    other = json.loads(json.dumps(one))
    other["measures"]["classifier_fid"]["n"] = 7
    with pytest.raises(InputError, match=r"classifier_fid is \(1, 'once'\) and \(7, 'once'\)"):
        module.require_alike({"x": one, "y": other}, ["classifier_fid"])


def test_a_measure_that_was_not_to_be_had_is_refused_with_the_reason(runs, monkeypatch):
    monkeypatch.setattr(module, "read", lambda run: read(run) | {"missing": {"classifier": "there is none in runs"}})
    with pytest.raises(InputError, match=r"measure 'classifier_fid': accepted .* \(there is none in runs\)$"):
        compare(runs, ["classifier_fid"])


def test_one_model_or_one_run_twice_is_refused(runs):
    with pytest.raises(InputError, match="1 model in 2 runs"):
        compare(runs[:2])
    with pytest.raises(InputError, match=r"are both .* with seed 0: give one"):
        compare([runs[0], runs[0], runs[2]])
    with pytest.raises(InputError, match="measure 'fid': accepted of these runs is one of negative_elbo_nats"):
        compare(runs, ["fid"])


def test_runs_are_given_by_their_paths_too(runs):
    by_path = [str(runs[0].path), runs[2].path, runs[1], runs[3]]
    pd.testing.assert_frame_equal(compare(by_path), compare([runs[0], runs[2], runs[1], runs[3]]))
    with pytest.raises(InputError, match=r"is no run: it has no config.json"):
        compare([runs[0], "nowhere"])


def test_models_of_own_images_are_named_by_the_set(digits, tmp_path):
    """Not by the path that it was found at."""
    np.savez(tmp_path / "My letters.npz", images=digits.train_images[:90, 0], labels=digits.train_labels[:90] % 2)
    small = dict(dataset=str(tmp_path / "My letters.npz"), epochs=1, encoder_widths=(4,), batch_size=32)
    runs = [train(arch=arch, runs_root=str(tmp_path / "runs"), **small) for arch in ("linear", "conv")]
    names = list(by_model(runs))
    assert names == [f"My-letters {run.path.name.replace('-s0', '')}" for run in runs]
    for run, value in zip(runs, (100.0, 96.0), strict=True):
        write_metrics(run, value, value + np.random.default_rng(0).normal(size=360))
    assert compare(runs).model.unique().tolist() == names[1:]


def test_each_further_model_is_held_against_the_first(runs):
    """At one latent_dim two models are compared, and the baseline is the one that comes first."""
    turned = at_each_dimension([*runs[2:], *runs[:2]], ["negative_elbo_nats"])
    assert turned.difference.tolist() == [3.75]


def test_earlier_runs_are_held_against_todays(tmp_path):
    """Two seeds that were made and evaluated before the library had rooms, against the same two of other widths."""
    earlier = sorted((EARLIER_RUNS / "digits").iterdir())
    today = [train(small_config(tmp_path, seed=seed, encoder_widths=(9,))) for seed in (0, 1)]
    for run in today:
        evaluate(run, features=(), depth=Depth(10, 50, 0, 2, embedded=20))
    table = compare([*earlier, *today])
    assert table.model.unique().tolist() == ["digits linear-d2-epochs2-encoder_widths9"]
    rows = table.set_index("measure")
    for name in ("negative_elbo_nats", "l10_nats", "bits_per_pixel", "negative_bound_nats"):
        ours, theirs = ([read(Run.load(one))["measures"][name]["value"] for one in own] for own in
                        ([run.path for run in today], earlier))  # fmt: skip
        row = rows.loc[name]
        assert row.difference == pytest.approx(np.mean(ours) - np.mean(theirs))
        expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
        assert (row.over, row.n) == ("seeds", 2)
    assert not [name for name in rows.index if name.startswith("classifier")]


def test_an_interval_is_scipys_and_one_value_has_none(rng):
    values = rng.normal(1, 2, 7)
    expected = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    for same in (values, pd.Series(values), values.tolist()):
        assert interval(same) == pytest.approx(expected)
    for none in ([3.0], [2.0, 2.0, 2.0], [0.0, 0.0], []):
        assert np.isnan(interval(none)).all()
    assert interval_text(-1.926, -2.5482, -1.31) == "-1.93 (-2.55 to -1.31)"
    assert interval_text(1.26, 0.2, 2.06, digits=1) == "+1.3 (+0.2 to +2.1)"
    assert interval_text(0.5, np.nan, np.nan) == "+0.50"


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


def test_an_ablation_on_test_images_is_refused(lines, tmp_path):
    seen = str(train(small_config(tmp_path, encoder_widths=(8,), epochs=1)).path)
    with pytest.raises(InputError, match=rf"^linear, 'tuned': {seen} held out 0 images: accepted is 1 or more"):
        ablation({"linear": {"tuned": [seen], "ReLU": lines["linear"]["ReLU"]}})


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


def test_an_architecture_without_both_dimensions_is_left_out_of_a_contrast():
    """A column that only one of the seeds has counts that seed alone."""
    rows = [dict(arch="conv", latent_dim=d, seed=0, score=1.0 * d, other=2.0 * d) for d in (2, 10)]
    rows += [dict(arch="linear", latent_dim=d, seed=0, score=1.0, other=1.0) for d in (2, 5)]
    rows += [dict(arch="conv", latent_dim=d, seed=1, score=3.0 * d, other=np.nan) for d in (2, 10)]
    shown = contrast(pd.DataFrame(rows), {"score": "score", "other": "other"}, 2, 10)
    assert shown.index.tolist() == ["conv"]
    assert shown.loc["conv", "other"] == "+16.00"
    assert shown.loc["conv", "score"].startswith("+16.00 (")
    assert shown.loc["conv", "n"] == 2


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


def test_the_runs_of_a_study_are_found_beside_the_runs(lines, tmp_path):
    folder = tmp_path / "build" / "studies"
    folder.mkdir(parents=True)
    relative = {
        "linear": {name: [os.path.relpath(path, folder) for path in own] for name, own in lines["linear"].items()}
    }
    (folder / "ablation.json").write_text(json.dumps(relative))
    beside = str(tmp_path / "build" / "runs")
    for path, runs_root in (("", beside), (str(folder / "ablation.json"), ""), (str(folder), "elsewhere")):
        found = read_study(path, runs_root, "ablation")
        assert {change: [Path(one).resolve() for one in own] for change, own in found["linear"].items()} == {
            change: [Path(one) for one in own] for change, own in lines["linear"].items()
        }
    pd.testing.assert_frame_equal(ablation(found), ablation(lines))


@pytest.mark.parametrize("name", ["study", "sizes"])
def test_a_file_that_is_not_there_is_said_with_how_it_is_made(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = {"study": "studies/noise.json", "sizes": "studies/sizes.json"}[name]
    reader = {"study": lambda path, root: read_study(path, root, "noise"), "sizes": read_sizes}[name]
    expected = rf"^no {tmp_path}/{file}: an edition with .* makes it \(make full\), or give {name}$"
    for path, runs_root in (("", "runs"), (file, "elsewhere"), ("", "../" + tmp_path.name + "/runs")):
        with pytest.raises(InputError, match=expected):
            reader(path, runs_root)
    Path(file).parent.mkdir()
    Path(file).write_text("{")
    with pytest.raises(InputError, match=f"^{file} cannot be read: "):
        reader("", "runs")


@pytest.fixture(scope="module")
def sized(tmp_path_factory):
    """An edition with conv models matched to its linear ones, by their names alone, and one of a further size."""
    root = tmp_path_factory.mktemp("edition")
    small = dict(epochs=1, encoder_widths=(4,), dataset="digits")
    runs, others = str(root / "runs"), str(root / "studies")
    sizes = {"equal": [], "sized": []}
    for arch, seed, d in itertools.product(("conv", "linear"), (1, 0), (3, 2)):
        train(small_config(runs if arch == "linear" else others, arch=arch, seed=seed, latent_dim=d, **small))
    for seed, d in itertools.product((1, 0), (3, 2)):
        matched = f"digits/conv-d{d}-s{seed}-epochs1-encoder_widths4"
        sizes["equal"].append([matched, f"../runs/digits/linear-d{d}-s{seed}-epochs1-encoder_widths4"])
    further = train(small_config(others, **small | dict(encoder_widths=(6,))))
    sizes["sized"] = [str(further.path.relative_to(others))]
    (root / "studies" / "sizes.json").write_text(json.dumps(sizes))
    return root


def test_runs_of_equal_size_begin_with_the_matched_ones(sized):
    """Though tables have linear before conv: the first model is the baseline."""
    for path, runs_root in (("", str(sized / "runs")), (str(sized / "studies" / "sizes.json"), "")):
        equal, further = read_sizes(path, runs_root)
        assert [run.config.cell_id for run in equal["linear"]] == [
            f"{arch}-d{d}-s{seed}" for arch in ("conv", "linear") for d in (2, 3) for seed in (0, 1)
        ]
        assert [run.path.name for run in further] == ["linear-d2-s0-epochs1-encoder_widths6"]
    assert list(equal) == ["linear"]
    assert next(iter(by_model(equal["linear"]))).startswith("digits conv")


def test_some_runs_of_equal_size_are_picked(sized, monkeypatch):
    monkeypatch.chdir(sized)
    only = [f"runs/digits/linear-d3-s{seed}-epochs1-encoder_widths4" for seed in (0, 1)]
    equal, further = read_sizes("", "runs", only)
    assert [run.config.cell_id for run in equal["linear"]] == [
        "conv-d3-s0",
        "conv-d3-s1",
        "linear-d3-s0",
        "linear-d3-s1",
    ]
    assert len(further) == 1
    with pytest.raises(
        InputError, match=f"^{sized}/studies/sizes.json has no pair of equal size with one of these runs$"
    ):
        read_sizes("", "runs", ["runs/digits/linear-d5-s0"])
