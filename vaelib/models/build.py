"""Models from settings: built with fresh weights, counted, and scaled to a number of parameters."""

import math

import torch
from torch import nn

from vaelib.config import TrainingConfig
from vaelib.models import archs
from vaelib.models.vae import VAE
from vaelib.sizes import COUNTS, scaled_to


def build(config: TrainingConfig, shape: tuple[int, int] = (28, 28), pixel_mean: float = 0.5) -> VAE:
    """The config's model for images of that shape, with fresh weights drawn under its seed.

    With output_bias "mean" the output starts at the logit of pixel_mean, else at torch's own values about 0.
    """
    # torch's initialisers know no generator of their own: the global one is lent, then put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = getattr(archs, config.arch)(config, shape)
    if config.output_bias == "mean":
        output = [layer for layer in model.decoder if hasattr(layer, "bias")][-1]
        nn.init.constant_(output.bias, math.log(pixel_mean / (1 - pixel_mean)))
    # This is the layout that the CPU's convolutions are fastest in; it is without effect on a linear model.
    return model.to(memory_format=torch.channels_last)


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


def match_parameters(
    arch: str, latent_dim: int, budget: int, shape: tuple[int, int] = (28, 28), **settings
) -> TrainingConfig:
    """The config, its widths scaled together, whose model has the budget's number of parameters within 2 %.

    settings are further settings of TrainingConfig. InputError where no whole widths come that close.
    """
    return scaled_to(budget, lambda config: count_of(config, shape), arch, latent_dim, **settings)


def count_of(config: TrainingConfig, shape: tuple[int, int] = (28, 28)) -> int:
    """How many parameters the config's model has for images of that shape; nothing is allocated for it."""
    if config.arch in COUNTS:
        return COUNTS[config.arch](config, shape)
    with torch.device("meta"):
        return count_parameters(build(config, shape))
