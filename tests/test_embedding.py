import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.manifold import trustworthiness

from vaelib import InputError, embedding


def heaps(rng, centres, count=40, spread=0.1):
    labels = np.repeat(np.arange(len(centres)), count)
    return np.asarray(centres)[labels] + spread * rng.standard_normal((len(labels), len(centres[0]))), labels


def test_principal_components_are_those_of_the_covariance(rng):
    z = rng.standard_normal((200, 5)) @ rng.standard_normal((5, 5))
    values, vectors = np.linalg.eigh(np.cov(z.T))
    expected = (z - z.mean(0)) @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(embedding.pca(z)), np.abs(expected), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(embedding.pca(z).var(0, ddof=1), values[::-1][:2])


def test_tsne_is_fixed_by_its_seed_and_parts_what_lies_apart(rng):
    z, labels = heaps(rng, 5 * np.eye(4))
    plane = embedding.tsne(z, perplexity=10)
    np.testing.assert_array_equal(plane, embedding.tsne(z, perplexity=10))
    assert embedding.knn_accuracy(plane, labels, plane, labels) == 1
    assert embedding.trustworthiness(z, plane) > 0.9


def test_a_perplexity_beyond_the_codes_is_refused():
    with pytest.raises(InputError, match="perplexity 30: accepted is less than the number of codes, here 20"):
        embedding.tsne(np.zeros((20, 3)))


def test_trustworthiness_is_scikit_learns_and_its_definition(rng):
    """Venna & Kaski 2001, eq. 2, by ranks counted one by one."""
    z, plane, k = rng.standard_normal((40, 6)), rng.standard_normal((40, 2)), embedding.NEIGHBOURS
    ranks = cdist(z, z).argsort(1).argsort(1)
    nearest = cdist(plane, plane).argsort(1)[:, 1 : k + 1]
    penalty = sum(max(0, ranks[i, j] - k) for i in range(40) for j in nearest[i])
    assert embedding.trustworthiness(z, plane) == pytest.approx(1 - 2 / (40 * k * (80 - 3 * k - 1)) * penalty)
    assert embedding.trustworthiness(z, plane) == trustworthiness(z, plane, n_neighbors=k)
    assert embedding.trustworthiness(z, z) == 1


def test_purity_is_one_for_heaps_apart_and_low_for_one_heap(rng):
    z, labels = heaps(rng, 10 * np.eye(3))
    assert embedding.purity(z, labels) == 1
    assert embedding.purity(rng.standard_normal((3000, 2)), rng.integers(0, 3, 3000)) < 0.4
    # two of three classes in one heap: k-means halves a heap, and its halves hold both
    mixed, labels = heaps(rng, [[0, 0], [0, 0], [9, 9]])
    assert 0.6 < embedding.purity(mixed, labels) < 0.9


def test_knn_accuracy_counts_votes(rng):
    known_z, z = rng.standard_normal((60, 3)), rng.standard_normal((50, 3))
    known, labels = rng.integers(0, 2, 60), rng.integers(0, 2, 50)
    votes = known[cdist(z, known_z).argsort(1)[:, : embedding.NEIGHBOURS]].mean(1)
    assert embedding.knn_accuracy(known_z, known, z, labels) == ((votes > 0.5) == labels).mean()


def test_overlap_is_leave_one_out(rng):
    z, labels = heaps(rng, [[0, 0], [1, 0], [5, 5]], spread=0.6)
    own = labels != 2
    distances = cdist(z[own], z[own])
    np.fill_diagonal(distances, np.inf)
    votes = labels[own][distances.argsort(1)[:, : embedding.NEIGHBOURS]].mean(1)
    expected = ((votes > 0.5) != labels[own]).mean()
    assert 0.05 < expected < 0.5
    assert embedding.overlap(z, labels, (0, 1)) == expected
    assert embedding.overlap(z, labels, (0, 2)) == 0


def test_classes_in_one_place_overlap_by_half(rng):
    z, labels = rng.standard_normal((4000, 2)), rng.integers(0, 2, 4000)
    assert embedding.overlap(z, labels, (0, 1)) == pytest.approx(0.5, abs=0.04)


def test_overlaps_hold_every_pair(rng):
    z, labels = heaps(rng, [[0, 0], [1, 0], [5, 5]], spread=0.6)
    table = embedding.overlaps(z, labels)
    np.testing.assert_array_equal(table, table.T)
    assert table[0, 1] == embedding.overlap(z, labels, (0, 1))
    assert table[1, 2] == embedding.overlap(z, labels, (1, 2))
    assert np.diag(table).sum() == 0


def test_a_class_without_codes_is_refused():
    with pytest.raises(InputError, match="class 9: an overlap needs two images at least, here are 0"):
        embedding.overlap(np.zeros((10, 2)), np.full(10, 4), (4, 9))
