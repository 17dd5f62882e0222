import json
import math
import shutil

import numpy as np
import pytest
from conftest import small_config

from vaelib import evaluation, results
from vaelib.config import InputError
from vaelib.evaluation import Depth, evaluate
from vaelib.results import findings
from vaelib.training import train, train_classifier

DEPTH = Depth(draws=2, images=20, resamplings=1, paths=10, class_draws=4, embedded=60)


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    """Two seeds of one model, the weights of its losses changed, noise, and the first steps of two trainings."""
    root = tmp_path_factory.mktemp("edition")
    classifier = train_classifier("digits", epochs=1, runs_root=str(root / "runs")).path

    def trained(folder, noises=(), **settings):
        run = train(small_config(root / folder, encoder_widths=(8,), **settings))
        evaluate(run, depth=DEPTH, noises=noises, classifier=classifier)
        return run

    noises = ["salt-pepper:0.1"]
    grid = [trained("runs", noises, seed=seed) for seed in (0, 1)]
    studies = {
        "weights": {"1, 1": grid, "beta 4": [trained("studies", seed=seed, k2=4.0) for seed in (0, 1)]},
        "noise": {"clean": grid, "noisy": [trained("studies", noises, seed=0, noise="salt-pepper:0.1")]},
        "start": {"2 epochs": [train(small_config(root / "studies", seed=9, log_steps=True))]},
    }
    studies["weights"]["KL warm-up"] = [trained("studies", seed=0, kl_warmup=1)]
    for name, arms in studies.items():
        paths = {arm: [f"../{run.path.relative_to(root)}" for run in runs] for arm, runs in arms.items()}
        (root / "studies" / f"{name}.json").write_text(json.dumps({"linear": paths}))
    return root, grid


def test_the_tables_are_those_of_the_runs(edition):
    root, grid = edition
    evidence = results.gather(grid, str(root / "studies"))
    assert evidence.grid.seed.tolist() == [0, 1]
    assert evidence.grid.kl_nats.tolist() == [evaluation.values(run)["kl_nats"] for run in grid]
    assert evidence.classes.names.iloc[0] == [str(digit) for digit in range(10)]
    assert np.allclose(evidence.classes.length.iloc[1], evaluation.by_class(grid[1])["length"])
    history = grid[1].history()
    own = evidence.histories[evidence.histories.seed == 1]
    assert own.kl.tolist() == history[history.split == "test"].kl.tolist()
    assert evidence.log_images == pytest.approx(math.log(360))


def test_runs_with_a_warm_up_are_no_point_of_a_beta_sweep(edition):
    root, grid = edition
    weights = results.gather(grid, str(root / "studies")).weights
    assert sorted(zip(weights.k2, weights.seed, strict=True)) == [(1, 0), (1, 1), (4, 0), (4, 1)]
    assert set(weights.k1) == {1}


def test_noise_has_a_row_for_each_training_and_level(edition):
    root, grid = edition
    noise = results.gather(grid, str(root / "studies")).noise
    assert set(zip(noise.trained, noise.noise, strict=True)) == {
        (trained, tested) for trained in ("", "salt-pepper:0.1") for tested in ("none", "salt-pepper:0.1")
    }
    assert len(noise) == 6


def test_steps_are_those_of_the_first_epoch(edition):
    root, grid = edition
    steps = results.gather(grid, str(root / "studies")).steps
    assert set(steps.epoch) == {1}
    assert steps.step.tolist() == list(range(1, math.ceil(1437 / 128) + 1))


def test_studies_that_are_not_there_leave_their_claims_open(edition, tmp_path):
    _, grid = edition
    evidence = results.gather(grid, str(tmp_path))
    assert evidence.weights is evidence.noise is evidence.steps is evidence.equal is evidence.sized is None
    verdicts = {claim.verdict for claim in findings.decided(evidence)}
    assert verdicts == {"not decided"}  # two seeds are too few for any


def test_a_run_without_measures_is_named(edition, tmp_path):
    _, grid = edition
    shutil.copytree(grid[0].path, tmp_path / "runs" / "digits" / grid[0].path.name)
    copy = type(grid[0]).load(tmp_path / "runs" / "digits" / grid[0].path.name)
    (copy.path / "metrics.json").unlink()
    with pytest.raises(InputError, match="vaelib evaluate"):
        results.gather([copy], str(tmp_path))


def test_sizes_without_pairs_leave_their_claims_open_and_a_damaged_file_is_named(edition, tmp_path):
    _, grid = edition
    file = tmp_path / "sizes.json"
    file.write_text('{"equal": [], "sized": []}')
    assert results.gather(grid, str(tmp_path)).equal is None
    file.write_text('{"equal": [')
    with pytest.raises(InputError, match=r"sizes\.json cannot be read"):
        results.gather(grid, str(tmp_path))
