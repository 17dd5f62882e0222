"""The two terms of the evidence lower bound, of each image, in nats.

x and logits are (B, 1, 28, 28), x in [0, 1]; mu and logvar are (B, latent_dim); every result is (B,).
"""

import torch
from torch import Tensor


def log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x|z) of each image under independent Bernoulli pixels, in nats, shape (B,).

    Kingma & Welling 2014, app. C.1. Grey pixels make it a pseudo-likelihood
    (Loaiza-Ganem & Cunningham 2019): its best value is minus the pixels' entropy, not 0.
    """
    # summed over pixels, never averaged: a mean would weigh the KL 784 times too heavily
    logits, x = logits.to(torch.result_type(logits, x)).flatten(1), x.flatten(1)
    # log(1 + exp(logit)) = relu(logit) + log(1 + exp(-|logit|)); the logarithm is the slow part, so eight pixels,
    # their factors all between 1 and 2, share one
    factors = (1 + (-logits.abs()).exp()).unflatten(1, (8, -1)).prod(1)
    return (x * logits - logits.relu()).sum(1) - factors.log().sum(1)


def kl_to_prior(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)) of each image, in nats, shape (B,). Kingma & Welling 2014, app. B."""
    # summed over latent dimensions, never averaged: dividing by d would hide collapse
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1)


def weighted_loss(recon: Tensor, kl: Tensor, k1: float = 1.0, k2: float = 1.0) -> Tensor:
    """k1 recon + k2 kl averaged over images, a scalar; with k1 = k2 = 1 the negative ELBO.

    recon is minus the log-likelihood. Its minimum is that of the beta-VAE (Higgins et al. 2017)
    with beta = k2 / k1, in nats per image at any batch size.
    """
    return (k1 * recon + k2 * kl).mean()


def backward(logits: Tensor, mu: Tensor, logvar: Tensor, x: Tensor, k1: float = 1.0, k2: float = 1.0):
    """The backward pass of weighted_loss, begun at its gradient instead of its value.

    Per image the loss has the gradient k1 (sigmoid(logits) - x), k2 mu and k2 (exp(logvar) - 1) / 2. To learn,
    nobody needs its value, which costs a small model an eighth of its step.
    """
    with torch.no_grad():
        gradients = [
            (torch.sigmoid(logits) - x) * (k1 / len(x)),
            mu * (k2 / len(x)),
            torch.expm1(logvar) * (0.5 * k2 / len(x)),
        ]
    torch.autograd.backward([logits, mu, logvar], gradients)


def pixel_entropy(x: Tensor) -> Tensor:
    """Entropy of each image's grey pixels read as Bernoulli means, in nats, shape (B,).

    No reconstruction costs less: it is -log_likelihood at the logits that return x itself.
    """
    x = x.flatten(1)
    return -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(1)


def mean_image_cost(x: Tensor, mean: Tensor) -> Tensor:
    """-log p(x) of each image when every image is decoded to the same mean, in nats, shape (B,).

    With the set's own mean, no model whose z says nothing does better: the cost of total collapse.
    mean is (1, 28, 28), in (0, 1): a pixel at 0 or 1 makes any image that differs there impossible.
    """
    x, p = x.flatten(1), mean.flatten()
    return -(torch.xlogy(x, p) + torch.xlogy(1 - x, 1 - p)).sum(1)
