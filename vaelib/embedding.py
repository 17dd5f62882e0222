"""Codes in the plane, and how well they keep apart what differs.

Codes are (N, latent_dim), labels (N,); embeddings are (N, 2). scikit-learn does the work.
"""

import itertools

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.manifold import trustworthiness as kept_neighbours
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from vaelib import InputError

NEIGHBOURS = 5


def pca(z: np.ndarray) -> np.ndarray:
    """The first two principal components, (N, 2)."""
    return fit_pca(z, 2).transform(z)


def fit_pca(x: np.ndarray, dimensions: int) -> PCA:
    """Principal components of x (N, features); its transform gives (M, dimensions), the widest spread first."""
    return PCA(dimensions, svd_solver="full").fit(x)


def tsne(z: np.ndarray, perplexity: float = 30, seed: int = 0) -> np.ndarray:
    """t-SNE in the plane, begun at the principal components, (N, 2). van der Maaten & Hinton 2008.

    InputError when there are not more codes than the perplexity.
    """
    if perplexity >= len(z):
        raise InputError(f"perplexity {perplexity:g}: accepted is less than the number of codes, here {len(z):,}")
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(z)


def trustworthiness(z: np.ndarray, embedding: np.ndarray) -> float:
    """How far neighbours in the embedding are neighbours in z, by rank; 1 is best. Venna & Kaski 2001."""
    return float(kept_neighbours(z, embedding, n_neighbors=NEIGHBOURS))


def separation(known_z: np.ndarray, known: np.ndarray, z: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """knn, the accuracy of knn_accuracy, and purity, of codes z."""
    return {"knn": knn_accuracy(known_z, known, z, labels), "purity": purity(z, labels)}


def purity(z: np.ndarray, labels: np.ndarray, seed: int = 0) -> float:
    """Share of images whose class is the commonest of their k-means cluster, with as many clusters as classes."""
    clusters = KMeans(len(np.unique(labels)), n_init=4, random_state=seed).fit_predict(z)
    return contingency_matrix(labels, clusters).max(0).sum() / len(labels)


def knn_accuracy(known_z: np.ndarray, known: np.ndarray, z: np.ndarray, labels: np.ndarray) -> float:
    """Share of codes whose class is that of most of their five nearest known codes."""
    return KNeighborsClassifier(NEIGHBOURS, algorithm="brute").fit(known_z, known).score(z, labels)


def overlap(z: np.ndarray, labels: np.ndarray, pair: tuple[int, int]) -> float:
    """Share of the codes of two classes that most of their five nearest others misname; about 1/2 when they coincide.

    Leave-one-out, so that nothing is fitted to what it is tested on. InputError when a class has too few codes.
    """
    for label in pair:
        if (labels == label).sum() < 2:
            raise InputError(f"class {label}: an overlap needs two images at least, here are {(labels == label).sum()}")
    own = np.isin(labels, pair)
    second = (labels[own] == pair[1]).astype(float)
    nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS, own.sum() - 1)).fit(z[own])
    votes = second[nearest.kneighbors(return_distance=False)].mean(1)
    return float(((votes > 0.5) != second).mean())


def overlaps(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """overlap of each pair of classes, symmetric with zeros on the diagonal, (classes, classes)."""
    classes = np.unique(labels)
    result = np.zeros((len(classes), len(classes)))
    for (i, a), (j, b) in itertools.combinations(enumerate(classes), 2):
        result[i, j] = result[j, i] = overlap(z, labels, (a, b))
    return result
