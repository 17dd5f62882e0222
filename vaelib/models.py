"""Encoders and decoders for 28x28 grey images.

x is (B, 1, 28, 28) in [0, 1]; mu, logvar and z are (B, latent_dim); decoders return logits.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaelib import InputError
from vaelib.config import DEFAULT_WIDTHS

SIDE = 28


class VAE(nn.Module):
    """An encoder to (mu, logvar) and a decoder to logits."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of q(z|x), each (B, latent_dim)."""
        mu, logvar = self.encoder(x).float().chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Logits of the pixels, (B, 1, 28, 28)."""
        return self.decoder(z).float()

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, mu and logvar, with z = mu + sigma * eps (Kingma & Welling 2014, eq. 10)."""
        mu, logvar = self.encode(x)
        z = mu + torch.exp(0.5 * logvar) * eps
        return self.decode(z), mu, logvar


def linear(latent_dim: int, encoder_widths, decoder_widths) -> VAE:
    """Fully connected, ReLU between layers."""
    pixels = SIDE * SIDE
    encoder = nn.Sequential(nn.Flatten(), *dense(pixels, *encoder_widths, 2 * latent_dim))
    decoder = nn.Sequential(*dense(latent_dim, *decoder_widths, pixels), nn.Unflatten(1, (1, SIDE, SIDE)))
    return VAE(encoder, decoder)


def conv(latent_dim: int, encoder_widths, decoder_widths) -> VAE:
    """Strided convolutions down, transposed ones up, as in DCGAN (Radford et al. 2016)."""
    down = []
    for before, after in pairwise((1, *encoder_widths)):
        down += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
    features = encoder_widths[-1] * (SIDE >> len(encoder_widths)) ** 2
    encoder = nn.Sequential(*down, nn.Flatten(), *dense(features, 128, 2 * latent_dim))

    side = SIDE >> len(decoder_widths)
    grid = (decoder_widths[0], side, side)
    up = [*dense(latent_dim, 128, math.prod(grid)), nn.Unflatten(1, grid), nn.ReLU(inplace=True)]
    for before, after in pairwise(decoder_widths):
        up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
    return VAE(encoder, nn.Sequential(*up, *to_image(decoder_widths[-1])))


def convbn(latent_dim: int, encoder_widths, decoder_widths) -> VAE:
    """Convolutions with pooling, batch norm, dropout and a fully connected head on either side."""
    down = []
    for before, after in pairwise((1, *encoder_widths)):
        down += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2), nn.MaxPool2d(2)]
    features = encoder_widths[-1] * (SIDE >> len(encoder_widths)) ** 2
    encoder = nn.Sequential(*down, nn.Dropout(0.1), nn.Flatten(), *dense(features, 256, 2 * latent_dim))

    side = SIDE >> len(decoder_widths)
    grid = (decoder_widths[0], side, side)
    up = [*dense(latent_dim, 256, math.prod(grid)), nn.Unflatten(1, grid), nn.BatchNorm2d(grid[0]), nn.LeakyReLU(0.2)]
    for before, after in pairwise(decoder_widths):
        up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
    return VAE(encoder, nn.Sequential(*up, *to_image(decoder_widths[-1])))


def dense(*sizes: int) -> list[nn.Module]:
    """Fully connected layers of these sizes, ReLU between them and none after the last."""
    layers = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return layers[:-1]


def to_image(channels: int) -> list[nn.Module]:
    """The last doubling, to one channel of logits, by a sub-pixel convolution (Shi et al. 2016).

    A transposed convolution to one channel is a special case of it, but has no fast kernel on a CPU.
    """
    return [nn.Conv2d(channels, 4, 3, padding=1), nn.PixelShuffle(2)]


def build(
    arch: str, latent_dim: int, encoder_widths=(), decoder_widths=(), pixel_mean: float = 0.5, seed: int = 0
) -> VAE:
    """A VAE with fresh weights drawn under the seed.

    Empty widths are the architecture's own; an empty decoder mirrors the encoder. The output bias
    starts at the logit of pixel_mean, so that the first images decoded are near the average grey.
    Raises InputError for an unknown arch.
    """
    makers = {"linear": linear, "conv": conv, "convbn": convbn}
    if arch not in makers:
        raise InputError(f"arch {arch!r}: accepted is one of {', '.join(makers)}")
    encoder_widths = tuple(encoder_widths) or DEFAULT_WIDTHS[arch]
    decoder_widths = tuple(decoder_widths) or encoder_widths[::-1]
    # torch's initialisers know no generator of their own: the global one is lent, then put back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = makers[arch](latent_dim, encoder_widths, decoder_widths)
    output = [layer for layer in model.decoder if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    nn.init.constant_(output.bias, math.log(pixel_mean / (1 - pixel_mean)))
    return model


def count_parameters(model: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def parameter_table(model: nn.Module) -> list[tuple[str, str, int]]:
    """(layer, what it is, parameters) of each layer that has any; the counts sum to count_parameters."""
    rows = []
    for name, layer in model.named_modules():
        own = sum(p.numel() for p in layer.parameters(recurse=False) if p.requires_grad)
        if own:
            rows.append((name, str(layer), own))
    return rows
