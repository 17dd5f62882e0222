"""Everything that is measured of a finished run, kept beside its weights in metrics.json.

A measure is {"value", "error", "n", "over"}: the error is the standard error of a mean over n images, or the standard
deviation over n resamplings or subsets; there is none where n is 1.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaelib import InputError, __version__, data, density, latent, likelihood, objective, quality
from vaelib.features import FeatureNetwork, remembered
from vaelib.models import VAE
from vaelib.run import Run, commit, write
from vaelib.step import pick_precision, seeded


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


def evaluate(
    run: Run,
    images: data.ImageData,
    networks: dict[str, FeatureNetwork],
    missing: dict[str, str] | None = None,
    depth: Depth | None = None,
) -> dict[str, Any]:
    """What metrics.json holds, once it is written.

    networks are those that samples are compared by, under the names that their measures begin with; missing says
    of others why they are not there. InputError for an unfinished run, and where the images are not those that the
    run learnt.
    """
    depth = depth or Depth()
    model = run.model()
    if images.checksum != run.provenance["data_sha256"]:
        raise InputError(f"{run.path} learnt other images than this {images.name}")
    if run.config.held_out:
        images = data.hold_out(images, run.config.held_out)
    content = {
        "weights_sha256": weights_sha256(run),
        "data_sha256": run.provenance["data_sha256"],
        "split": run.config.measured,
        "networks": {name: network.facts() for name, network in networks.items()},
        "missing": missing or {},
        "torch": torch.__version__,
        "vaelib": __version__,
        "commit": commit(),
        **of_likelihood(model, images, run, depth),
    }
    for name, network in networks.items():
        found = of_samples(model, images, run.config.latent_dim, network, depth.resamplings)
        content["measures"] |= {f"{name}_{key}": measure for key, measure in found.items()}
    write(run.path / "metrics.json", json.dumps(content, indent=1).encode())
    return content


def read(run: Run) -> dict[str, Any]:
    """What evaluate found of the run; InputError where there is no metrics.json, or one of other weights."""
    file = run.path / "metrics.json"
    if not file.is_file():
        raise InputError(f"{run.path} has no metrics.json: vaelib evaluate {run.path} makes it")
    try:
        content = json.loads(file.read_text())
        right = content["weights_sha256"] == weights_sha256(run) and content["measures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error!r}") from error
    if not right:
        raise InputError(f"{file} was measured of other weights: vaelib evaluate {run.path} measures these")
    return content


def values(run: Run) -> dict[str, float]:
    """The value of each measure of the run, by its name."""
    return {name: measure["value"] for name, measure in read(run)["measures"].items()}


def as_text(content: dict[str, Any]) -> str:
    """What metrics.json holds as a table, a line for each measure."""
    lines = [f"{content['split']} images, in nats unless named otherwise; log N = {content['log_images']:.2f}"]
    for name, one in content["measures"].items():
        error = "" if one["error"] is None else f" ± {one['error']:.3f} over {one['n']:,} {one['over']}"
        lines.append(f"  {name:36} {one['value']:12.3f}{error}")
    lines += [f"  {name}: {fact}" for name, facts in content["networks"].items() for fact in facts.values()]
    return "\n".join(lines + [f"  {name} is missing: {reason}" for name, reason in content["missing"].items()])


def weights_sha256(run: Run) -> str:
    """sha256 of the file of the run's weights; InputError for an unfinished run."""
    run.require_finished()
    return hashlib.sha256((run.path / "model.safetensors").read_bytes()).hexdigest()


