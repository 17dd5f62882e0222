import numpy as np
import pandas as pd
import pytest
from conftest import small_config

from vaelib import InputError
from vaelib.tables import (  # fmt: skip
    at,
    by_cell,
    find,
    measured,
    near,
    shares,
    summary,
    table_by_cell,
    title,
    versions,
)
from vaelib.training import train


@pytest.fixture(scope="module")
def runs_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("grid") / "runs"
    for arch, d, seed in (("conv", 2, 0), ("linear", 10, 0), ("linear", 2, 1), ("linear", 2, 0)):
        train(small_config(root, arch=arch, latent_dim=d, seed=seed, epochs=1, encoder_widths=(8,)))
    return root


def test_runs_come_in_the_order_of_the_grid(runs_root):
    runs = find([], str(runs_root), "digits")
    assert [run.config.cell_id for run in runs] == ["linear-d2-s0", "linear-d2-s1", "linear-d10-s0", "conv-d2-s0"]
    assert [run.path for run in find([str(runs[3].path), str(runs[0].path)], "", "")] == [runs[0].path, runs[3].path]


def test_the_summary_holds_each_runs_own_numbers(runs_root):
    runs = find([], str(runs_root), "digits")
    table = summary(runs)
    for run, (_, row) in zip(runs, table.iterrows(), strict=True):
        last = pd.read_csv(run.path / "history.csv").iloc[-1]
        assert row.negative_elbo_nats == pytest.approx(last.recon + last.kl)
        assert row.parameters == sum(p.numel() for p in run.model().parameters())


def test_the_table_averages_over_seeds_and_says_n(runs_root):
    table = summary(find([], str(runs_root), "digits"))
    cells = table_by_cell(table)
    two = table[(table.arch == "linear") & (table.latent_dim == 2)].negative_elbo_nats
    assert cells.loc[("linear", 2), "negative ELBO"] == f"{np.mean(two):.2f} ± {np.std(two, ddof=1):.2f}"
    assert cells.loc[("linear", 2), "n"] == 2


def test_one_seed_has_no_spread(runs_root):
    table = summary(find([], str(runs_root), "digits"))
    one = table[table.arch == "conv"].negative_elbo_nats.item()
    assert table_by_cell(table).loc[("conv", 2), "negative ELBO"] == f"{one:.2f}"


def test_no_runs_say_how_to_make_some(tmp_path):
    with pytest.raises(InputError, match=r"no finished run under .*/digits: .*vaelib train --dataset digits"):
        find([], str(tmp_path), "digits")


def test_runs_of_two_image_sets_do_not_compare(runs_root, tmp_path):
    first = find([], str(runs_root), "digits")[0]
    other = tmp_path / "mnist" / first.path.name
    other.mkdir(parents=True)
    for file in first.path.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    config = other / "config.json"
    config.write_text(config.read_text().replace('"dataset": "digits"', '"dataset": "mnist"'))
    with pytest.raises(InputError, match="runs with dataset digits and mnist do not compare"):
        find([str(first.path), str(other)], "", "")


def test_runs_of_two_recipes_are_not_averaged_as_seeds(runs_root, tmp_path):
    first = find([], str(runs_root), "digits")[0]
    other = train(small_config(tmp_path, k2=4.0, epochs=1, encoder_widths=(8,)))
    with pytest.raises(InputError, match=r"runs with k2 1.0 and 4.0 do not compare"):
        find([str(first.path), str(other.path)], "", "")


def test_runs_of_two_widths_are_not_averaged_as_seeds(runs_root, tmp_path):
    first = find([], str(runs_root), "digits")[0]
    other = train(small_config(tmp_path, seed=1, epochs=1, encoder_widths=(9,)))
    with pytest.raises(InputError, match="differ in decoder_widths, encoder_widths"):
        find([str(first.path), str(other.path)], "", "")


def test_runs_of_two_precisions_do_not_compare(runs_root, tmp_path):
    first = find([], str(runs_root), "digits")[0]
    other = tmp_path / "digits" / "linear-d2-s1"
    other.mkdir(parents=True)
    for file in first.path.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    config = other / "config.json"
    there = first.provenance["precision"]
    config.write_text(config.read_text().replace(f'"precision": "{there}"', '"precision": "float16"'))
    with pytest.raises(InputError, match=r"runs made in \w+ and \w+ do not compare"):
        find([str(first.path), str(other)], "", "")


def test_versions_name_what_made_the_runs(runs_root):
    import torch

    assert versions(find([], str(runs_root), "digits"))["torch"] == torch.__version__


def test_a_classifier_is_no_run_of_the_grid(runs_root):
    folder = runs_root / "digits" / "classifier-s0"
    folder.mkdir()
    (folder / "model.safetensors").touch()
    assert len(find([], str(runs_root), "digits")) == 4


def test_runs_of_one_latent_dim(runs_root):
    runs = find([], str(runs_root), "digits")
    assert [title(run) for run in at(runs, 2)] == ["linear, d = 2", "linear, d = 2", "conv, d = 2"]
    assert near(runs, 10) == at(runs, 10)
    assert near(runs, 9) == at(runs, 2)
    with pytest.raises(InputError, match="no run with latent_dim 3 among these, whose latent_dim is 2, 10: add one"):
        at(runs, 3)


def test_measures_are_averaged_over_seeds(runs_root):
    runs = find([], str(runs_root), "digits")
    table = measured(runs, lambda run: {"score": run.config.latent_dim + run.config.seed})
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
