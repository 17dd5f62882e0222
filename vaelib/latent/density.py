"""Densities in latent space: the aggregate posterior against the prior, a mixture and class Gaussians to draw from.

mu, logvar and codes are (N, latent_dim); log densities are in nats, float64.
"""

import copy
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vaelib.config import InputError
from vaelib.data.sets import ImageData
from vaelib.models.objective import kl_by_dimension
from vaelib.models.vae import VAE

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

UNUSED = 0.01  # nats: a dimension whose KL is lower on average is drawn from the prior, which it hardly differs from
ENTRIES = 20_000_000  # of the table of points by images that is worked on at a time: 160 MB


def aggregate_log_density(mu: Tensor, logvar: Tensor, points: Tensor) -> Tensor:
    """log q(z) of each point (M, latent_dim) under the aggregate posterior, in nats, float64 (M,).

    q(z) is the full mixture: the mean of q(z|x) over all N images (Hoffman & Johnson 2016).
    """
    # The sums are in float64, because with narrow posteriors the terms of the expanded square are large and cancel.
    mu, precision, points = mu.double(), (-logvar.double()).exp(), points.double()
    constant = (logvar.double() + mu.square() * precision).sum(1) + mu.shape[1] * math.log(2 * math.pi)
    totals = []
    for z in points.split(max(1, ENTRIES // len(mu))):
        square = z.square() @ precision.T - 2 * z @ (mu * precision).T
        totals.append(torch.logsumexp(-0.5 * (square + constant), dim=1))
    return torch.cat(totals) - math.log(len(mu))


def prior_log_density(points: Tensor) -> Tensor:
    """log N(z; 0, I) of each point, in nats, float64 (M,)."""
    points = points.double()
    return -0.5 * (points.square().sum(1) + points.shape[1] * math.log(2 * math.pi))


def log_density_ratio(mu: Tensor, logvar: Tensor, points: Tensor) -> Tensor:
    """log q(z) - log p(z) of each point, aggregate posterior against prior, in nats, float64 (M,)."""
    return aggregate_log_density(mu, logvar, points) - prior_log_density(points)


def holes(model: VAE, images: Tensor | np.ndarray, classifier, count: int = 2000) -> dict[str, float]:
    """How much of the prior nothing was encoded near, and how sure a classifier is of what is decoded there.

    holes    share of count draws from the prior with q(z) below a tenth of p(z), q over the images
    inside   the classifier's highest probability for pictures decoded in holes, averaged; nan where there are none
    outside  the same for the other draws
    """
    return holes_of(model, *model.encode(images), classifier, count)


def holes_of(model: VAE, mu: Tensor, logvar: Tensor, classifier, count: int = 2000) -> dict[str, float]:
    """holes of images that are encoded already."""
    z = torch.randn(count, mu.shape[1], generator=torch.Generator().manual_seed(0))
    hole = log_density_ratio(mu, logvar, z) < -math.log(10)
    sure = classifier.probabilities(model.decode(z)).amax(1)
    parts = {"holes": hole.float(), "inside": sure[hole], "outside": sure[~hole]}
    return {name: part.mean().item() if len(part) else math.nan for name, part in parts.items()}


@dataclass(frozen=True)
class Mixture:
    """Gaussians fitted to codes, over the dimensions that are in use; the others are drawn from the prior.

    gaussians is scikit-learn's, used is bool (latent_dim,).
    """

    gaussians: "GaussianMixture"
    used: Tensor


def fit_mixture(mu: Tensor, logvar: Tensor, components: int = 10, seed: int = 0) -> Mixture:
    """A mixture of full-covariance Gaussians fitted to one draw of each image's q(z|x), after Ghosh et al. 2020.

    A stand-in for the aggregate posterior: to draw from it, and not from the prior, stays out of the prior's holes.
    A dimension of less than UNUSED nats of KL on average is left out of the fit, as its codes are the prior's already;
    a thousand of them would take hours. There are no more components than images. A fit that has not settled after 500
    rounds is taken as it is. InputError for fewer than two images.
    """
    from sklearn.exceptions import ConvergenceWarning  # scikit-learn takes seconds to import: only where it is used
    from sklearn.mixture import GaussianMixture

    if len(mu) < 2:
        raise InputError(f"a mixture of the codes of {len(mu)} image: accepted are two images at least")
    eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed))
    z = mu + (0.5 * logvar).exp() * eps
    kl = kl_by_dimension(mu, logvar)
    used = kl >= min(UNUSED, kl.max().item())  # of a collapsed model the dimension that says most
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        gaussians = GaussianMixture(min(components, len(z)), random_state=seed, max_iter=500)
        return Mixture(gaussians.fit(z[:, used].double().numpy()), used)