def of_likelihood(model: VAE, images: data.ImageData, run: Run, depth: Depth) -> dict[str, Any]:
    """The measures in nats, and of each dimension its KL and how its mean code varies, of the measured split."""
    x, latent_dim = images.test_images, run.config.latent_dim
    # under the seed of the evaluations in training: the same draws, the same numbers
    generator = seeded(run.config.seed, 0, torch.device("cpu"))
    terms = likelihood.elbo_terms(model, x, latent_dim, generator)
    negative_elbo = terms["recon"] + terms["kl"]
    mu, logvar = latent.encode(model, x)
    per_image = {
        "recon_nats": terms["recon"],
        "kl_nats": terms["kl"],
        "negative_elbo_nats": negative_elbo,
        "recon_above_floor_nats": terms["recon"] - objective.pixel_entropy(data.as_float(x)).double(),
        "recon_at_mean_nats": terms["recon_at_mean"],
        **{f"{name}_nats": term for name, term in likelihood.aggregate_terms(mu, logvar, generator).items()},
        "bits_per_pixel": likelihood.bits_per_pixel(negative_elbo),
    }
    chosen = likelihood.stratified(images.test_labels, min(depth.images, len(x)))
    # a thousand draws weigh a rounding of the decoder's out: the test of it is in test_likelihood
    bfloat16 = pick_precision("auto", torch.device("cpu")) == "bfloat16"
    bounds, effective = likelihood.bounded(model, x[chosen], powers_of_ten(depth.draws), generator, bfloat16)
    per_image |= {f"l{k}_nats": bound for k, bound in bounds.items()}
    per_image |= {"gap_nats": bounds[depth.draws] - bounds[1], "effective_samples": effective}
    if depth.all_draws:
        counts = powers_of_ten(depth.all_draws)
        bounds, _ = likelihood.bounded(model, x, counts, generator, bfloat16, "likelihood, all images")
        per_image |= {f"all_l{k}_nats": bound for k, bound in bounds.items()}
    return {
        "measures": {name: over("images", value) for name, value in per_image.items()}
        | {"active_units": single(likelihood.active_units(mu).sum().item())},
        "draws_decoded_in": "bfloat16" if bfloat16 else "float32",
        "log_images": math.log(len(x)),
        "entropy_floor_nats": objective.pixel_entropy(data.as_float(x)).double().mean().item(),
        "kl_by_dimension": latent.kl_by_dimension(mu, logvar).tolist(),
        "variance_by_dimension": mu.double().var(0).tolist(),
    }


def of_samples(
    model: VAE, images: data.ImageData, latent_dim: int, network: FeatureNetwork, resamplings: int
) -> dict[str, dict[str, Any]]:
    """The measures of what the model draws and reconstructs, each set as large as the split it is compared with.

    prior_, mixture_ and classes_ are draws by density.py, reconstructions_ those of the split itself from z = mu;
    real_ are training images, the floor that no model's samples of that number are expected below.
    """
    x, count = images.test_images, len(images.test_images)
    mu, logvar = latent.encode(model, images.train_images)
    mixture = density.fit_mixture(mu, logvar)
    classes = images.train_labels.unique().tolist()
    by_class = density.class_draws(mu, logvar, images.train_labels, classes, -(-count // len(classes)), seed=0)
    order = torch.randperm(len(images.train_images), generator=torch.Generator().manual_seed(0))
    real = images.train_images[order[: min(resamplings, len(order) // count) * count]]

    def drawn(sample) -> list[Tensor]:
        return [network.features(sample(seed)) for seed in range(resamplings)]

    sets = {
        "prior": drawn(lambda seed: latent.sample_prior(model, latent_dim, count, seed)),
        "mixture": drawn(lambda seed: latent.decode(model, density.sample_mixture(mixture, count, seed))),
        "classes": [network.features(latent.decode(model, by_class))],
        "reconstructions": [network.features(latent.reconstruct(model, x))],
        "real": list(remembered(network, real).split(count)),
    }
    reference = remembered(network, x)
    radii = quality.radii(reference)
    found = {}
    for name, draws in sets.items():
        found[f"{name}_fid"] = over("resamplings", torch.tensor([quality.fid(draw, reference) for draw in draws]))
        found[f"{name}_fid_infinity"] = single(quality.fid_infinity(draws[0], reference))
        found[f"{name}_kid"] = over("subsets", quality.kid(draws[0], reference))
        found |= {
            f"{name}_{key}": single(value) for key, value in quality.neighbourhoods(draws[0], reference, radii).items()
        }
    few = min(quality.LEGACY, count)
    found["prior_fid_1024"] = single(quality.fid(sets["prior"][0][:few], reference[:few]))
    return found


def over(what: str, each: Tensor) -> dict[str, Any]:
    """The measure of values: their mean, and its error or their deviation."""
    each, n = each.double(), len(each)
    error = each.std().item() / (math.sqrt(n) if what == "images" else 1) if n > 1 else None
    return {"value": each.mean().item(), "error": error, "n": n, "over": what}


def single(value: float) -> dict[str, Any]:
    """A measure that is taken once."""
    return {"value": value, "error": None, "n": 1, "over": "once"}
