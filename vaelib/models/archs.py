"""The architectures, each a function of a config and the images' shape to a VAE, under its name in config.ARCHS.

Images are square, with a side that is a multiple of 4.
"""

from itertools import pairwise

from torch import nn

from vaelib.config import TrainingConfig
from vaelib.models.layers import Double, FromMap, Halve, ToMap, between, dense, residual_layers
from vaelib.models.vae import VAE


def linear(config: TrainingConfig, shape: tuple[int, int]) -> VAE:
    """Fully connected layers only."""
    pixels = shape[0] * shape[1]
    encoder = dense(config, pixels, *config.encoder_widths, 2 * config.latent_dim)
    inner, *outer = config.decoder_widths
    decoder = [nn.Linear(config.latent_dim, inner), *residual_layers(config, inner), *between(config, inner)]
    decoder += [*dense(config, inner, *outer, pixels), nn.Unflatten(1, (1, *shape))]
    return VAE(nn.Sequential(nn.Flatten(), *encoder), nn.Sequential(*decoder), config.latent_dim, shape)


def conv(config: TrainingConfig, shape: tuple[int, int]) -> VAE:
    """Convolutions down to a quarter of the side, fully connected layers around z, convolutions up.

    Two widths halve the image twice, as in DCGAN (Radford et al. 2016). One width takes it apart into patches of
    4x4 pixels at once, as in ViT (Dosovitskiy et al. 2021), each seen with its neighbours.
    """
    places = (shape[0] // 4) ** 2
    if len(config.encoder_widths) == 1:
        (channels,) = config.encoder_widths
        down = [nn.PixelUnshuffle(4), nn.Conv2d(16, channels, 3, padding=1)]
    else:
        first, channels = config.encoder_widths
        down = [Halve(first), *between(config, first, dims=2), nn.Conv2d(first, channels, 4, stride=2, padding=1)]
    down += [*between(config, channels, dims=2), FromMap()]
    hidden = dense(config, channels * places, *config.hidden_widths, 2 * config.latent_dim)
    encoder = nn.Sequential(*down, *hidden)

    channels = config.decoder_widths[0]
    up = [*dense(config, config.latent_dim, *config.hidden_widths[::-1], channels * places), ToMap(channels)]
    up += [*residual_layers(config, channels, dims=2), *between(config, channels, dims=2)]
    if len(config.decoder_widths) == 1:
        up += [nn.Conv2d(channels, 16, 3, padding=1), nn.PixelShuffle(4)]
    else:
        last = config.decoder_widths[1]
        up += [nn.ConvTranspose2d(channels, last, 4, stride=2, padding=1), *between(config, last, dims=2), Double(last)]
    return VAE(encoder, nn.Sequential(*up), config.latent_dim, shape)


def convbn(config: TrainingConfig, shape: tuple[int, int]) -> VAE:
    """Convolutions with max-pooling, dropout and fully connected layers around z."""
    down = []
    for before, after in pairwise((1, *config.encoder_widths)):
        down += [nn.Conv2d(before, after, 3, padding=1), *between(config, after, dims=2), nn.MaxPool2d(2)]
    channels, side = config.encoder_widths[-1], shape[0] >> len(config.encoder_widths)
    down += [nn.Dropout(0.1), FromMap()]
    encoder = nn.Sequential(*down, *dense(config, channels * side**2, *config.hidden_widths, 2 * config.latent_dim))

    channels, side = config.decoder_widths[0], shape[0] >> len(config.decoder_widths)
    up = [*dense(config, config.latent_dim, *config.hidden_widths[::-1], channels * side**2), ToMap(channels)]
    up += [*residual_layers(config, channels, dims=2), *between(config, channels, dims=2)]
    for before, after in pairwise(config.decoder_widths):
        up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), *between(config, after, dims=2)]
    return VAE(encoder, nn.Sequential(*up, Double(config.decoder_widths[-1])), config.latent_dim, shape)
