import dataclasses
import json

import pytest
import torch
from conftest import small_config

from vaelib import InputError, classifier_training, evaluation, latent, measures, quality
from vaelib.training import train

DEPTH = measures.Depth(draws=20, images=50, all_draws=4, resamplings=2)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return classifier_training.train("digits", epochs=4, batch_size=32, runs_root=str(tmp_path_factory.mktemp("judge")))


@pytest.fixture(scope="module")
def evaluated(finished_run, judge, digits, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield evaluation.evaluate(finished_run, digits, {"mnist": judge}, {"inception": "not here"}, DEPTH)
    patch.undo()
    for name in ("metrics.json", "metrics.npz"):
        (finished_run.path / name).unlink()


def test_the_file_holds_what_was_found(evaluated, finished_run):
    assert evaluation.read(finished_run) == json.loads(json.dumps(evaluated))
    assert evaluation.values(finished_run)["kl_nats"] == evaluated["measures"]["kl_nats"]["value"]


def test_the_elbo_is_the_one_that_training_ended_with(evaluated, finished_run):
    final, found = finished_run.final(), evaluated["measures"]
    for name in ("recon_nats", "kl_nats", "negative_elbo_nats"):
        assert found[name]["value"] == pytest.approx(final[name], rel=1e-5)
        assert (found[name]["n"], found[name]["over"]) == (360, "images")


def test_every_measure_has_its_error_or_is_taken_once(evaluated):
    for name, one in evaluated["measures"].items():
        assert set(one) == {"value", "error", "n", "over"}, name
        assert (one["error"] is None) == (one["n"] == 1), name
    assert evaluated["measures"]["l20_nats"]["n"] == 50
    assert evaluated["measures"]["all_l4_nats"]["n"] == 360
    assert evaluated["measures"]["mnist_prior_fid"]["n"] == 2


def test_bounds_and_gap_belong_together(evaluated):
    found = {name: one["value"] for name, one in evaluated["measures"].items()}
    assert found["l1_nats"] < found["l10_nats"] < found["l20_nats"]
    assert found["gap_nats"] == pytest.approx(found["l20_nats"] - found["l1_nats"])
    assert found["negative_bound_nats"] == pytest.approx(found["negative_elbo_nats"] - found["gap_nats"])
    assert evaluation.bound_counts(evaluated) == [1, 10, 20]
    assert 1 <= found["effective_samples"] <= 20
    assert found["recon_at_mean_nats"] < found["recon_nats"]
    floor = found["recon_nats"] - found["recon_above_floor_nats"]
    assert floor == pytest.approx(evaluated["entropy_floor_nats"])
    assert sum(evaluated["kl_by_dimension"]) == pytest.approx(found["kl_nats"], rel=1e-4)
    parts = found["mutual_information_nats"] + found["marginal_kl_nats"]
    assert parts == pytest.approx(found["kl_nats"], rel=0.1)
    assert found["mutual_information_nats"] <= evaluated["log_images"]


def test_the_fid_of_the_prior_is_that_of_its_samples(evaluated, finished_run, judge, digits):
    each = [
        quality.fid(
            judge.features(latent.sample_prior(finished_run.model(), 2, 360, seed)), judge.features(digits.test_images)
        )
        for seed in (0, 1)
    ]
    measure = evaluated["measures"]["mnist_prior_fid"]
    assert measure["value"] == pytest.approx(sum(each) / 2, rel=1e-4)
    assert measure["error"] == pytest.approx(torch.tensor(each).std().item(), rel=1e-2)


def test_real_images_score_better_than_a_models(evaluated):
    found = {name: one["value"] for name, one in evaluated["measures"].items()}
    for name in ("reconstructions", "prior", "mixture"):
        assert found["mnist_real_fid"] < found[f"mnist_{name}_fid"]
    assert found["mnist_real_kid"] < found["mnist_prior_kid"]


def test_the_table_names_what_is_missing(evaluated):
    text = evaluation.as_text(evaluated)
    assert "inception is missing: not here" in text
    for name in evaluated["measures"]:
        assert name in text


def test_a_run_of_other_images_is_refused(finished_run, digits, judge):
    other = dataclasses.replace(digits, train_images=digits.train_images.flip(0))
    with pytest.raises(InputError, match="learnt other images than this digits"):
        evaluation.evaluate(finished_run, other, {})


def test_a_run_that_held_images_out_is_measured_on_them(tmp_path, digits):
    run = train(small_config(tmp_path, epochs=1, held_out=100))
    found = evaluation.evaluate(run, digits, {}, depth=measures.Depth(draws=2, images=5))
    assert found["split"] == "validation"
    assert found["measures"]["negative_elbo_nats"]["n"] == 100
    assert found["measures"]["negative_elbo_nats"]["value"] == pytest.approx(
        run.final()["negative_elbo_nats"], rel=1e-5
    )


def test_what_an_earlier_evaluation_found_is_kept(run, digits, judge, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shallow = measures.Depth(draws=1, images=5, resamplings=1)
    first = evaluation.evaluate(run, digits, {"mnist": judge}, depth=dataclasses.replace(shallow, all_draws=2))
    again = evaluation.evaluate(run, digits, {}, {"mnist": "not here"}, shallow)
    for name in ("mnist_prior_fid", "all_l2_nats"):
        assert again["measures"][name] == first["measures"][name]
    assert again["networks"]["mnist"] == judge.facts()
    assert again["missing"] == {}
    assert set(evaluation.per_image(run)) >= {"negative_elbo_nats", "l1_nats"}


def test_a_model_that_returns_no_number_is_refused(run, digits, monkeypatch):
    before = {file: file.read_bytes() for file in run.path.iterdir()}
    monkeypatch.setattr(measures.likelihood, "bits_per_pixel", lambda nats: nats * float("nan"))
    with pytest.raises(InputError, match="a measure is not a number"):
        evaluation.evaluate(run, digits, {}, depth=measures.Depth(draws=1, images=5))
    assert {file: file.read_bytes() for file in run.path.iterdir()} == before
