"""How likely a model finds images that it has not seen, and what its codes carry. Everything in nats.

Images are uint8 (N, 1, 28, 28); mu and logvar are (N, latent_dim). On grey pixels every likelihood here is a
pseudo-likelihood (see objective.log_likelihood): models compare by it, but it is no probability of the images.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from vaelib import InputError, data, objective
from vaelib.density import aggregate_log_density, prior_log_density
from vaelib.models import VAE

ACTIVE = 0.01  # variance of E[z_j|x] over images above which dimension j is in use: Burda et al. 2016, sec. 5
BATCH = 500  # images decoded at a time: enough for two threads to share


def stratified(labels: Tensor, count: int) -> Tensor:
    """Indices of count images, of each class its share of the set, the same in every call; (count,).

    The shares matter, as digits differ in what they cost. InputError where the set has fewer images.
    """
    if not 1 <= count <= len(labels):
        raise InputError(f"{count} images: accepted is 1 to the {len(labels):,} of the set")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    place = torch.zeros(len(labels))  # of an image among those of its class, from 0 to 1
    for label in labels.unique():
        own = order[labels[order] == label]
        place[own] = (torch.arange(len(own)) + 0.5) / len(own)
    return order[place[order].argsort(stable=True)[:count]].sort().values


@torch.inference_mode()
def elbo_terms(model: VAE, images: Tensor, latent_dim: int, generator: torch.Generator) -> dict[str, Tensor]:
    """recon, of one sampled z, recon_at_mean, of z = mu, and kl of each image, each float64 (N,).

    recon + kl is the negative ELBO (Kingma & Welling 2014, eq. 10). recon_at_mean belongs to no bound: it leaves
    out what a code costs in precision, and is lower.
    """
    eps = torch.randn(len(images), latent_dim, generator=generator)
    terms = {"recon": [], "recon_at_mean": [], "kl": []}
    for batch, batch_eps in zip(images.split(BATCH), eps.split(BATCH), strict=True):
        x = data.as_float(batch)
        mu, logvar = model.encode(x)
        z = mu + (0.5 * logvar).exp() * batch_eps
        terms["recon"].append(-objective.log_likelihood(model.decode(z), x))
        terms["recon_at_mean"].append(-objective.log_likelihood(model.decode(mu), x))
        terms["kl"].append(objective.kl_to_prior(mu, logvar))
    return {name: torch.cat(parts).double() for name, parts in terms.items()}


@torch.inference_mode()
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
    mu, logvar = model.encode(x)
    spread = (0.5 * logvar).exp()
    rows = []
    # one draw of every image at a time: no image is copied for its draws
    for _ in range(draws):
        eps = torch.randn(mu.shape, generator=generator)
        z = mu + spread * eps
        # the constants of log p(z) and log q(z|x) cancel
        prior_to_posterior = 0.5 * (eps.square() - z.square() + logvar).sum(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            decoded = model.decode(z)
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
    """importance_bounds of uint8 images for each k of counts, and effective_samples of the largest, (N,) each.

    bfloat16 is as in log_weights. Shows a progress bar on a terminal.
    """
    bounds, effective = [], []
    with tqdm(total=len(images), unit=" images", desc=name, disable=None, leave=False) as bar:
        for batch in images.split(BATCH):
            weights = log_weights(model, data.as_float(batch), max(counts), generator, bfloat16=bfloat16)
            bounds.append(importance_bounds(weights, counts))
            effective.append(effective_samples(weights))
            bar.update(len(batch))
    return {k: torch.cat([one[k] for one in bounds]) for k in counts}, torch.cat(effective)


def active_units(mu: Tensor) -> Tensor:
    """Which dimensions are in use, bool (latent_dim,): those whose mean code varies over images. Burda et al. 2016."""
    return mu.double().var(0) > ACTIVE


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


def bits_per_pixel(nats: float, pixels: int = 28 * 28) -> float:
    """Nats per image as bits per pixel, the unit that models of other image sizes are compared in."""
    return nats / (pixels * math.log(2))
