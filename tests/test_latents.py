import dataclasses

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from vaelib import latent, models
from vaelib.config import TrainingConfig
from vaelib.evaluation import latents


@pytest.fixture(scope="module")
def codes(digits):
    """The digits' codes by an untrained encoder of four dimensions: what it keeps of the pixels tells classes apart."""
    torch.manual_seed(0)
    model = models.build(TrainingConfig(dataset="digits", latent_dim=4, encoder_widths=(16,)))
    return latents.encode(model.eval(), digits)


@pytest.fixture(scope="module")
def found(codes, digits):
    return latents.separation(codes, digits, embedded=120)


def test_both_splits_are_encoded(codes, digits):
    assert [len(each) for each in codes] == [len(digits.train_images)] * 2 + [len(digits.test_images)] * 2
    assert codes.mu.shape[1] == 4


def test_codes_are_named_by_the_first_labelled_training_images(codes, digits, found):
    nearest = KNeighborsClassifier(5).fit(codes.train_mu[:1000], digits.train_labels[:1000])
    assert found["knn"]["value"] == nearest.score(codes.mu, digits.test_labels)
    clusters = KMeans(10, n_init=4, random_state=0).fit_predict(codes.mu)
    most = sum(np.bincount(digits.test_labels[clusters == cluster]).max() for cluster in range(10))
    assert found["purity"]["value"] == most / 360


def test_the_control_is_as_many_principal_components_of_the_pixels(digits, found):
    x, test_x = (images.flatten(1).numpy() / 255 for images in (digits.train_images, digits.test_images))
    components = PCA(4, svd_solver="full").fit(x)
    nearest = KNeighborsClassifier(5).fit(components.transform(x[:1000]), digits.train_labels[:1000])
    expected = nearest.score(components.transform(test_x), digits.test_labels)
    assert expected > 0.7
    assert found["pca_knn"]["value"] == pytest.approx(expected, abs=1 / 360)
    assert 0.3 < found["pca_purity"]["value"] <= 1


def test_the_picture_is_of_the_first_images(codes, digits, found):
    z, labels = codes.mu[:120].numpy(), digits.test_labels[:120].numpy()
    plane = latent.tsne(z, 30)
    assert found["tsne_purity"]["value"] == latent.purity(plane, labels)
    assert found["tsne_trustworthiness"]["value"] == latent.trustworthiness(z, plane)
    assert found["pca_trustworthiness"]["value"] == latent.trustworthiness(z, latent.pca(z))


def test_two_dimensions_need_no_picture(codes, digits):
    flat = latents.Codes(*(each[:, :2] for each in codes))
    assert list(latents.separation(flat, digits, 120)) == ["knn", "purity", "pca_knn", "pca_purity"]


@pytest.mark.parametrize("embedded", [1, 3])
def test_fewer_than_four_images_have_no_picture(codes, digits, embedded):
    assert "tsne_purity" not in latents.separation(codes, digits, embedded)


def test_codes_that_all_coincide_have_no_picture(codes, digits):
    still = latents.Codes(*(torch.zeros_like(each) for each in codes))
    found = latents.separation(still, digits, 120)
    assert "tsne_purity" not in found
    assert found["purity"]["value"] == pytest.approx(digits.test_labels.bincount().max().item() / 360)


def test_a_set_smaller_than_what_is_asked_is_used_whole(codes, digits):
    few = dataclasses.replace(digits, test_images=digits.test_images[:9], test_labels=digits.test_labels[:9])
    own = codes._replace(mu=codes.mu[:9], logvar=codes.logvar[:9])
    assert latents.separation(own, few, 2000) == latents.separation(own, few, 9)
    assert "tsne_trustworthiness" in latents.separation(own, few, 2000)


@pytest.mark.parametrize(("count", "perplexity"), [(1, 0), (4, 1), (90, 29), (91, 30), (2000, 30)])
def test_the_perplexity_is_less_for_few_images(count, perplexity):
    assert latents.usual_perplexity(count) == perplexity


def test_the_length_of_a_class_is_its_mean_norm(codes, digits):
    tables = latents.by_class(codes, digits, 200)
    squares = (codes.mu.double() ** 2).sum(1)
    for label, length in enumerate(tables["length"]):
        own = squares[digits.test_labels == label]
        assert length == pytest.approx(sum(square**0.5 for square in own.tolist()) / len(own))
    expected = latent.overlaps(codes.mu[:200].numpy(), digits.test_labels[:200].numpy(), 10)
    np.testing.assert_array_equal(tables["overlap"], expected)


def test_a_class_without_test_images_has_no_length(codes, digits):
    some = digits.test_labels != 3
    fewer = dataclasses.replace(digits, test_images=digits.test_images[some], test_labels=digits.test_labels[some])
    tables = latents.by_class(codes._replace(mu=codes.mu[some], logvar=codes.logvar[some]), fewer, 2000)
    assert np.isnan(tables["length"]).nonzero()[0].tolist() == [3]
    assert np.isnan(tables["overlap"][3, 5])
    assert not np.isnan(tables["overlap"][4, 5])
