import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_config

from vaelib import InputError, data, train
from vaelib.results import (
    at,
    by_cell,
    find_runs,
    first_seed,
    largest,
    near,
    shares,
    split_by_arch,
    study_table,
    summary,
    table_by_cell,
    table_of,
    title,
    versions,
)


@pytest.fixture(scope="module")
def runs_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("grid") / "runs"
    for arch, d, seed in (("conv", 2, 0), ("linear", 10, 0), ("linear", 2, 1), ("linear", 2, 0)):
        train(small_config(root, arch=arch, latent_dim=d, seed=seed, epochs=1, encoder_widths=(8,)))
    return root


def test_runs_come_in_the_order_of_the_grid(runs_root):
    runs = find_runs([], str(runs_root), "digits")
    assert [run.config.cell_id for run in runs] == ["linear-d2-s0", "linear-d2-s1", "linear-d10-s0", "conv-d2-s0"]
    assert [run.path for run in find_runs([str(runs[3].path), str(runs[0].path)], "", "")] == [
        runs[0].path,
        runs[3].path,
    ]


def test_the_summary_holds_each_runs_own_numbers(runs_root):
    runs = find_runs([], str(runs_root), "digits")
    table = summary(runs)
    for run, (_, row) in zip(runs, table.iterrows(), strict=True):
        last = pd.read_csv(run.path / "history.csv").iloc[-1]
        assert row.negative_elbo_nats == pytest.approx(last.recon + last.kl)
        assert row.parameters == sum(p.numel() for p in run.model().parameters())


def test_the_table_averages_over_seeds_and_says_n(runs_root):
    table = summary(find_runs([], str(runs_root), "digits"))
    cells = table_by_cell(table)
    two = table[(table.arch == "linear") & (table.latent_dim == 2)].negative_elbo_nats
    assert cells.loc[("linear", 2), "negative ELBO"] == f"{np.mean(two):.2f} ± {np.std(two, ddof=1):.2f}"
    assert cells.loc[("linear", 2), "n"] == 2


def test_one_seed_has_no_spread(runs_root):
    table = summary(find_runs([], str(runs_root), "digits"))
    one = table[table.arch == "conv"].negative_elbo_nats.item()
    assert table_by_cell(table).loc[("conv", 2), "negative ELBO"] == f"{one:.2f}"


def test_no_runs_say_how_to_make_some(tmp_path):
    with pytest.raises(InputError, match=r"no finished run in .*/digits: .*vaelib train --dataset digits"):
        find_runs([], str(tmp_path), "digits")


def test_no_runs_beside_a_notebook_tell_of_those_one_folder_up(runs_root, monkeypatch):
    (runs_root.parent / "notebooks").mkdir()
    monkeypatch.chdir(runs_root.parent / "notebooks")
    with pytest.raises(InputError, match=rf"/notebooks/.*/digits \(there are some in {runs_root.resolve()}/digits\): "):
        find_runs([], runs_root.name, "digits")


def test_paths_may_be_one_text_with_commas(runs_root):
    paths = [str(run.path) for run in find_runs([], str(runs_root), "digits")]
    assert [str(run.path) for run in find_runs(",".join(paths), "", "")] == paths


def test_runs_of_two_image_sets_do_not_compare(runs_root, tmp_path):
    first = find_runs([], str(runs_root), "digits")[0]
    other = tmp_path / "mnist" / first.path.name
    other.mkdir(parents=True)
    for file in first.path.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    config = other / "config.json"
    config.write_text(config.read_text().replace('"dataset": "digits"', '"dataset": "mnist"'))
    with pytest.raises(InputError, match="runs with dataset digits and mnist do not compare"):
        find_runs([str(first.path), str(other)], "", "")


def test_runs_of_two_recipes_are_not_averaged_as_seeds(runs_root, tmp_path):
    first = find_runs([], str(runs_root), "digits")[0]
    other = train(small_config(tmp_path, k2=4.0, epochs=1, encoder_widths=(8,)))
    with pytest.raises(InputError, match=r"runs with k2 1.0 and 4.0 do not compare"):
        find_runs([str(first.path), str(other.path)], "", "")


def test_runs_of_two_widths_are_not_averaged_as_seeds(runs_root, tmp_path):
    first = find_runs([], str(runs_root), "digits")[0]
    other = train(small_config(tmp_path, seed=1, epochs=1, encoder_widths=(9,)))
    with pytest.raises(InputError, match="differ in decoder_widths, encoder_widths"):
        find_runs([str(first.path), str(other.path)], "", "")


