import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.manifold import TSNE, trustworthiness

from vaelib import InputError
from vaelib.latent import embedding


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


def test_tsne_from_a_random_start_is_scikit_learns_and_another_picture_for_each_seed(rng):
    z, _ = heaps(rng, 5 * np.eye(4), count=15)
    begun = [embedding.tsne(z, perplexity=10, seed=seed, init="random") for seed in (0, 1)]
    by_hand = TSNE(2, perplexity=10, init="random", random_state=1).fit_transform(z)
    np.testing.assert_array_equal(begun[1], by_hand)
    assert np.abs(begun[0] - begun[1]).max() > 1
    # A start at the principal components leaves nothing to the seed.
    np.testing.assert_array_equal(embedding.tsne(z, perplexity=10), embedding.tsne(z, perplexity=10, seed=1))


def test_a_start_that_tsne_does_not_have_is_refused():
    with pytest.raises(InputError, match="init 'spectral': accepted are 'pca' and 'random'"):
        embedding.tsne(np.zeros((40, 3)), init="spectral")


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


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_of_fewer_than_two_codes_has_no_overlap(count):
    labels = np.array([4] * 10 + [9] * count)
    assert np.isnan(embedding.overlap(np.zeros((len(labels), 2)), labels, (4, 9)))


def test_overlaps_have_a_row_for_classes_without_codes(rng):
    """Of classes 0 to 4 the codes are of 0, 1 and 3."""
    z, labels = heaps(rng, [[0, 0], [1, 0], [5, 5]], spread=0.6)
    labels = np.array([0, 1, 3])[labels]
    table = embedding.overlaps(z, labels, 5)
    assert table.shape == (5, 5)
    np.testing.assert_array_equal(table[:4, :4], embedding.overlaps(z, labels))
    off = ~np.eye(5, dtype=bool)
    lacking = np.isin(np.arange(5), [2, 4])
    np.testing.assert_array_equal(np.isnan(table), off & (lacking[:, None] | lacking))
    assert table[0, 1] == embedding.overlap(z, labels, (0, 1))


def test_there_are_no_more_components_than_rows_and_columns(rng):
    assert embedding.fit_pca(rng.standard_normal((3, 50)), 10).n_components_ == 3
    assert embedding.fit_pca(rng.standard_normal((50, 3)), 10).n_components_ == 3
    assert embedding.fit_pca(rng.standard_normal((50, 30)), 10).n_components_ == 10


def test_one_dimensional_codes_lie_on_a_line_in_the_plane(rng):
    z = rng.standard_normal((60, 1))
    plane = embedding.pca(z)
    np.testing.assert_allclose(np.abs(plane[:, 0]), np.abs(z - z.mean())[:, 0])
    assert plane[:, 1].tolist() == [0] * 60
    assert embedding.trustworthiness(z, embedding.tsne(z, perplexity=10)) > 0.9


@pytest.mark.parametrize(("n", "k"), [(3, 1), (4, 1), (7, 3), (10, 4), (11, 5), (12, 5)])
def test_few_codes_are_trusted_over_fewer_neighbours(n, k, rng):
    """scikit-learn takes fewer than half of the codes."""
    z, plane = rng.standard_normal((n, 4)), rng.standard_normal((n, 2))
    assert embedding.trustworthiness(z, plane) == trustworthiness(z, plane, n_neighbors=k)
    with pytest.raises(ValueError, match="n_neighbors"):
        trustworthiness(z, plane, n_neighbors=n // 2 + n % 2)


@pytest.mark.parametrize("n", [1, 2])
def test_one_neighbour_alone_says_nothing(n):
    assert np.isnan(embedding.trustworthiness(np.zeros((n, 3)), np.zeros((n, 2))))


def test_few_known_codes_all_vote(rng):
    known, labels = np.array([1, 0, 1]), np.array([1, 1, 0, 1])
    assert embedding.knn_accuracy(rng.standard_normal((3, 2)), known, rng.standard_normal((4, 2)), labels) == 0.75
    assert embedding.knn_accuracy(np.array([[0.0]]), np.array([7]), np.array([[5.0], [6.0]]), np.array([7, 8])) == 0.5


def test_purity_of_tiny_sets(rng):
    """As many clusters as codes are pure; codes that all coincide have the share of the commonest class."""
    assert embedding.purity(rng.standard_normal((4, 2)), np.arange(4)) == 1
    assert embedding.purity(np.zeros((1, 2)), np.array([3])) == 1
    assert embedding.purity(np.zeros((5, 2)), np.array([0, 0, 0, 1, 2])) == 0.6
    assert embedding.separation(np.zeros((2, 2)), np.array([0, 0]), np.ones((2, 2)), np.array([0, 1])) == {
        "knn": 0.5, "purity": 0.5
    }  # fmt: skip


def test_few_codes_are_told_apart_by_as_many_neighbours_as_their_class_has():
    """Of three codes a class, five neighbours would always be all others, most of them of the other class."""
    z = np.array([[0.0, 0], [0, 1], [1, 0], [9, 9], [9, 8], [8, 9]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert embedding.overlap(z, labels, (0, 1)) == 0
