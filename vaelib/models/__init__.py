"""Networks: the variational autoencoder, its architectures, how one is built, and its objective in nats."""

from vaelib.models.build import build, count_of, count_parameters, match_parameters, parameter_table
from vaelib.models.layers import Double, FromMap, Halve, ToMap
from vaelib.models.objective import (
    anchors,
    backward,
    elbo_terms,
    kl_by_dimension,
    kl_to_prior,
    log_likelihood,
    mean_image_cost,
    pixel_entropy,
)
from vaelib.models.vae import BATCH, VAE