def test_runs_of_two_precisions_do_not_compare(runs_root, tmp_path):
    first = find_runs([], str(runs_root), "digits")[0]
    other = tmp_path / "digits" / "linear-d2-s1"
    other.mkdir(parents=True)
    for file in first.path.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    config = other / "config.json"
    there = first.provenance["precision"]
    config.write_text(config.read_text().replace(f'"precision": "{there}"', '"precision": "float16"'))
    with pytest.raises(InputError, match=r"runs made in \w+ and \w+ do not compare"):
        find_runs([str(first.path), str(other)], "", "")


def test_versions_name_what_made_the_runs(runs_root):
    assert versions(find_runs([], str(runs_root), "digits"))["torch"] == torch.__version__


def test_a_classifier_is_no_run_of_the_grid(runs_root):
    folder = runs_root / "digits" / "classifier-s0"
    folder.mkdir()
    (folder / "model.safetensors").touch()
    assert len(find_runs([], str(runs_root), "digits")) == 4


def test_runs_of_one_latent_dim(runs_root):
    runs = find_runs([], str(runs_root), "digits")
    assert [title(run) for run in at(runs, 2)] == ["linear, d = 2", "linear, d = 2", "conv, d = 2"]
    with pytest.raises(InputError, match="no run with latent_dim 3 among these, whose latent_dim is 2, 10: add one"):
        at(runs, 3)


def test_the_nearest_latent_dim_is_the_largest_up_to_a_number(runs_root):
    runs = find_runs([], str(runs_root), "digits")
    two, ten = at(runs, 2), at(runs, 10)
    assert near(runs, 10) == near(runs, 50) == ten
    assert near(runs, 2) == near(runs, 9) == near(runs, 2, 5) == two
    assert near(runs, 2, 10) == [*two, *ten]
    assert near(runs, 10, 2, 10) == [*ten, *two]
    assert near(runs, 1) == two  # All have more, so these are those with the fewest.
    assert near(ten, 2, 10) == ten


def test_runs_are_picked_by_the_first_ones_seed_and_architecture(runs_root):
    runs = find_runs([], str(runs_root), "digits")
    assert [run.config.cell_id for run in first_seed(runs)] == ["linear-d2-s0", "linear-d10-s0", "conv-d2-s0"]
    assert first_seed(runs[1:]) == [runs[1]]
    assert split_by_arch(runs) == (runs[:3], runs[3:])
    assert split_by_arch(runs[::-1]) == ([runs[3]], runs[2::-1])
    assert split_by_arch(runs[:3]) == (runs[:3], [])


def test_a_seed_that_comes_twice_is_refused_in_a_table_by_cell():
    table = pd.DataFrame({"arch": "linear", "latent_dim": 2, "seed": [0, 1, 0], "kept": [0.5, 0.6, 0.5]})
    assert by_cell(table[:2], {"kept": "kept"}).n.tolist() == [2]
    with pytest.raises(InputError, match="linear-d2-s0 twice in a table over seeds: give each seed once"):
        by_cell(table, {"kept": "kept"})


def test_one_run_given_twice_is_refused(runs_root):
    """It would look like two seeds without a deviation."""
    run = find_runs([], str(runs_root), "digits")[0]
    with pytest.raises(InputError, match="are both linear-d2-s0: give each seed once"):
        find_runs([str(run.path), f"{run.path}/../{run.path.name}"], "", "")
    with pytest.raises(InputError, match="linear-d2-s0 twice in a table over seeds: give each seed once"):
        table_by_cell(summary([run, run]))


def test_a_users_folder_is_written_with_a_tilde(runs_root, monkeypatch):
    monkeypatch.setenv("HOME", str(runs_root.parent))
    assert find_runs([], "~/runs", "digits") == find_runs([], str(runs_root), "digits")
    name = find_runs([], str(runs_root), "digits")[0].path.name
    assert find_runs([f"~/runs/digits/{name}"], "", "")[0].path == runs_root / "digits" / name


def test_a_hidden_folder_is_no_run(runs_root):
    """A training that shall replace a run is kept in one until it is whole."""
    runs = find_runs([], str(runs_root), "digits")
    hidden = runs[0].path.with_name(f".{runs[0].path.name}.next")
    shutil.copytree(runs[0].path, hidden)
    assert find_runs([], str(runs_root), "digits") == runs
    shutil.rmtree(hidden)


def test_runs_of_own_images_lie_under_their_name(digits, tmp_path):
    """Wherever the images lie; but two sets of one name do not compare."""
    own = data.from_arrays(digits.train_images[:200], digits.train_labels[:200] % 2, name="own")
    other = data.from_arrays(digits.train_images[:200], digits.train_labels[:200] % 3, name="own")
    small = dict(epochs=1, encoder_widths=(4,), batch_size=64)
    run, moved = (train(dataset=own, seed=seed, runs_root=str(tmp_path / "runs"), **small) for seed in (0, 1))
    config = moved.path / "config.json"
    config.write_text(config.read_text().replace('"./own"', '"elsewhere/own"'))
    for dataset in ("own.npz", "anywhere/own", "~/own.npz"):
        found = find_runs([], str(tmp_path / "runs"), dataset)
        assert [one.path for one in found] == [run.path, moved.path]
    alien = train(dataset=other, seed=2, runs_root=str(tmp_path / "others"), **small)
    with pytest.raises(InputError, match="runs learnt different images called own: give runs of one set"):
        find_runs([str(run.path), str(alien.path)], "", "")


