"""Codes in the plane, and how well they keep apart what differs.

Codes are (N, latent_dim), labels (N,); embeddings are (N, 2). scikit-learn does the work; as it takes seconds to
import, each function imports what it uses.
"""

import itertools
import warnings
from typing import TYPE_CHECKING

import numpy as np

from vaelib.config import InputError

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

NEIGHBOURS = 5


def pca(z: np.ndarray) -> np.ndarray:
    """The first two principal components, (N, 2); the second of one-dimensional codes is 0."""
    plane = fit_pca(z, 2).transform(z)
    return np.pad(plane, [(0, 0), (0, 2 - plane.shape[1])])


def fit_pca(x: np.ndarray, dimensions: int) -> "PCA":
    """Principal components of x (N, features); its transform gives (M, dimensions), the widest spread first.

    There are no more of them than x has rows or columns.
    """
    from sklearn.decomposition import PCA

    return PCA(min(dimensions, *x.shape), svd_solver="full").fit(x)


def tsne(z: np.ndarray, perplexity: float = 30, seed: int = 0, init: str = "pca") -> np.ndarray:
    """t-SNE in the plane, begun at the principal components or at random, (N, 2). van der Maaten & Hinton 2008.

    init is pca or random; only a random start depends on the seed. One-dimensional codes have one component, and begin
    at random. InputError for another init, and when there are not more codes than the perplexity.
    """
    from sklearn.manifold import TSNE

    if init not in ("pca", "random"):
        raise InputError(f"init {init!r}: accepted are 'pca' and 'random'")
    if perplexity >= len(z):
        raise InputError(f"perplexity {perplexity:g}: accepted is less than the number of codes, here {len(z):,}")
    init = init if z.shape[1] > 1 else "random"
    return TSNE(2, perplexity=perplexity, init=init, random_state=seed).fit_transform(z)


def trustworthiness(z: np.ndarray, embedding: np.ndarray) -> float:
    """How far neighbours in the embedding are neighbours in z, by rank; 1 is best. Venna & Kaski 2001.

    Of five neighbours, or of as many as are fewer than half of the codes; nan for fewer than three codes.
    """
    from sklearn.manifold import trustworthiness as kept_neighbours

    count = min(NEIGHBOURS, (len(z) - 1) // 2)
    return float(kept_neighbours(z, embedding, n_neighbors=count)) if count > 0 else float("nan")


def separation(known_z: np.ndarray, known: np.ndarray, z: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """knn, the accuracy of knn_accuracy, and purity, of codes z."""
    return {"knn": knn_accuracy(known_z, known, z, labels), "purity": purity(z, labels)}


def purity(z: np.ndarray, labels: np.ndarray, seed: int = 0) -> float:
    """Share of images whose class is the commonest of their k-means cluster, with as many clusters as classes."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics.cluster import contingency_matrix

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # There may be fewer different codes than classes.
        clusters = KMeans(len(np.unique(labels)), n_init=4, random_state=seed).fit_predict(z)
    return contingency_matrix(labels, clusters).max(0).sum() / len(labels)


def knn_accuracy(known_z: np.ndarray, known: np.ndarray, z: np.ndarray, labels: np.ndarray) -> float:
    """Share of codes whose class is that of most of their five nearest known codes, or of all where there are fewer."""
    from sklearn.neighbors import KNeighborsClassifier

    nearest = KNeighborsClassifier(min(NEIGHBOURS, len(known)), algorithm="brute")
    return nearest.fit(known_z, known).score(z, labels)


def overlap(z: np.ndarray, labels: np.ndarray, pair: tuple[int, int]) -> float:
    """Share of the codes of two classes that most of their five nearest others misname; about 1/2 when they coincide.

    Leave-one-out, so that nothing is fitted to what it is tested on. Where the smaller class has five codes or fewer,
    three nearest others vote, or one: more would always include those of the other class. nan when a class has fewer
    than two codes.
    """
    from sklearn.neighbors import NearestNeighbors

    own = np.isin(labels, pair)
    fewest = min((labels == label).sum() for label in pair)
    if fewest < 2:
        return float("nan")
    neighbours = max(k for k in (1, 3, NEIGHBOURS) if k < fewest)
    second = (labels[own] == pair[1]).astype(float)
    nearest = NearestNeighbors(n_neighbors=neighbours).fit(z[own])
    votes = second[nearest.kneighbors(return_distance=False)].mean(1)
    return float(((votes > 0.5) != second).mean())


def overlaps(z: np.ndarray, labels: np.ndarray, classes: int | None = None) -> np.ndarray:
    """overlap of each pair of classes, symmetric with zeros on the diagonal, (classes, classes).

    Classes are 0 to classes - 1, by default as many as the labels name.
    """
    count = int(labels.max()) + 1 if classes is None else classes
    result = np.zeros((count, count))
    for a, b in itertools.combinations(range(count), 2):
        result[a, b] = result[b, a] = overlap(z, labels, (a, b))
    return result
