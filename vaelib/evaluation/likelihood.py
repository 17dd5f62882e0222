"""How likely a model finds images that it has not seen, and what its codes carry. Everything in nats.

Images are sets that data.as_images made, (N, 1, h, w); mu and logvar are (N, latent_dim). On grey pixels every
likelihood here is a pseudo-likelihood (see objective.log_likelihood): models compare by it, but it is no probability
of the images.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from vaelib.config import InputError
from vaelib.data.sets import as_float
from vaelib.latent.density import aggregate_log_density, prior_log_density
from vaelib.models import objective
from vaelib.models.vae import BATCH, VAE

ACTIVE = 0.01  # variance of E[z_j|x] over images above which dimension j is in use: Burda et al. 2016, sec. 5


@torch.no_grad()
def log_weights(
    model: VAE,
    x: Tensor,
    draws: int,
    generator: torch.Generator,
    log_likelihood: Callable[[Tensor, Tensor], Tensor] = objective.log_likelihood,
    bfloat16: bool = False,
) -> Tensor:
    """log p(x|z) + log p(z) - log q(z|x) for that many draws z from q(z|x) of each image x, float64 (draws, B).

    Burda et al. 2016, sec. 3. log_likelihood is of a batch of what the decoder returns, given its images; bfloat16
    lets the decoder multiply in it.
    """
    mu, logvar = model.posterior(x)
    spread = (0.5 * logvar).exp()
    rows = []
    # Every image is drawn once at a time, so that no image is copied for its draws.
    for _ in range(draws):
        eps = torch.randn(mu.shape, generator=generator)
        z = mu + spread * eps
        # The constants of log p(z) and log q(z|x) cancel.
        prior_to_posterior = 0.5 * (eps.square() - z.square() + logvar).sum(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            decoded = model.logits(z)
        rows.append((log_likelihood(decoded, x) + prior_to_posterior).double())
    return torch.stack(rows)


def importance_bounds(log_weights: Tensor, counts: Sequence[int]) -> dict[int, Tensor]:
    """The importance-weighted bound L_k of each image for each k of counts, in nats, (B,). Burda et al. 2016, sec. 3.

    log_weights is (draws, B). L_k is averaged over the draws // k disjoint groups of k draws: every draw is used, and
    L_1 <= L_10 <= L_100 holds for each image, as a group of 100 is ten groups of 10. InputError for a k that does
    not divide the draws.
    """
    draws = len(log_weights)
    for k in counts:
        if not 1 <= k <= draws or draws % k:
            raise InputError(f"k {k}: accepted is a divisor of the {draws:,} draws")
    grouped = {k: log_weights.reshape(draws // k, k, -1) for k in counts}
    return {k: (groups.logsumexp(1) - math.log(k)).mean(0) for k, groups in grouped.items()}


def effective_samples(log_weights: Tensor) -> Tensor:
    """Of each image's draws, how many count: (sum w)^2 / sum w^2, from 1 to all of them, (B,). Kong 1992.

    Near 1 one draw decides the bound, and it may lie far below the likelihood.
    """
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()


def bounded(
    model: VAE,
    images: Tensor,
    counts: Sequence[int],
    generator: torch.Generator,
    bfloat16: bool = False,
    name: str = "likelihood",
) -> tuple[dict[int, Tensor], Tensor]:
    """importance_bounds of images for each k of counts, and effective_samples of the largest, (N,) each.

    bfloat16 is as in log_weights. Shows a progress bar on a terminal.
    """
    bounds, effective = [], []
    with tqdm(total=len(images), unit=" images", desc=name, disable=None, leave=False) as bar:
        for batch in images.split(BATCH):
            weights = log_weights(model, as_float(batch), max(counts), generator, bfloat16=bfloat16)
            bounds.append(importance_bounds(weights, counts))
            effective.append(effective_samples(weights))
            bar.update(len(batch))
    return {k: torch.cat([one[k] for one in bounds]) for k in counts}, torch.cat(effective)


def active_units(mu: Tensor) -> Tensor:
    """Which dimensions are in use, bool (latent_dim,): those whose mean code varies over images. Burda et al. 2016."""
    return variances(mu) > ACTIVE


def variances(mu: Tensor) -> Tensor:
    """The variance of each dimension's mean code over images, (latent_dim,); 0 of a single image."""
    return mu.double().var(0, correction=min(1, len(mu) - 1))


def aggregate_terms(mu: Tensor, logvar: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """The KL of the codes in two parts, with one draw z of each image, float64 (N,) each. Hoffman & Johnson 2016.

    mutual_information  log q(z|x) - log q(z): in mean what z tells of which image it came from, at most log N
    marginal_kl         log q(z) - log p(z): in mean how far the codes together are from the prior

    q(z) is the full mixture over the N images, so that both are of these images alone.
    """
    mu, logvar = mu.double(), logvar.double()
    eps = torch.randn(mu.shape, generator=generator, dtype=torch.float64)
    z = mu + (0.5 * logvar).exp() * eps
    own = -0.5 * (eps.square() + logvar + math.log(2 * math.pi)).sum(1)
    together = aggregate_log_density(mu, logvar, z)
    return {"mutual_information": own - together, "marginal_kl": together - prior_log_density(z)}


def bits_per_pixel(nats: Tensor | float, pixels: int) -> Tensor | float:
    """Nats per image as bits per pixel, the unit that models of other image sizes are compared in."""
    return nats / (pixels * math.log(2))
