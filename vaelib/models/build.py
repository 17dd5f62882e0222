"""Models from settings: built with fresh weights, counted, and scaled to a number of parameters."""

import dataclasses
import math

import torch
from torch import nn

from vaelib.config import InputError, TrainingConfig
from vaelib.models import archs
from vaelib.models.vae import VAE


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
    base = TrainingConfig(arch=arch, latent_dim=latent_dim, **settings)
    names = ("encoder_widths", "decoder_widths", "hidden_widths")

    def counted(config: TrainingConfig) -> int:
        with torch.device("meta"):  # a model without memory
            return count_parameters(build(config, shape))

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
    # A hidden unit more is a finer step than a channel more.
    while found < budget < candidates[1][0] and config.hidden_widths:
        first, *rest = config.hidden_widths
        config = dataclasses.replace(config, hidden_widths=(first + 1, *rest))
        found = counted(config)
        candidates.append((found, config))
    found, config = min(candidates, key=lambda pair: abs(pair[0] - budget))
    if abs(found - budget) > 0.02 * budget:
        raise InputError(f"budget {budget:,}: the nearest {arch} at latent_dim {latent_dim} has {found:,} parameters")
    return config