def sample_mixture(mixture: Mixture, count: int, seed: int) -> Tensor:
    """Draws from the mixture in a random order, float32 (count, latent_dim)."""
    drawn, _ = copy.copy(mixture.gaussians).set_params(random_state=seed).sample(count)
    z = torch.randn(count, len(mixture.used), generator=torch.Generator().manual_seed(seed))
    # The draws come component by component, so that the first few would all be of one.
    z[:, mixture.used] = torch.from_numpy(np.random.default_rng(seed).permutation(drawn)).float()
    return z


def class_gaussian(mu: Tensor, logvar: Tensor, labels: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """Mean (latent_dim,) and covariance (latent_dim, latent_dim) of a class's codes z, in float64.

    The codes of an image are spread as q(z|x), so by the law of total variance the covariance is the covariance of
    the means plus the mean of the variances. InputError when the class has fewer than two images.
    """
    own = labels == label
    if own.sum() < 2:
        raise InputError(f"class {label}: a Gaussian needs two images at least, here are {int(own.sum())} of it")
    mu, var = mu[own].double(), logvar[own].double().exp()
    return mu.mean(0), torch.cov(mu.T, correction=0).reshape(mu.shape[1], -1) + var.mean(0).diag()


def sample_gaussian(mean: Tensor, covariance: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws from N(mean, covariance), float32 (count, latent_dim)."""
    eps = torch.randn(count, len(mean), generator=generator, dtype=torch.float64)
    return (mean + eps @ torch.linalg.cholesky(covariance).T).float()


def class_draws(
    mu: Tensor, logvar: Tensor, labels: Tensor, counts: dict[int, int], seed: int, diagonal: bool = False
) -> Tensor:
    """Codes drawn from a Gaussian fitted to each class's codes, float32 (N, latent_dim), class by class.

    counts says how many of each class; N is their sum.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = []
    for label, count in counts.items():
        mean, covariance = class_gaussian(mu, logvar, labels, label)
        draws.append(sample_gaussian(mean, covariance.diag().diag() if diagonal else covariance, count, generator))
    return torch.cat(draws)


def sample_classes(
    model: VAE,
    images: ImageData,
    classes: list[int],
    count: int,
    seed: int,
    diagonal: bool = False,
    codes: int | None = None,
) -> Tensor:
    """class_draws of the training images decoded, float32 (len(classes) * count, h, w).

    codes is how many training images of a class its Gaussian is fitted to, the first ones; a class with fewer uses all
    it has. InputError for a class that the images do not have, and for fewer than two codes.
    """
    if codes is not None and codes < 2:
        raise InputError(f"codes {codes}: accepted are 2 at least, a Gaussian needs them")
    for label in classes:
        if label not in range(len(images.class_names)):
            raise InputError(f"class {label}: accepted for {images.name} is 0 to {len(images.class_names) - 1}")
    x, labels = images.train_images, images.train_labels
    if codes is not None:
        chosen = torch.cat([(labels == label).nonzero()[:codes, 0] for label in classes])
        x, labels = x[chosen], labels[chosen]
    mu, logvar = model.encode(x)
    return model.decode(class_draws(mu, logvar, labels, dict.fromkeys(classes, count), seed, diagonal))
