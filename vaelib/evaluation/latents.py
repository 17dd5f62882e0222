"""Where a model puts the images of each class: how well its codes keep classes apart, and in what order of length.

Codes are mu and logvar of q(z|x), (N, latent_dim); labels are (N,).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from vaelib.data.sets import ImageData, as_float
from vaelib.evaluation.metrics import once
from vaelib.latent import embedding
from vaelib.models.vae import VAE

LABELLED = 1000  # training images, the first ones, whose codes name those of the measured split
FITTED = 10_000  # training images, the first ones, that principal components of the pixels are fitted to


class Codes(NamedTuple):
    """mu and logvar of the training images and of the measured split."""

    train_mu: Tensor
    train_logvar: Tensor
    mu: Tensor
    logvar: Tensor


def encode(model: VAE, images: ImageData) -> Codes:
    """The codes of both splits."""
    return Codes(*model.encode(images.train_images), *model.encode(images.test_images))


def separation(codes: Codes, images: ImageData, embedded: int) -> dict[str, dict[str, Any]]:
    """How well classes keep apart: measures of z, of its pictures in the plane, and of the pixels as a control.

    knn, purity                 of the codes, as embedding.separation has them
    pca_knn, pca_purity         the same of as many principal components of the pixels
    tsne_purity                 purity of a t-SNE of the first embedded images
    tsne_trustworthiness        how far that t-SNE keeps neighbours, and the first two principal components of
    pca_trustworthiness         the codes; as tsne_purity of more than two dimensions alone

    What cannot be measured, such as a t-SNE of fewer than four images, is left out.
    """
    known, labels = images.train_labels[:LABELLED].numpy(), images.test_labels.numpy()
    z = codes.mu.numpy()
    found = embedding.separation(codes.train_mu[:LABELLED].numpy(), known, z, labels)
    pixels, test_pixels = (as_float(x).flatten(1).numpy() for x in (images.train_images[:FITTED], images.test_images))
    components = embedding.fit_pca(pixels, z.shape[1])
    control = [components.transform(x) for x in (pixels[:LABELLED], test_pixels)]
    found |= {
        f"pca_{name}": value for name, value in embedding.separation(control[0], known, control[1], labels).items()
    }
    z, labels = z[:embedded], labels[:embedded]
    perplexity = usual_perplexity(len(z))
    # t-SNE begins at the principal components over their spread, which codes that all coincide do not have.
    if z.shape[1] > 2 and perplexity > 0 and np.ptp(z, axis=0).max() > 0:
        plane = embedding.tsne(z, perplexity)
        found["tsne_purity"] = embedding.purity(plane, labels)
        found["tsne_trustworthiness"] = embedding.trustworthiness(z, plane)
        found["pca_trustworthiness"] = embedding.trustworthiness(z, embedding.pca(z))
    return {name: once(value) for name, value in found.items() if not math.isnan(value)}


def usual_perplexity(count: int) -> int:
    """t-SNE's perplexity for so many codes: 30, or less where there are fewer than 91 of them."""
    return min(30, (count - 1) // 3)


def by_class(codes: Codes, images: ImageData, embedded: int) -> dict[str, np.ndarray]:
    """length and overlap, as metrics.by_class has them; overlap is of the first embedded images."""
    z, labels, classes = codes.mu.numpy(), images.test_labels.numpy(), range(len(images.class_names))
    norms = np.linalg.norm(z, axis=1)
    return {
        "length": np.array([norms[labels == c].mean() if (labels == c).any() else math.nan for c in classes]),
        "overlap": embedding.overlaps(z[:embedded], labels[:embedded], len(classes)),
    }
