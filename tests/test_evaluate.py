import dataclasses
import importlib
import json
import math
import shutil

import numpy as np
import pytest
import torch
from conftest import EARLIER_RUNS, small_config

from vaelib import InputError, data, evaluate, evaluation, models, train, train_classifier
from vaelib.evaluation import Depth, Inception, by_class, frechet, latents, noises, per_image, read, report, values
from vaelib.training import Run

module = importlib.import_module("vaelib.evaluation.evaluate")  # The room has the function under this name.

DEPTH = Depth(draws=20, images=50, all_draws=4, resamplings=2, paths=12, class_draws=10, embedded=100)
SHALLOW = Depth(draws=1, images=5, resamplings=1, paths=2, class_draws=2, embedded=20)
EARLIER = sorted((EARLIER_RUNS / "digits").iterdir())  # They were made and evaluated before the library had rooms.


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return train_classifier("digits", epochs=4, batch_size=32, runs_root=str(tmp_path_factory.mktemp("classifier")))


class NotHere:
    """Stands for Inception where its weights are not to be had."""

    @classmethod
    def load(cls, weights):
        raise InputError(f"{weights or 'nothing'} is not here")


@pytest.fixture(scope="module")
def measured_run(finished_run, tmp_path_factory):
    """A copy of the finished run that has its measures."""
    return Run.load(shutil.copytree(finished_run.path, tmp_path_factory.mktemp("digits") / finished_run.path.name))


