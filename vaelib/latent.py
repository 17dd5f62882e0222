"""Going between images and codes, a whole set at a time.

Images are uint8 (N, 1, 28, 28) going in and float32 pixel probabilities (N, 28, 28) coming out;
codes are (N, latent_dim).
"""

import numpy as np
import torch
from torch import Tensor

from vaelib import InputError, data, objective
from vaelib.models import VAE

BATCH = 500


@torch.inference_mode()
def encode(model: VAE, images: Tensor) -> tuple[Tensor, Tensor]:
    """mu and logvar of q(z|x) for each uint8 image, each (N, latent_dim)."""
    pairs = [model.encode(data.as_float(batch)) for batch in images.split(BATCH)]
    mus, logvars = zip(*pairs, strict=True)
    return torch.cat(mus), torch.cat(logvars)


@torch.inference_mode()
def decode(model: VAE, z: Tensor) -> Tensor:
    """Pixel probabilities for each code, float32 (N, 28, 28)."""
    return torch.cat([model.decode(batch).sigmoid()[:, 0] for batch in z.split(BATCH)])


def reconstruct(model: VAE, images: Tensor) -> Tensor:
    """Each uint8 image decoded from the mean of its q(z|x), float32 (N, 28, 28)."""
    return decode(model, encode(model, images)[0])


def sample_prior(model: VAE, latent_dim: int, count: int, seed: int) -> Tensor:
    """Decoded draws from N(0, I), float32 (count, 28, 28)."""
    return decode(model, torch.randn(count, latent_dim, generator=torch.Generator().manual_seed(seed)))


def latent_map(model: VAE, steps: int = 20, extent: float | None = 2.0) -> Tensor:
    """The plane [-extent, extent]^2 decoded at equal steps, float32 (steps, steps, 28, 28).

    With extent None the places along an axis are the quantiles of N(0, 1) at (i + 1/2) / steps, so that each picture
    stands for the same share of the prior (Kingma & Welling 2014, fig. 4). The first axis runs down from the largest
    z2, the second right from the smallest z1, as a figure is read. Raises InputError unless the model has two latent
    dimensions.
    """
    axis = torch.from_numpy(places(steps, extent)).float()
    require_two(model)
    return decode(model, plane(axis).reshape(-1, 2)).reshape(steps, steps, 28, 28)


def places(steps: int, extent: float | None) -> np.ndarray:
    """Where along an axis a latent map decodes, (steps,): equal steps, or with extent None the prior's quantiles."""
    if extent is None:
        return torch.special.ndtri((torch.arange(steps, dtype=torch.float64) + 0.5) / steps).numpy()
    return np.linspace(-extent, extent, steps)


def plane(axis: Tensor) -> Tensor:
    """(z1, z2) at each pair of places, (steps, steps, 2), rows from the largest z2 down."""
    z2, z1 = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    return torch.stack([z1, z2], dim=-1)


def require_two(model: VAE):
    """InputError unless the model has two latent dimensions."""
    first = next(model.decoder.parameters())
    if first.shape[1] != 2:
        raise InputError(f"a latent map needs latent_dim 2, this model has {first.shape[1]}")


def kl_by_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(q(z_j|x) || N(0, 1)) averaged over images, in nats, shape (latent_dim,). Kingma & Welling 2014, app. B."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).mean(0)


def traversals(model: VAE, z: Tensor, dimensions: list[int], values: Tensor) -> Tensor:
    """The code z (latent_dim,) decoded with one dimension at a time at each of the values.

    float32 (len(dimensions), len(values), 28, 28).
    """
    moved = z.repeat(len(dimensions), len(values), 1)
    for row, dimension in enumerate(dimensions):
        moved[row, :, dimension] = values
    return decode(model, moved.flatten(0, 1)).reshape(*moved.shape[:2], 28, 28)


def dearest_traversals(
    model: VAE, images: Tensor, start: int, values: Tensor, most: int = 10
) -> tuple[np.ndarray, list[str]]:
    """Traversals from the code of images[start] along the dimensions of highest KL, the dearest first.

    Pictures (rows, len(values), 28, 28) and each row's dimension, counted from 1, with its nats over the images.
    """
    mu, logvar = encode(model, images)
    kl = kl_by_dimension(mu, logvar)
    order = kl.argsort(descending=True)[:most].tolist()
    names = [f"$z_{{{dimension + 1}}}$: {kl[dimension]:.1f} nats" for dimension in order]
    return traversals(model, mu[start], order, values).numpy(), names


def dearest(model: VAE, images: Tensor, labels: Tensor, count: int = 5) -> np.ndarray:
    """The images of each class whose reconstruction costs most above their pixels' entropy, each beside it.

    (classes, 2 count, 28, 28) in [0, 1]: image, reconstruction, the next image, and so on.
    """
    x, pictures = data.as_float(images), reconstruct(model, images)
    cost = -objective.log_likelihood(pictures[:, None].logit(1e-6), x) - objective.pixel_entropy(x)
    rows = []
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        worst = own[cost[own].argsort(descending=True)[:count]]
        rows.append(torch.stack([x[worst, 0], pictures[worst]], dim=1).flatten(0, 1))
    return torch.stack(rows).numpy()


def centre(model: VAE, latent_dim: int, classifier, radius: float = 0.1, count: int = 500) -> str:
    """The class that a classifier sees most in codes from N(0, radius^2 I), and its mean probability: ``8 (61%)``."""
    z = radius * torch.randn(count, latent_dim, generator=torch.Generator().manual_seed(0))
    mean = classifier.probabilities(decode(model, z)).mean(0)
    return f"{mean.argmax().item()} ({mean.max():.0%})"
