"""Going between images and codes, a whole set at a time.

Images are uint8 (N, 1, 28, 28) going in and float32 pixel probabilities (N, 28, 28) coming out;
codes are (N, latent_dim).
"""

import numpy as np
import torch
from torch import Tensor

from vaelib import InputError, data
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


def sample_prior(model: VAE, latent_dim: int, count: int, seed: int) -> Tensor:
    """Decoded draws from N(0, I), float32 (count, 28, 28)."""
    return decode(model, torch.randn(count, latent_dim, generator=torch.Generator().manual_seed(seed)))


def latent_map(model: VAE, steps: int = 20, extent: float = 2.0) -> Tensor:
    """The plane [-extent, extent]^2 decoded at equal steps, float32 (steps, steps, 28, 28).

    The first axis runs down from z2 = extent, the second right from z1 = -extent, as a figure is read.
    Raises InputError unless the model has two latent dimensions.
    """
    axis = torch.from_numpy(np.linspace(-extent, extent, steps, dtype=np.float32))
    z2, z1 = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    z = torch.stack([z1, z2], dim=-1).reshape(-1, 2)
    first = next(model.decoder.parameters())
    if first.shape[1] != 2:
        raise InputError(f"a latent map needs latent_dim 2, this model has {first.shape[1]}")
    return decode(model, z).reshape(steps, steps, 28, 28)
