"""Pictures decoded from places of a latent space: maps of the plane, traversals, the centre, the costliest images.

Images are whatever data.as_images takes, pictures float32 (N, h, w) in [0, 1]; codes are (N, latent_dim).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vaelib.config import InputError
from vaelib.data.sets import as_float, as_images
from vaelib.models.objective import kl_by_dimension, log_likelihood, pixel_entropy
from vaelib.models.vae import VAE


def latent_map(model: VAE, steps: int = 20, extent: float | None = 2.0) -> Tensor:
    """The plane [-extent, extent]^2 decoded at equal steps, float32 (steps, steps, h, w).

    With extent None the places along an axis are the quantiles of N(0, 1) at (i + 1/2) / steps, so that each picture
    stands for the same share of the prior (Kingma & Welling 2014, fig. 4). The first axis runs down from the largest
    z2, the second right from the smallest z1, as a figure is read. Raises InputError unless the model has two latent
    dimensions.
    """
    if model.latent_dim != 2:
        raise InputError(f"a latent map needs latent_dim 2, this model has {model.latent_dim}")
    axis = torch.from_numpy(places(steps, extent)).float()
    return model.decode(plane(axis).reshape(-1, 2)).reshape(steps, steps, *model.shape)


def places(steps: int, extent: float | None) -> np.ndarray:
    """Where along an axis a latent map decodes, (steps,): equal steps, or with extent None the prior's quantiles."""
    if extent is None:
        return torch.special.ndtri((torch.arange(steps, dtype=torch.float64) + 0.5) / steps).numpy()
    return np.linspace(-extent, extent, steps)


def plane(axis: Tensor) -> Tensor:
    """(z1, z2) at each pair of places, (steps, steps, 2), rows from the largest z2 down."""
    z2, z1 = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    return torch.stack([z1, z2], dim=-1)


def traversals(model: VAE, z: Tensor, dimensions: list[int], values: Tensor) -> Tensor:
    """The code z (latent_dim,) decoded with one dimension at a time at each of the values.

    float32 (len(dimensions), len(values), h, w).
    """
    moved = z.repeat(len(dimensions), len(values), 1)
    for row, dimension in enumerate(dimensions):
        moved[row, :, dimension] = values
    return model.decode(moved.flatten(0, 1)).reshape(*moved.shape[:2], *model.shape)


def costliest_traversals(
    model: VAE, images: Tensor | np.ndarray, start: int, values: Tensor, most: int = 10
) -> tuple[np.ndarray, list[str]]:
    """Traversals from the code of images[start] along the dimensions of highest KL, the costliest first.

    Pictures (rows, len(values), h, w) and each row's dimension, counted from 1, with its nats over the images.
    """
    mu, logvar = model.encode(images)
    kl = kl_by_dimension(mu, logvar)
    order = kl.argsort(descending=True)[:most].tolist()
    names = [f"$z_{{{dimension + 1}}}$: {kl[dimension]:.1f} nats" for dimension in order]
    return traversals(model, mu[start], order, values).numpy(), names


def costliest(model: VAE, images: Tensor | np.ndarray, labels: Tensor, count: int = 5) -> np.ndarray:
    """The images of each class whose reconstruction costs most above their pixels' entropy, each beside it.

    (classes, 2 count, h, w) in [0, 1]: image, reconstruction, the next image, and so on; a class with fewer than
    count images ends in black ones.
    """
    x, pictures = as_float(as_images(images)), model.reconstruct(images)
    cost = -log_likelihood(pictures[:, None].logit(1e-6), x) - pixel_entropy(x)
    rows = []
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        worst = own[cost[own].argsort(descending=True)[:count]]
        row = torch.zeros(2 * count, *model.shape)
        row[: 2 * len(worst)] = torch.stack([x[worst, 0], pictures[worst]], dim=1).flatten(0, 1)
        rows.append(row)
    return torch.stack(rows).numpy()


def centre(model: VAE, classifier, class_names: Sequence[str], radius: float = 0.1, count: int = 500) -> str:
    """The class that a classifier sees most in codes from N(0, radius^2 I), and its mean probability: ``8 (61%)``."""
    mean = centre_probabilities(model, classifier, radius, count)
    return f"{class_names[mean.argmax().item()]} ({mean.max():.0%})"


def centre_probabilities(model: VAE, classifier, radius: float = 0.1, count: int = 500) -> Tensor:
    """The classifier's mean probability of each class for what codes from N(0, radius^2 I) decode to, (classes,)."""
    z = radius * torch.randn(count, model.latent_dim, generator=torch.Generator().manual_seed(0))
    return classifier.probabilities(model.decode(z)).mean(0)
