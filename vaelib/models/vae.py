"""The variational autoencoder: an encoder to (mu, logvar), a decoder to logits, and whole sets through both.

In training x is (B, 1, h, w) in [0, 1], mu, logvar and z are (B, latent_dim), logits (B, 1, h, w). Of whole sets the
images are whatever data.as_images takes, and the pictures that come out float32 (N, h, w): probabilities of pixels.
"""

import numpy as np
import torch
from torch import Tensor, nn

from vaelib.config import InputError
from vaelib.data.sets import as_float, as_images

BATCH = 500  # images that go through a network at a time


def sized_images(images: Tensor | np.ndarray, shape: tuple[int, int]) -> Tensor:
    """data.as_images of images for a network of that shape; InputError for another size."""
    images = as_images(images)
    if images.shape[2:] != tuple(shape):
        found, wanted = ("x".join(map(str, size)) for size in (images.shape[2:], shape))
        raise InputError(f"images of {found} pixels: accepted by this model are images of {wanted}")
    return images


class VAE(nn.Module):
    """An encoder and a decoder for images of this shape (h, w). Kingma & Welling 2014."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_dim: int, shape: tuple[int, int]):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent_dim
        self.shape = tuple(shape)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of q(z|x) of one batch, each (B, latent_dim), with gradients."""
        mu, logvar = self.encoder(x).float().chunk(2, dim=1)
        return mu, logvar

    def logits(self, z: Tensor) -> Tensor:
        """Logits of the pixels of one batch, (B, 1, h, w), with gradients."""
        return self.decoder(z).float()

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, mu and logvar, with z = mu + sigma * eps (Kingma & Welling 2014, eq. 10)."""
        mu, logvar = self.posterior(x)
        z = mu + torch.exp(0.5 * logvar) * eps
        return self.logits(z), mu, logvar

    @torch.no_grad()
    def encode(self, images: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
        """mu and logvar of q(z|x) of each image, each (N, latent_dim), without gradients.

        InputError for what is no set of images, or one of another size than the model's.
        """
        device = next(self.parameters()).device
        batches = sized_images(images, self.shape).split(BATCH)
        pairs = [self.posterior(as_float(batch.to(device))) for batch in batches]
        mus, logvars = zip(*pairs, strict=True)
        return torch.cat(mus), torch.cat(logvars)

    @torch.no_grad()
    def decode(self, z: Tensor | np.ndarray) -> Tensor:
        """The picture of each code (N, latent_dim): probabilities of pixels, float32 (N, h, w), without gradients."""
        z = torch.as_tensor(z, dtype=torch.float32, device=next(self.parameters()).device)
        return torch.cat([self.logits(batch).sigmoid()[:, 0] for batch in z.split(BATCH)])

    def reconstruct(self, images: Tensor | np.ndarray) -> Tensor:
        """Each image decoded from the mean of its q(z|x), float32 (N, h, w)."""
        return self.decode(self.encode(images)[0])

    def sample(self, count: int, seed: int = 0) -> Tensor:
        """Decoded draws from the prior N(0, I), float32 (count, h, w); the same for the same seed."""
        return self.decode(torch.randn(count, self.latent_dim, generator=torch.Generator().manual_seed(seed)))
