"""How many parameters a config's model has, counted without building it, and configs scaled to a number of them.

Nothing here imports torch, because whoever plans a hundred models shall not wait for it. Tests hold each count against
the built model.
"""

import dataclasses
from collections.abc import Callable
from itertools import pairwise

from vaelib.config import InputError, TrainingConfig


def linear(config: TrainingConfig, shape: tuple[int, int]) -> int:
    """Parameters of models.archs.linear."""
    pixels = shape[0] * shape[1]
    inner, *outer = config.decoder_widths
    encoder = _dense(config, pixels, *config.encoder_widths, 2 * config.latent_dim)
    decoder = _dense(config, config.latent_dim, inner) + _dense(config, inner, *outer, pixels)
    return (
        encoder + decoder + _norm(config, inner) + config.blocks * (_dense(config, inner, inner) + _norm(config, inner))
    )


def conv(config: TrainingConfig, shape: tuple[int, int]) -> int:
    """Parameters of models.archs.conv, of one width or two on either side."""
    places = (shape[0] // 4) ** 2
    inmost, first = config.encoder_widths[-1], config.decoder_widths[0]
    if len(config.encoder_widths) == 1:
        down = _kernel(16, inmost, 3)
    else:
        outer = config.encoder_widths[0]
        down = _kernel(1, outer, 4) + _norm(config, outer) + _kernel(outer, inmost, 4)
    if len(config.decoder_widths) == 1:
        up = _kernel(first, 16, 3)
    else:
        outer = config.decoder_widths[1]
        up = _kernel(first, outer, 4) + _norm(config, outer) + _kernel(outer, 1, 4)
    hidden = _dense(config, inmost * places, *config.hidden_widths, 2 * config.latent_dim)
    hidden += _dense(config, config.latent_dim, *config.hidden_widths[::-1], first * places)
    blocks = config.blocks * (_norm(config, first) + _kernel(first, first, 3))
    return down + _norm(config, inmost) + hidden + blocks + _norm(config, first) + up


# An architecture that is not here is built to be counted.
COUNTS: dict[str, Callable[[TrainingConfig, tuple[int, int]], int]] = {"linear": linear, "conv": conv}


def _norm(config: TrainingConfig, width: int) -> int:
    return 0 if config.norm == "none" else 2 * width


def _dense(config: TrainingConfig, *sizes: int) -> int:
    """Fully connected layers of these sizes, with what stands between them."""
    return sum((before + 1) * after for before, after in pairwise(sizes)) + sum(_norm(config, w) for w in sizes[1:-1])


def _kernel(before: int, after: int, side: int) -> int:
    return before * after * side**2 + after


def scaled_to(
    budget: int, count: Callable[[TrainingConfig], int], arch: str, latent_dim: int, **settings
) -> TrainingConfig:
    """The config, its widths scaled together, whose model has by that count the budget's parameters within 2 %.

    settings are further settings of TrainingConfig. InputError where no whole widths come that close.
    """
    base = TrainingConfig(arch=arch, latent_dim=latent_dim, **settings)
    names = ("encoder_widths", "decoder_widths", "hidden_widths")

    def scaled(scale: float) -> tuple[int, TrainingConfig]:
        widths = {name: [max(1, round(scale * width)) for width in getattr(base, name)] for name in names}
        config = dataclasses.replace(base, **widths)
        return count(config), config

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
        found = count(config)
        candidates.append((found, config))
    found, config = min(candidates, key=lambda pair: abs(pair[0] - budget))
    if abs(found - budget) > 0.02 * budget:
        raise InputError(f"budget {budget:,}: the nearest {arch} at latent_dim {latent_dim} has {found:,} parameters")
    return config