@pytest.fixture(scope="module")
def evaluated(measured_run, classifier, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(module, "Inception", NotHere)
        features, noises = ("classifier", "inception"), ("gaussian:.3", "salt-pepper:0.10")
        return evaluate(measured_run, features=features, depth=DEPTH, noises=noises, classifier=classifier.path)


def test_the_file_holds_what_was_found(evaluated, measured_run):
    assert read(measured_run) == json.loads(json.dumps(evaluated))
    assert values(measured_run)["kl_nats"] == evaluated["measures"]["kl_nats"]["value"]


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
    assert evaluated["measures"]["classifier_prior_fid"]["n"] == 2


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


@pytest.mark.usefixtures("evaluated")
def test_the_cost_at_the_mean_is_that_of_its_picture(measured_run, digits):
    """By torch's Bernoulli, of pictures that are probabilities."""
    pictures = measured_run.model().reconstruct(digits.test_images).double()
    x = data.as_float(digits.test_images)[:, 0].double()
    cost = torch.nn.functional.binary_cross_entropy(pictures, x, reduction="none").flatten(1).sum(1)
    np.testing.assert_allclose(per_image(measured_run)["recon_at_mean_nats"], cost, rtol=1e-4)


def test_the_fid_of_the_prior_is_that_of_its_samples(evaluated, finished_run, classifier, digits):
    model, reference = finished_run.model(), classifier.features(digits.test_images)
    each = [frechet(classifier.features(model.sample(360, seed)), reference) for seed in (0, 1)]
    measure = evaluated["measures"]["classifier_prior_fid"]
    assert measure["value"] == pytest.approx(sum(each) / 2, rel=1e-4)
    assert measure["error"] == pytest.approx(torch.tensor(each).std().item(), rel=1e-2)


def test_the_classifiers_answers_are_among_the_measures(evaluated, finished_run, classifier, digits):
    found, model = evaluated["measures"], finished_run.model()
    before, after = (classifier.names(x) for x in (digits.test_images, model.reconstruct(digits.test_images)))
    assert found["classifier_kept"]["value"] == pytest.approx((before == after).mean())
    assert found["classifier_right"]["value"] == pytest.approx((after == digits.test_labels.numpy()).mean())
    sure = classifier.probabilities(model.sample(360, seed=0)).amax(1).mean()
    assert found["classifier_prior_sure"]["value"] == pytest.approx(sure.item(), rel=1e-5)
    sizes = {"real_sure": 360, "straight_even": 12, "arc_sure": 12, "blended_changes": 12, "hits_full": 100}
    for name, n in sizes.items():
        assert found[f"classifier_{name}"]["n"] == n, name
    assert 0 <= found["classifier_holes"]["value"] <= 1


def test_sharpness_is_of_the_sets_that_fid_is_of(evaluated, measured_run, digits):
    found, model = evaluated["measures"], measured_run.model()
    for name, pictures in {
        "real": digits.test_images, "recon": model.reconstruct(digits.test_images), "prior": model.sample(360, seed=0)
    }.items():  # fmt: skip
        each = evaluation.sharpness(pictures)
        assert found[f"sharpness_{name}"]["value"] == pytest.approx(each.mean().item(), rel=1e-5), name
        np.testing.assert_allclose(per_image(measured_run)[f"sharpness_{name}"], each, rtol=1e-4, err_msg=name)


def test_all_measures_over_images_are_kept_of_each_image(evaluated, measured_run):
    each = per_image(measured_run)
    names = {name for name, one in evaluated["measures"].items() if one["over"] == "images"}
    assert names == set(each)
    for name in names:
        assert each[name].mean() == pytest.approx(evaluated["measures"][name]["value"], rel=1e-4, abs=1e-5), name


def test_the_tables_by_class_are_read_as_arrays(evaluated, measured_run, digits):
    tables = by_class(measured_run)
    assert list(tables) == list(evaluated["by_class"])
    assert tables.pop("names") == list(digits.class_names)
    shapes = {name: table.shape for name, table in tables.items()}
    assert shapes == {
        "length": (10,), "overlap": (10, 10), "centre": (10,), "reconstruction": (10, 10),
        "hits_diagonal": (10,), "hits_full": (10,), "seen_full": (10, 10),
    }  # fmt: skip
    mean = evaluated["measures"]["classifier_hits_full"]["value"]
    assert tables["hits_full"].mean() == pytest.approx(mean)
    np.testing.assert_array_equal(tables["seen_full"].diagonal(), tables["hits_full"])
    for name in ("reconstruction", "seen_full"):
        sums = tables[name].sum(1)
        np.testing.assert_allclose(sums[~np.isnan(sums)], 1, atol=1e-4)
    assert len(str(evaluated["by_class"]["length"][0])) <= 7


@pytest.mark.usefixtures("evaluated")
def test_noise_is_read_as_a_table_with_clean_images_first(measured_run, evaluated):
    table = noises(measured_run)
    assert table.noise.tolist() == ["none", "gaussian:0.3", "salt-pepper:0.1"]
    assert table.kind.tolist() == ["none", "gaussian", "salt-pepper"]
    assert table.level.tolist() == [0, 0.3, 0.1]
    values = ["error", "noisy_error", "median_error", "cost_nats", "accuracy", "noisy_accuracy", "median_accuracy"]
    assert list(table)[3:] == values
    clean = table.iloc[0]
    assert clean.cost_nats == pytest.approx(evaluated["measures"]["recon_at_mean_nats"]["value"], rel=1e-5)
    assert clean.accuracy == pytest.approx(evaluated["measures"]["classifier_right"]["value"])
    shown = report(evaluated)
    assert "restored from noise" in shown
    assert "salt-pepper:0.1" in shown


def test_a_record_is_read_as_the_run_that_it_is_of(evaluated, measured_run, tmp_path):
    record = tmp_path / measured_run.path.name
    record.mkdir()
    for name in ("config.json", "history.csv", "metrics.json"):
        shutil.copy(measured_run.path / name, record)
    (record / "weights.sha256").write_text(f"{measured_run.weights_sha256}\n")
    loaded = Run.load(record)
    assert read(loaded) == json.loads(json.dumps(evaluated))
    assert values(loaded) == values(measured_run)
    assert noises(loaded).equals(noises(measured_run))
    for name, table in by_class(loaded).items():
        np.testing.assert_array_equal(table, by_class(measured_run)[name])
    with pytest.raises(InputError, match="is a record, without weights"):
        evaluate(loaded, features=(), depth=SHALLOW)
    (record / "weights.sha256").write_text("0")
    with pytest.raises(InputError, match="was measured of other weights"):
        by_class(loaded)


def test_without_a_network_codes_and_sharpness_are_measured(run):
    found = evaluate(run, features=(), depth=SHALLOW)
    names = {
        "knn",
        "purity",
        "pca_knn",
        "pca_purity",
        *(f"sharpness_{s}" for s in ("real", "recon", "prior", "mixture")),
    }
    assert names <= set(found["measures"])
    assert not [name for name in found["measures"] if name.startswith("classifier")]
    assert list(by_class(run)) == ["names", "length", "overlap"]
    assert found["noise"] == {}
    with pytest.raises(InputError, match=r"nothing of noise: vaelib evaluate .* --noise salt-pepper:0.1 measures it"):
        noises(run)


def test_a_wrong_noise_is_refused_before_anything_is_measured(run):
    with pytest.raises(InputError, match="noise 'pepper': accepted are salt-pepper:P and gaussian:SD"):
        evaluate(run, features=(), depth=SHALLOW, noises=("salt-pepper:0.1", "pepper"))
    assert not (run.path / "metrics.json").exists()


def test_real_images_score_better_than_a_models(evaluated):
    found = {name: one["value"] for name, one in evaluated["measures"].items()}
    for name in ("reconstructions", "prior", "mixture"):
        assert found["classifier_real_fid"] < found[f"classifier_{name}_fid"]
    assert found["classifier_real_kid"] < found["classifier_prior_kid"]


def test_the_table_names_what_is_missing(evaluated):
    text = report(evaluated)
    assert "inception is missing: nothing is not here" in text
    for name in evaluated["measures"]:
        assert name in text


@pytest.mark.parametrize(("draws", "counts"), [(1, [1]), (50, [1, 10, 50]), (1000, [1, 10, 100, 1000]), (64, [1, 64])])
def test_the_bounds_are_of_powers_of_ten_and_of_all_draws(draws, counts):
    assert module.powers_of_ten(draws) == counts


def test_a_run_is_given_as_it_is_or_by_its_path(run):
    first = evaluate(run, features=(), depth=SHALLOW)
    for again in (run.path, str(run.path)):
        assert evaluate(again, features=(), depth=SHALLOW) == first


def test_inception_goes_the_same_way(finished_run, digits, tmp_path, monkeypatch):
    """With a network of eight features in its place, as the real one takes minutes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    class Small(torch.nn.Module):
        def forward(self, x):
            return [torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)[:, :8, None, None]]

    model = finished_run.model()
    sets = module.draw_sets(model, digits, latents.encode(model, digits), 1)
    content = module.of_samples(module.features_of(sets, digits, Inception(Small(), "0"), 1))
    assert content["prior_fid"]["n"] == 1
    assert content["prior_fid"]["value"] > content["real_fid"]["value"]
    assert "prior_fid_1024" not in content  # There are 360 images.


def test_sets_are_as_large_as_the_split_and_of_its_classes(finished_run, digits):
    model = finished_run.model()
    codes = latents.encode(model, digits)
    sets = module.draw_sets(model, digits, codes, 2)
    assert {name: len(draws) for name, draws in sets.items()} == {"prior": 2, "mixture": 2, "reconstructions": 1}
    for name, draws in sets.items():
        for pictures in draws:
            assert len(pictures) == 360, name
    assert abs(len(module.draw_classes(model, digits, codes)) - 360) <= 5
    assert not sets["prior"][0].equal(sets["prior"][1])


def test_the_legacy_fid_is_of_1024_at_random(monkeypatch):
    """A test file in the order of its writers must not decide it."""
    monkeypatch.setattr(module.samples, "KID_SUBSETS", 2)
    generator = torch.Generator().manual_seed(0)
    ordered = torch.cat([torch.randn(1000, 4, generator=generator), torch.randn(1000, 4, generator=generator) + 3])

    class Given:
        sha256 = "given"

        def features(self, images):
            return images.reshape(len(images), -1)[:, :4]

    everything = torch.zeros(2000, 1, 28, 28)
    everything[:, 0, 0, :4] = ordered
    labels = torch.zeros(2000, dtype=torch.long)
    split = data.ImageData("given", everything, labels, everything, labels, ("one",))
    shuffled = everything[torch.randperm(2000, generator=generator), 0]
    found = module.of_samples(module.features_of({"prior": [shuffled]}, split, Given(), 1))
    assert found["prior_fid_1024"]["value"] < 0.2
    assert frechet(ordered[:1024], ordered) > 1


def test_a_run_of_other_images_is_refused(finished_run, digits):
    other = dataclasses.replace(digits, train_images=digits.train_images.flip(0))
    with pytest.raises(InputError, match="learnt other images than this digits"):
        evaluate(finished_run, images=other)


def test_a_run_that_held_images_out_is_measured_on_them(tmp_path):
    run = train(small_config(tmp_path, epochs=1, held_out=100))
    found = evaluate(run, features=(), depth=dataclasses.replace(SHALLOW, draws=2))
    assert found["split"] == "validation"
    assert found["measures"]["negative_elbo_nats"]["n"] == 100
    assert found["measures"]["negative_elbo_nats"]["value"] == pytest.approx(
        run.final()["negative_elbo_nats"], rel=1e-5
    )


def test_of_too_few_training_images_the_likelihood_is_kept(tmp_path, classifier, monkeypatch):
    """Two of the digits' 1,437 training images are left: too few for a Gaussian of each class."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = train(small_config(tmp_path, epochs=1, held_out=1435))
    found = evaluate(run, depth=SHALLOW, classifier=classifier.path)
    assert found["measures"]["negative_elbo_nats"]["n"] == 1435
    assert not [name for name in found["measures"] if name.startswith("classifier")]
    assert found["networks"] == {}
    assert found["missing"].keys() == {"classifier"}
    assert "a Gaussian needs two images at least" in found["missing"]["classifier"]
    assert "classifier is missing: class" in report(read(run))


def test_of_a_single_image_the_likelihood_is_kept(tmp_path, classifier, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = train(small_config(tmp_path, epochs=1, held_out=1))
    found = evaluate(run, depth=SHALLOW, classifier=classifier.path)
    assert found["measures"]["negative_elbo_nats"]["n"] == 1
    assert found["measures"]["negative_elbo_nats"]["error"] is None
    assert found["variance_by_dimension"] == [0, 0]
    assert found["missing"].keys() == {"classifier"}
    assert read(run) == found


def test_without_a_cache_folder_it_goes_on_with_a_warning(evaluated, run, classifier, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    with pytest.warns(UserWarning, match="features are not kept for the next time"):
        found = evaluate(run, depth=DEPTH, classifier=classifier.path)
    for name in ("classifier_prior_fid", "classifier_real_fid", "l20_nats"):
        assert found["measures"][name]["value"] == pytest.approx(evaluated["measures"][name]["value"], rel=1e-6)


def test_unknown_features_are_refused(run):
    with pytest.raises(InputError, match="features 'resnet': accepted are classifier and inception"):
        evaluate(run, features=("classifier", "resnet"), depth=SHALLOW)
    assert not (run.path / "metrics.json").exists()


def test_a_network_that_is_given_must_be_there(run, tmp_path, monkeypatch, classifier):
    monkeypatch.setattr(module, "Inception", NotHere)
    with pytest.raises(InputError, match="/gone holds no trained classifier"):
        evaluate(run, classifier=tmp_path / "gone", depth=SHALLOW)
    with pytest.raises(InputError, match="weights is not here"):
        evaluate(run, features=["inception"], inception_weights="weights", depth=SHALLOW)
    other = shutil.copytree(classifier.path, tmp_path / "other")
    config = other / "config.json"
    config.write_text(config.read_text().replace(classifier.provenance["data_sha256"], "0"))
    with pytest.raises(InputError, match=f"{other} learnt digits: wanted is one that learnt this digits"):
        evaluate(run, classifier=other, depth=SHALLOW)


def test_a_classifier_is_looked_for_beside_the_run(run, classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(run.path.parent)
    there = run.path.resolve().parent / "classifier-s0"
    missing = evaluate(run.path.name, depth=SHALLOW)["missing"]
    assert missing["classifier"].startswith(f"no trained classifier in {there}: vaelib classifier --dataset digits")
    shutil.copytree(classifier.path, there)
    found = evaluate(run.path.name, depth=SHALLOW)
    assert found["missing"] == {}
    assert found["networks"] == {"classifier": classifier.facts()}


def test_own_images_are_measured_like_known_ones(tmp_path, generator, monkeypatch):
    """Three classes of 8x8, from arrays: bright above, below, or everywhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    labels = torch.arange(420) % 3
    images = torch.rand(420, 8, 8, generator=generator) / 2
    images[labels != 0, :4] += 0.5
    images[labels != 1, 4:] += 0.5
    own = data.from_arrays(images[:270], labels[:270], images[270:], labels[270:], name="own")
    run = train(dataset=own, epochs=2, encoder_widths=(8,), runs_root=str(tmp_path / "runs"))
    train_classifier(own, epochs=2, batch_size=32, runs_root=str(tmp_path / "runs"))
    with pytest.raises(InputError, match="is not there"):
        evaluate(run, depth=SHALLOW)
    found = evaluate(run, depth=SHALLOW, images=own)
    assert found["missing"] == {}
    nats, bits = (found["measures"][name]["value"] for name in ("negative_elbo_nats", "bits_per_pixel"))
    assert bits == pytest.approx(nats / (64 * math.log(2)))
    x = own.test_images.double() / 255
    entropy = torch.distributions.Bernoulli(x).entropy().sum() / len(x)
    assert found["entropy_floor_nats"] == pytest.approx(entropy.item(), rel=1e-5)
    assert found["measures"]["classifier_real_fid"]["value"] < found["measures"]["classifier_prior_fid"]["value"]


def test_what_an_earlier_evaluation_found_is_kept(run, classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    deep = dataclasses.replace(SHALLOW, all_draws=2)
    first = evaluate(run, depth=deep, noises=("salt-pepper:0.1",), classifier=classifier.path)
    again = evaluate(run, depth=SHALLOW, noises=("gaussian:0.1",))
    for name in ("classifier_prior_fid", "classifier_hits_full", "all_l2_nats"):
        assert again["measures"][name] == first["measures"][name]
    assert again["by_class"] == first["by_class"]
    assert again["noise"].keys() == {"none", "salt-pepper:0.1", "gaussian:0.1"}
    for level in ("none", "salt-pepper:0.1"):
        assert again["noise"][level] == first["noise"][level]
    assert "accuracy" not in again["noise"]["gaussian:0.1"]
    assert again["networks"]["classifier"] == classifier.facts()
    assert again["missing"] == {}
    assert set(per_image(run)) >= {"negative_elbo_nats", "l1_nats"}


def test_what_another_classifier_said_of_noise_is_not_kept(run, classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = evaluate(run, depth=SHALLOW, noises=("",), classifier=classifier.path)
    assert "accuracy" in first["noise"]["none"]
    other = shutil.copytree(classifier.path, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["provenance"]["test_accuracy"] = 0.5
    (other / "config.json").write_text(json.dumps(config))
    again = evaluate(run, depth=SHALLOW, classifier=other)
    kept = {name: one for name, one in first["noise"]["none"].items() if not name.endswith("accuracy")}
    assert again["noise"] == {"none": kept}
    assert len(kept) == 4


def test_a_model_that_returns_no_number_is_refused(run, monkeypatch):
    before = {file: file.read_bytes() for file in run.path.iterdir()}
    monkeypatch.setattr(module.likelihood, "bits_per_pixel", lambda nats, pixels: nats * float("nan"))
    with pytest.raises(InputError, match="a measure is not a number"):
        evaluate(run, features=(), depth=SHALLOW)
    assert {file: file.read_bytes() for file in run.path.iterdir()} == before


def test_a_run_that_was_not_evaluated_is_named(run):
    with pytest.raises(InputError, match=r"has no metrics.json: vaelib evaluate .* makes it"):
        read(run)
    with pytest.raises(InputError, match=r"metrics.npz cannot be read: vaelib evaluate .* makes it"):
        per_image(run)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"weights_sha256": "other", "measures": {"a": 1}}', "was measured of other weights"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"weights_sha256": "SHA", "measures": {}}', "has no measures"),
    ],
)
def test_metrics_that_are_not_this_runs_are_refused(text, expected, run):
    (run.path / "metrics.json").write_text(text.replace("SHA", run.weights_sha256))
    with pytest.raises(InputError, match=rf"^{run.path}/metrics.json {expected}.*vaelib evaluate"):
        read(run)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_measures_of_each_image_that_cannot_be_read_are_named(content, run):
    (run.path / "metrics.npz").write_bytes(content)
    with pytest.raises(InputError, match=rf"^{run.path}/metrics.npz cannot be read: vaelib evaluate"):
        per_image(run)


def test_torn_measures_of_each_image_are_named(run):
    file = run.path / "metrics.npz"
    np.savez_compressed(file, kl_nats=np.random.default_rng(0).random(500))
    content = bytearray(file.read_bytes())
    content[1000:1100] = bytes(100)
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"^{file} cannot be read: vaelib evaluate"):
        per_image(run)


def test_an_unfinished_run_is_called_so(run):
    (run.path / "model.safetensors").unlink()
    for measure in (read, evaluate):
        with pytest.raises(InputError, match=rf"^{run.path} is not finished"):
            measure(run)


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.name[:12])
def test_metrics_of_earlier_runs_are_read_in_todays_words(path):
    """They called the classifier mnist, whatever it had learnt."""
    run, stored = Run.load(path), json.loads((path / "metrics.json").read_text())
    content = read(run)
    names = [name.replace("mnist_", "classifier_") for name in stored["measures"]]
    assert "classifier_prior_fid" in names
    assert list(content["measures"].values()) == list(stored["measures"].values())
    assert list(content["measures"]) == list(values(run)) == names
    assert content["networks"] == {"classifier": stored["networks"]["mnist"]}
    assert "classifier_prior_fid" in report(content)
    assert evaluation.bound_counts(content) == [1, 10]
    for name, each in per_image(run).items():
        assert each.mean() == pytest.approx(content["measures"][name]["value"], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.name[:12])
def test_earlier_runs_have_no_tables_by_class(path):
    with pytest.raises(InputError, match=rf"nothing by class: vaelib evaluate {path} measures it"):
        by_class(Run.load(path))


def test_what_earlier_runs_lacked_is_named_in_todays_words(run):
    content = {"weights_sha256": run.weights_sha256, "measures": {"kl_nats": {}}, "networks": {}}
    (run.path / "metrics.json").write_text(json.dumps(content | {"missing": {"mnist": "none", "inception": "none"}}))
    assert read(run)["missing"] == {"classifier": "none", "inception": "none"}


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.name[:12])
def test_earlier_weights_are_measured_today_as_they_were(path, tmp_path, monkeypatch):
    run = Run.load(shutil.copytree(path, tmp_path / "digits" / path.name))
    stored, each = read(run), per_image(run)
    (run.path / "metrics.json").unlink()
    monkeypatch.setattr(module, "pick_precision", lambda *_: stored["draws_decoded_in"])
    found = evaluate(run, features=(), depth=Depth(10, 50, 0, 2, embedded=20))
    nats = [name for name in stored["measures"] if name.endswith("_nats")]
    assert {name for name in found["measures"] if name.endswith("_nats")} == set(nats)
    assert len(nats) == 11
    for name in nats:
        assert found["measures"][name]["value"] == pytest.approx(stored["measures"][name]["value"], abs=1e-3), name
    np.testing.assert_allclose(per_image(run)["negative_elbo_nats"], each["negative_elbo_nats"], atol=1e-2)
    assert models.count_parameters(run.model()) == run.provenance["parameters"]
