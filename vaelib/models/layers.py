"""What the models are made of: dense and residual layers, and convolutions in the forms that a CPU is fast at.

Feature maps are (B, C, H, W) in the channels_last layout throughout: a mixture of layouts has slow backward passes.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelib.config import TrainingConfig


def dense(config: TrainingConfig, *sizes: int) -> list[nn.Module]:
    """Fully connected layers of these sizes, norm and activation between them and none after the last."""
    layers = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), *between(config, after)]
    return layers[: -len(between(config, 1))]


def between(config: TrainingConfig, width: int, dims: int = 0) -> list[nn.Module]:
    """The norm, if any, and the activation that stand between two layers."""
    norms = {"none": [], "layer": [nn.LayerNorm(width)], "batch": [nn.BatchNorm1d(width)]}
    if dims:
        # one group: the normalisation of LayerNorm, over channels and places
        norms |= {"layer": [nn.GroupNorm(1, width)], "batch": [nn.BatchNorm2d(width)]}
    activations = {"relu": nn.ReLU(), "leaky-relu": nn.LeakyReLU(0.2), "gelu": nn.GELU(), "silu": nn.SiLU()}
    return [*norms[config.norm], activations[config.activation]]


class Residual(nn.Sequential):
    """x plus what its layers make of x (He et al. 2016, "identity mappings")."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def residual_layers(config: TrainingConfig, width: int, dims: int = 0) -> list[nn.Module]:
    """config.blocks residual layers, each the identity to begin with.

    A model that is deep from the start says less in each latent dimension, and gives some up before it has learnt.
    """

    def layer():
        made = nn.Conv2d(width, width, 3, padding=1) if dims else nn.Linear(width, width)
        nn.init.zeros_(made.weight)
        nn.init.zeros_(made.bias)
        return made

    return [Residual(*between(config, width, dims), layer()) for _ in range(config.blocks)]


class Halve(nn.Conv2d):
    """The 4x4 convolution of stride 2 from one channel, computed as a 3x3 one over blocks of 2x2 pixels.

    The same function of the same weights; the CPU's kernel for one input channel has a slow backward pass.
    """

    def __init__(self, channels: int):
        super().__init__(1, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        weight = F.pixel_unshuffle(F.pad(self.weight, (1, 1, 1, 1)), 2)  # (channels, 4, 3, 3)
        # A convolution's result has its weight's layout, and a mixture of layouts has slow backward passes.
        weight = weight.contiguous(memory_format=torch.channels_last)
        return F.conv2d(F.pixel_unshuffle(x, 2), weight, self.bias, padding=1)


class Double(nn.ConvTranspose2d):
    """The 4x4 transposed convolution of stride 2 to one channel, computed as a sub-pixel convolution.

    The same function of the same weights (Shi et al. 2016), several times faster on a CPU.
    """

    def __init__(self, channels: int):
        super().__init__(channels, 1, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        weight = F.pixel_unshuffle(F.pad(self.weight, (1, 1, 1, 1)), 2).flip(2, 3)  # (channels, 4, 3, 3)
        return F.pixel_shuffle(F.conv2d(x, weight.transpose(0, 1), self.bias.expand(4), padding=1), 2)


class FromMap(nn.Module):
    """(B, C, H, W) as (B, H W C): the order in memory of channels_last, so that nothing is copied."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class ToMap(nn.Module):
    """(B, H W C) as (B, C, H, W) in the channels_last layout, H = W."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, h: Tensor) -> Tensor:
        side = math.isqrt(h.shape[1] // self.channels)
        return h.unflatten(1, (side, side, self.channels)).permute(0, 3, 1, 2)
