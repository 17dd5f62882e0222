"""What is measured of a model, each measure with its error: bounds and codes in nats, samples by their features.

A measure is {"value", "error", "n", "over"}: over n "images" the error is the standard error of their mean, over
"resamplings" or "subsets" the standard deviation; what is taken "once" has none.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaelib import data, density, latent, likelihood, objective, quality
from vaelib.features import FeatureNetwork, remembered
from vaelib.models import VAE
from vaelib.run import Run
from vaelib.step import pick_precision, seeded

LEGACY = 1024  # images that reports like to quote a FID of


@dataclass(frozen=True)
class Depth:
    """How far an evaluation goes.

    draws of z for each of so many images bound their likelihood; where all_draws is above 0, so many for each of all
    images do so again. Samples are drawn resamplings times.
    """

    draws: int = 1000
    images: int = 1000
    all_draws: int = 0
    resamplings: int = 5


def powers_of_ten(draws: int) -> list[int]:
    """The k of the bounds L_k that so many draws give: the powers of ten that divide them, and all of them."""
    powers = [10**power for power in range(len(str(draws)))]
    return sorted({k for k in powers if draws % k == 0} | {draws})


def of_likelihood(
    model: VAE, images: data.ImageData, run: Run, depth: Depth
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The measures in nats, with what goes with them, of the measured split; and those over images of each image."""
    x, latent_dim = images.test_images, run.config.latent_dim
    # under the seed of the evaluations in training: the same draws, the same numbers
    generator = seeded(run.config.seed, 0, torch.device("cpu"))
    terms = likelihood.elbo_terms(model, x, latent_dim, generator)
    negative_elbo, entropy = terms["recon"] + terms["kl"], objective.pixel_entropy(data.as_float(x)).double()
    mu, logvar = latent.encode(model, x)
    per_image = {
        "recon_nats": terms["recon"],
        "kl_nats": terms["kl"],
        "negative_elbo_nats": negative_elbo,
        "recon_above_floor_nats": terms["recon"] - entropy,
        "recon_at_mean_nats": terms["recon_at_mean"],
        **{f"{name}_nats": term for name, term in likelihood.aggregate_terms(mu, logvar, generator).items()},
        "bits_per_pixel": likelihood.bits_per_pixel(negative_elbo),
    }
    # a thousand draws outweigh the decoder's rounding: a test holds them against float32
    bfloat16 = pick_precision("auto", torch.device("cpu")) == "bfloat16"
    chosen = likelihood.stratified(images.test_labels, min(depth.images, len(x)))
    bounds, effective = likelihood.bounded(model, x[chosen], powers_of_ten(depth.draws), generator, bfloat16)
    per_image |= {f"l{k}_nats": bound for k, bound in bounds.items()}
    per_image |= {"gap_nats": bounds[depth.draws] - bounds[1], "effective_samples": effective}
    if depth.all_draws:
        counts = powers_of_ten(depth.all_draws)
        bounds, _ = likelihood.bounded(model, x, counts, generator, bfloat16, "likelihood, all images")
        per_image |= {f"all_l{k}_nats": bound for k, bound in bounds.items()}
    measures = {name: over("images", each) for name, each in per_image.items()}
    # the ELBO of all images, and the gap of those chosen, which differs less from image to image than the bound does
    measures["negative_bound_nats"] = once(negative_elbo.mean().item() - per_image["gap_nats"].mean().item())
    facts = {
        "measures": measures | {"active_units": once(likelihood.active_units(mu).sum().item())},
        "draws_decoded_in": "bfloat16" if bfloat16 else "float32",
        "log_images": math.log(len(x)),
        "entropy_floor_nats": entropy.mean().item(),
        "kl_by_dimension": latent.kl_by_dimension(mu, logvar).tolist(),
        "variance_by_dimension": mu.double().var(0).tolist(),
    }
    return facts, per_image


def samples(model: VAE, images: data.ImageData, latent_dim: int, resamplings: int) -> dict[str, list[Tensor]]:
    """What the model draws and reconstructs, sets of pictures (N, 28, 28), each as large as the measured split.

    prior, and mixture and classes as density.py draws them, each class by its share of the training images; and
    reconstructions of the split itself from z = mu.
    """
    count, labels = len(images.test_images), images.train_labels
    mu, logvar = latent.encode(model, images.train_images)
    mixture = density.fit_mixture(mu, logvar)
    shares = {label: round(count * (labels == label).float().mean().item()) for label in labels.unique().tolist()}
    codes = {
        "mixture": [density.sample_mixture(mixture, count, seed) for seed in range(resamplings)],
        "classes": [density.class_draws(mu, logvar, labels, shares, seed=0)],
    }
    return {
        "prior": [latent.sample_prior(model, latent_dim, count, seed) for seed in range(resamplings)],
        **{name: [latent.decode(model, z) for z in draws] for name, draws in codes.items()},
        "reconstructions": [latent.reconstruct(model, images.test_images)],
    }


def of_samples(
    sets: dict[str, list[Tensor]], images: data.ImageData, network: FeatureNetwork, resamplings: int
) -> dict[str, dict[str, Any]]:
    """The measures of samples' sets against the measured split, under the sets' names.

    real are training images, as far as there are enough for a set: what honest images of that number score. Where
    the network learnt them it knows them better than the split, and the floor is a little too high.
    """
    count, order = len(images.test_images), torch.randperm(len(images.train_images), generator=_zero())
    real = images.train_images[order[: min(resamplings, len(order) // count) * count]]
    reference = remembered(network, images.test_images)
    radii = quality.radii(reference)
    drawn = {name: [network.features(pictures) for pictures in draws] for name, draws in sets.items()}
    if len(real):
        drawn["real"] = list(remembered(network, real).split(count))
    found = {}
    for name, draws in drawn.items():
        for key, measure in (("fid", quality.fid), ("fid_infinity", quality.fid_infinity)):
            found[f"{name}_{key}"] = over("resamplings", torch.tensor([measure(draw, reference) for draw in draws]))
        found[f"{name}_kid"] = over("subsets", quality.kid(draws[0], reference))
        shares = quality.neighbourhoods(draws[0], reference, radii)
        found |= {f"{name}_{key}": once(value) for key, value in shares.items()}
    if count >= LEGACY > reference.shape[1]:
        # at random: a test file's first images may be by a few writers
        some = reference[torch.randperm(count, generator=_zero())[:LEGACY]]
        few = [quality.fid(draw[:LEGACY], some) for draw in drawn["prior"]]
        found[f"prior_fid_{LEGACY}"] = over("resamplings", torch.tensor(few))
    return found


def over(what: str, each: Tensor) -> dict[str, Any]:
    """The measure of values: their mean, and its error or their deviation."""
    each, n = each.double(), len(each)
    error = each.std().item() / (math.sqrt(n) if what == "images" else 1) if n > 1 else None
    return {"value": each.mean().item(), "error": error, "n": n, "over": what}


def once(value: float) -> dict[str, Any]:
    """A measure that is taken once."""
    return {"value": value, "error": None, "n": 1, "over": "once"}


def _zero() -> torch.Generator:
    return torch.Generator().manual_seed(0)
