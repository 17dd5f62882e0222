import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from vaelib import latent, train_classifier
from vaelib.data import as_float
from vaelib.evaluation import classified, latents


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return train_classifier("digits", epochs=1, batch_size=32, runs_root=str(tmp_path_factory.mktemp("classifier")))


@pytest.fixture(scope="module")
def model(finished_run):
    return finished_run.model()


@pytest.fixture(scope="module")
def codes(model, digits):
    return latents.encode(model, digits)


def without(images, label, keep=0):
    """The set with so many training images of that class alone."""
    own = (images.train_labels == label).nonzero()[:, 0]
    some = torch.ones(len(images.train_labels), dtype=torch.bool)
    some[own[keep:]] = False
    parts = dict(train_images=images.train_images[some], train_labels=images.train_labels[some])
    return dataclasses.replace(images, **parts), some


def test_a_model_that_draws_one_picture_keeps_the_labels_of_that_picture(classifier, digits):
    """Every image becomes the first test image."""
    same = digits.test_images[:1].expand(360, -1, -1, -1)
    sets = {"reference": digits.test_images, "prior": same, "mixture": same[:7], "reconstructions": same}
    features = {name: classifier.features(pictures) for name, pictures in sets.items()}
    found = classified.of_images(classifier, features, digits.test_labels)
    named, (seen,) = classifier.names(digits.test_images), classifier.names(digits.test_images[:1])
    assert found["kept"].tolist() == [float(name == seen) for name in named]
    assert found["right"].tolist() == [float(label == seen) for label in digits.test_labels.tolist()]
    assert not found["kept"].equal(found["right"])  # The classifier errs somewhere.
    probabilities = classifier.probabilities(digits.test_images)
    torch.testing.assert_close(found["real_sure"], probabilities.max(1).values)
    torch.testing.assert_close(found["mixture_sure"], probabilities[0].max().expand(7), rtol=1e-4, atol=1e-6)


def test_images_that_are_returned_as_they_are_keep_all_labels(classifier, digits):
    features = dict.fromkeys(
        ("reference", "prior", "mixture", "reconstructions"), classifier.features(digits.test_images)
    )
    found = classified.of_images(classifier, features, digits.test_labels)
    assert found["kept"].mean() == 1
    assert found["right"].mean().item() == pytest.approx(classifier.accuracy)


def test_paths_are_scored_as_the_book_scores_them(model, codes, classifier, digits):
    found = classified.of_paths(model, codes.mu, digits, classifier, 40)
    ends = latent.pairs(digits.test_labels, 40, seed=0)
    x = as_float(digits.test_images)[:, 0]
    tables = {
        "straight": latent.model_scores(model, digits, ends, latent.lerp, classifier, 9),
        "arc": latent.model_scores(model, digits, ends, latent.slerp, classifier, 9),
        "blended": latent.scores(latent.lerp(*x[ends].unbind(1), 9), classifier, digits.train_images).mean(),
    }
    assert len(found) == 12
    for kind, table in tables.items():
        for score, name in classified.SCORES.items():
            assert found[f"{kind}_{name}"]["value"] == pytest.approx(table[score], rel=1e-4), (kind, name)
            assert (found[f"{kind}_{name}"]["n"], found[f"{kind}_{name}"]["over"]) == (40, "paths")


def test_the_error_over_paths_is_that_of_their_mean(model, codes, classifier, digits):
    found = classified.of_paths(model, codes.mu, digits, classifier, 30)["straight_nearest"]
    start, end = codes.mu[latent.pairs(digits.test_labels, 30, seed=0)].unbind(1)
    each = latent.scores(latent.decoded(model, latent.lerp(start, end, 9)), classifier, digits.train_images).nearest
    assert found["error"] == pytest.approx(each.std() / 30**0.5, rel=1e-5)


def test_images_of_one_class_have_no_paths(model, codes, classifier, digits):
    one = dataclasses.replace(digits, test_labels=torch.zeros(360, dtype=torch.long))
    assert classified.of_paths(model, codes.mu, one, classifier, 5) == {}


def test_holes_are_those_of_the_books_map(model, codes, classifier, digits):
    found = classified.of_holes(model, codes, classifier)
    expected = latent.holes(model, digits.test_images, classifier)
    assert {name: one["value"] for name, one in found.items()} == {
        "holes": expected["holes"], "holes_inside": expected["inside"], "holes_outside": expected["outside"]
    }  # fmt: skip


def test_where_there_are_no_holes_nothing_is_said_of_their_inside(model, codes, classifier):
    """All images encoded to the prior itself."""
    prior = latents.Codes(*[torch.zeros_like(codes.mu)] * 4)
    found = classified.of_holes(model, prior, classifier)
    assert found["holes"]["value"] == 0
    assert set(found) == {"holes", "holes_outside"}


def test_draws_of_a_class_are_named_as_the_book_names_them(model, codes, classifier, digits):
    found, tables = classified.of_class_draws(model, codes, digits, classifier, 20)
    asked = np.repeat(np.arange(10), 20)
    for kind in ("diagonal", "full"):
        drawn = latent.sample_classes(model, digits, list(range(10)), 20, 1, kind == "diagonal")
        counts = confusion_matrix(asked, classifier.names(drawn), labels=range(10))
        assert found[f"hits_{kind}"]["value"] == pytest.approx(counts.trace() / 200)
        assert (found[f"hits_{kind}"]["n"], found[f"hits_{kind}"]["over"]) == (200, "draws")
        np.testing.assert_allclose(tables[f"hits_{kind}"], counts.diagonal() / 20)
    np.testing.assert_allclose(tables["seen_full"], counts / 20)


def test_a_class_of_one_training_image_is_not_drawn(model, codes, classifier, digits):
    images, some = without(digits, 4, keep=1)
    own = codes._replace(train_mu=codes.train_mu[some], train_logvar=codes.train_logvar[some])
    found, tables = classified.of_class_draws(model, own, images, classifier, 5)
    assert found["hits_full"]["n"] == 45
    for table in tables.values():
        assert np.isnan(table.reshape(10, -1)).any(1).nonzero()[0].tolist() == [4]


def test_of_classes_of_one_training_image_alone_nothing_is_drawn(model, codes, classifier, digits):
    first = dataclasses.replace(digits, train_images=digits.train_images[:2], train_labels=torch.tensor([0, 1]))
    own = codes._replace(train_mu=codes.train_mu[:2], train_logvar=codes.train_logvar[:2])
    assert classified.of_class_draws(model, own, first, classifier, 5) == ({}, {})


def test_the_tables_by_class_are_shares(model, codes, classifier, digits):
    sets = {"reference": digits.test_images, "reconstructions": model.decode(codes.mu)}
    features = {name: classifier.features(pictures) for name, pictures in sets.items()}
    tables = classified.by_class(model, features, classifier)
    before, after = (classifier.names(pictures) for pictures in sets.values())
    np.testing.assert_allclose(tables["reconstruction"], confusion_matrix(before, after, normalize="true"))
    np.testing.assert_allclose(tables["reconstruction"].sum(1), 1)
    most = tables["centre"].argmax()
    assert tables["centre"].sum() == pytest.approx(1, abs=1e-5)
    assert latent.centre(model, classifier, digits.class_names) == f"{most} ({tables['centre'][most]:.0%})"


def test_a_share_of_nothing_is_not_a_number():
    rows, columns = torch.tensor([0, 0, 0, 2]), torch.tensor([0, 0, 1, 0])
    expected = [[2 / 3, 1 / 3, 0], [np.nan] * 3, [1, 0, 0]]
    np.testing.assert_allclose(classified.shares(rows, columns, 3), expected)