def test_measures_are_averaged_over_seeds(runs_root):
    runs = find_runs([], str(runs_root), "digits")
    table = table_of(runs, lambda run: {"score": run.config.latent_dim + run.config.seed})
    assert table.score.tolist() == [2, 3, 10, 2]
    cells = by_cell(table, {"score": "how good"}, digits=1)
    assert cells.loc[("linear", 2), "how good"] == f"2.5 ± {np.std([2, 3], ddof=1):.1f}"
    assert cells.loc[("conv", 2), "how good"] == "2.0"
    assert cells.n.tolist() == [2, 1, 1]


def test_a_measure_that_a_cell_has_not_is_left_empty():
    table = pd.DataFrame(
        {"arch": ["conv"] * 3, "latent_dim": [2, 2, 10], "seed": [0, 1, 0], "trust": [np.nan, np.nan, 0.5]}
    )
    cells = by_cell(table, {"trust": "t-SNE"})
    assert cells["t-SNE"].tolist() == ["", "0.50"]


def test_shares_sum_to_one_in_each_row():
    before, after = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 2, 1, 0])
    np.testing.assert_allclose(shares(before, after, [0, 1, 2]), [[0.75, 0, 0.25], [0.5, 0.5, 0], [0, 0, 0]])


@pytest.mark.parametrize("classes", [2, 10, 47])
def test_the_largest_entries_are_off_the_diagonal(classes, rng):
    matrix = rng.random((classes, classes)) + 5 * np.eye(classes)
    entries = {(i, j): matrix[i, j] for i in range(classes) for j in range(classes) if i != j}
    assert largest(matrix, 2) == sorted(entries, key=entries.get, reverse=True)[:2]
    assert largest(matrix) == largest(matrix, 2)[:1]


def test_what_is_not_known_comes_last_among_the_largest():
    matrix = np.array([[0, np.nan, 0.1], [np.nan, 0, 0.2], [0.1, 0.2, 0]])
    assert largest(matrix, 6) == [(1, 2), (2, 1), (0, 2), (2, 0), (0, 1), (1, 0)]
    assert largest(np.full((2, 2), np.nan)) == [(0, 1)]
    assert largest(-np.ones((3, 3)), 1) == [(0, 1)]


@pytest.fixture
def study(runs_root):
    _, linear2, linear10, conv2 = (str(run.path) for run in find_runs([], str(runs_root), "digits"))
    return {"conv": {"one": [conv2]}, "linear": {"one": [linear2, linear10]}}


def test_a_table_of_a_study_has_a_row_for_each_run_with_the_settings_named(study):
    table = study_table(study, lambda run: run.final(), ["k1", "epochs"])
    assert list(table)[:6] == ["arch", "arm", "latent_dim", "seed", "k1", "epochs"]
    cells = table[["arch", "arm", "latent_dim", "seed", "k1", "epochs"]].to_numpy().tolist()
    assert cells == [["conv", "one", 2, 0, 1, 1], ["linear", "one", 2, 1, 1, 1], ["linear", "one", 10, 0, 1, 1]]
    last = pd.read_csv(f"{study['linear']['one'][1]}/history.csv").iloc[-1]
    assert table.negative_elbo_nats[2] == pytest.approx(last.recon + last.kl)


def test_a_table_of_a_study_has_all_rows_of_tables_that_were_measured(study):
    table = study_table(study, lambda run: run.history().query("split == 'test'"))
    whole = study_table(study, lambda run: run.history())
    assert table.split.tolist() == ["test"] * 3
    assert whole.split.tolist() == ["train", "test"] * 3
    assert whole.index.tolist() == list(range(6))
    assert whole.latent_dim.tolist() == [2, 2, 2, 2, 10, 10]
    pd.testing.assert_series_equal(table.kl, whole.kl[whole.split == "test"].reset_index(drop=True))


def test_a_study_of_different_images_is_no_table(study, tmp_path):
    (source,) = study["conv"]["one"]
    other = tmp_path / "runs" / "digits" / "conv-d2-s0"
    shutil.copytree(source, other)
    file = other / "config.json"
    content = json.loads(file.read_text())
    content["provenance"]["data_sha256"] = "0" * 64
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"^the runs of the study learnt different images: give runs of one set$"):
        study_table(study | {"conv": {"one": [str(other)]}}, lambda run: {})
