"""Encoders and decoders for 28x28 grey images.

x is (B, 1, 28, 28) in [0, 1]; mu, logvar and z are (B, latent_dim); decoders return logits.
"""

import dataclasses
import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaelib import InputError
from vaelib.config import TrainingConfig
from vaelib.layers import Double, FromMap, Halve, ToMap, between, dense, residual_layers

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


def build(config: TrainingConfig, pixel_mean: float = 0.5) -> VAE:
    """The config's model with fresh weights, drawn under its seed.

    With output_bias "mean" the output starts at the logit of pixel_mean, else at torch's own values about 0.
    """
    makers = {"linear": linear, "conv": conv, "convbn": convbn}
    # torch's initialisers know no generator of their own: the global one is lent, then put back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = makers[config.arch](config)
    if config.output_bias == "mean":
        output = [layer for layer in model.decoder if hasattr(layer, "bias")][-1]
        nn.init.constant_(output.bias, math.log(pixel_mean / (1 - pixel_mean)))
    # the layout that the CPU's convolutions are fastest in; without effect on a linear model
    return model.to(memory_format=torch.channels_last)


def linear(config: TrainingConfig) -> VAE:
    """Fully connected layers only."""
    pixels = SIDE * SIDE
    encoder = dense(config, pixels, *config.encoder_widths, 2 * config.latent_dim)
    inner, *outer = config.decoder_widths
    decoder = [nn.Linear(config.latent_dim, inner), *residual_layers(config, inner), *between(config, inner)]
    decoder += dense(config, inner, *outer, pixels)
    return VAE(nn.Sequential(nn.Flatten(), *encoder), nn.Sequential(*decoder, nn.Unflatten(1, (1, SIDE, SIDE))))


def conv(config: TrainingConfig) -> VAE:
    """Convolutions down to 7x7, fully connected layers around z, convolutions up.

    Two widths halve the image twice, as in DCGAN (Radford et al. 2016). One width takes it apart into patches of
    4x4 pixels at once, as in ViT (Dosovitskiy et al. 2021), each seen with its neighbours.
    """
    if len(config.encoder_widths) == 1:
        (channels,) = config.encoder_widths
        down = [nn.PixelUnshuffle(4), nn.Conv2d(16, channels, 3, padding=1)]
    else:
        first, channels = config.encoder_widths
        down = [Halve(first), *between(config, first, dims=2), nn.Conv2d(first, channels, 4, stride=2, padding=1)]
    down += [*between(config, channels, dims=2), FromMap()]
    hidden = dense(config, channels * 49, *config.hidden_widths, 2 * config.latent_dim)
    encoder = nn.Sequential(*down, *hidden)

    channels = config.decoder_widths[0]
    up = [*dense(config, config.latent_dim, *config.hidden_widths[::-1], channels * 49), ToMap(channels)]
    up += [*residual_layers(config, channels, dims=2), *between(config, channels, dims=2)]
    if len(config.decoder_widths) == 1:
        up += [nn.Conv2d(channels, 16, 3, padding=1), nn.PixelShuffle(4)]
    else:
        last = config.decoder_widths[1]
        up += [nn.ConvTranspose2d(channels, last, 4, stride=2, padding=1), *between(config, last, dims=2), Double(last)]
    return VAE(encoder, nn.Sequential(*up))


def convbn(config: TrainingConfig) -> VAE:
    """Convolutions with max-pooling, dropout and fully connected layers around z."""
    down = []
    for before, after in pairwise((1, *config.encoder_widths)):
        down += [nn.Conv2d(before, after, 3, padding=1), *between(config, after, dims=2), nn.MaxPool2d(2)]
    channels, side = config.encoder_widths[-1], SIDE >> len(config.encoder_widths)
    down += [nn.Dropout(0.1), FromMap()]
    encoder = nn.Sequential(*down, *dense(config, channels * side**2, *config.hidden_widths, 2 * config.latent_dim))

    channels, side = config.decoder_widths[0], SIDE >> len(config.decoder_widths)
    up = [*dense(config, config.latent_dim, *config.hidden_widths[::-1], channels * side**2), ToMap(channels)]
    up += [*residual_layers(config, channels, dims=2), *between(config, channels, dims=2)]
    for before, after in pairwise(config.decoder_widths):
        up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), *between(config, after, dims=2)]
    return VAE(encoder, nn.Sequential(*up, Double(config.decoder_widths[-1])))


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


def match_parameters(arch: str, latent_dim: int, budget: int, **settings) -> TrainingConfig:
    """The config, its widths scaled together, whose model has the budget's number of parameters within 2 %.

    settings are further settings of TrainingConfig. InputError where no whole widths come that close.
    """
    base = TrainingConfig(arch=arch, latent_dim=latent_dim, **settings)
    names = ("encoder_widths", "decoder_widths", "hidden_widths")

    def counted(config: TrainingConfig) -> int:
        with torch.device("meta"):  # a model without memory
            return count_parameters(build(config))

    def scaled(scale: float) -> tuple[int, TrainingConfig]:
        widths = {name: [max(1, round(scale * width)) for width in getattr(base, name)] for name in names}
        config = dataclasses.replace(base, **widths)
        return counted(config), config

    low, high = 2.0**-12, 1.0
    widest = 8192 / max(max(getattr(base, name), default=1) for name in names)
    while scaled(high)[0] < budget and high < widest:
        high = min(2 * high, widest)
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if scaled(middle)[0] < budget else (low, middle)
    candidates = [scaled(low), scaled(high)]
    found, config = candidates[0]
    while found < budget < candidates[1][0] and config.hidden_widths:  # finer than a whole channel more
        first, *rest = config.hidden_widths
        config = dataclasses.replace(config, hidden_widths=(first + 1, *rest))
        found = counted(config)
        candidates.append((found, config))
    found, config = min(candidates, key=lambda pair: abs(pair[0] - budget))
    if abs(found - budget) > 0.02 * budget:
        raise InputError(f"budget {budget:,}: the nearest {arch} at latent_dim {latent_dim} has {found:,} parameters")
    return config
