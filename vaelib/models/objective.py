"""The two terms of the evidence lower bound of each image, in nats, and what the images alone say of them.

x and logits are (B, 1, h, w), x in [0, 1]; mu and logvar are (B, latent_dim); results are (B,) unless said otherwise.
"""

import torch
from torch import Tensor

from vaelib.data.sets import ImageData, as_float
from vaelib.models.vae import BATCH, VAE


def log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x|z) of each image under independent Bernoulli pixels, in nats, shape (B,).

    Kingma & Welling 2014, app. C.1. Grey pixels make it a pseudo-likelihood
    (Loaiza-Ganem & Cunningham 2019): its best value is minus the pixels' entropy, not 0.
    """
    # Pixels are summed, never averaged: a mean would weigh the KL as many times too heavily as there are pixels.
    logits, x = logits.to(torch.result_type(logits, x)).flatten(1), x.flatten(1)
    # log(1 + exp(logit)) = relu(logit) + log(1 + exp(-|logit|)). Eight pixels share one logarithm, which is the slow
    # part: their factors all lie between 1 and 2, so that the product stays small.
    factors = (1 + (-logits.abs()).exp()).unflatten(1, (8, -1)).prod(1)
    return (x * logits - logits.relu()).sum(1) - factors.log().sum(1)


def kl_to_prior(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)) of each image, in nats, shape (B,). Kingma & Welling 2014, app. B."""
    # Dimensions are summed, never averaged: dividing by d would hide collapse.
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1)


def kl_by_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(q(z_j|x) || N(0, 1)) averaged over images, in nats, shape (latent_dim,). Kingma & Welling 2014, app. B."""
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).mean(0)


def backward(logits: Tensor, mu: Tensor, logvar: Tensor, x: Tensor, k1: float = 1.0, k2: float | Tensor = 1.0):
    """The backward pass of the training objective, begun at its gradient instead of its value.

    The objective is k1 recon + k2 kl averaged over images; its minimum is that of the beta-VAE (Higgins et al. 2017)
    with beta = k2 / k1. Per image it has the gradient k1 (sigmoid(logits) - x), k2 mu and k2 (exp(logvar) - 1) / 2.
    Its value is not needed to learn, and would cost a small model an eighth of its step.
    """
    with torch.no_grad():
        gradients = [
            (torch.sigmoid(logits) - x) * (k1 / len(x)),
            mu * (k2 / len(x)),
            torch.expm1(logvar) * (0.5 * k2 / len(x)),
        ]
    torch.autograd.backward([logits, mu, logvar], gradients)


@torch.no_grad()
def elbo_terms(model: VAE, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """recon, of one sampled z, and kl of each image of a set that data.as_images made, each float64 (N,).

    recon + kl is the negative ELBO (Kingma & Welling 2014, eq. 10). Generator, model and images share a device.
    """
    eps = torch.randn(len(images), model.latent_dim, generator=generator, device=images.device)
    recon, kl = [], []
    for batch, batch_eps in zip(images.split(BATCH), eps.split(BATCH), strict=True):
        x = as_float(batch)
        logits, mu, logvar = model(x, batch_eps)
        recon.append(-log_likelihood(logits, x))
        kl.append(kl_to_prior(mu, logvar))
    return torch.cat(recon).double(), torch.cat(kl).double()


def pixel_entropy(x: Tensor) -> Tensor:
    """Entropy of each image's grey pixels read as Bernoulli means, in nats, shape (B,).

    No reconstruction costs less: it is -log_likelihood at the logits that return x itself.
    """
    x = x.flatten(1)
    return -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(1)


def mean_image_cost(x: Tensor, mean: Tensor) -> Tensor:
    """-log p(x) of each image when every image is decoded to the same mean, in nats, shape (B,).

    With the set's own mean, no model whose z says nothing does better: the cost of total collapse.
    mean is (1, h, w), in (0, 1): a pixel at 0 or 1 makes any image that differs there impossible.
    """
    x, p = x.flatten(1), mean.flatten()
    return -(torch.xlogy(x, p) + torch.xlogy(1 - x, 1 - p)).sum(1)


def anchors(images: ImageData) -> dict[str, float]:
    """The two numbers that a test image's cost lies between, averaged over the test images, in nats.

    floor_nats     of a perfect reconstruction: the entropy of the grey pixels
    collapse_nats  of the mean training image decoded for every image, at a KL of 0
    """
    x, one = as_float(images.test_images), 1 / len(images.train_images)
    # A pixel that no training image has lit counts as lit in one, or a test image that lights it would cost infinity.
    mean = as_float(images.train_images).mean(0).clamp(one, 1 - one)
    return {
        "floor_nats": pixel_entropy(x).mean().item(),
        "collapse_nats": mean_image_cost(x, mean).mean().item(),
    }
