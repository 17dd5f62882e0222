"""Everything that is measured of a finished run, kept beside its weights.

metrics.json has the measures under their names; metrics.npz has those over images of each image, so that two models
can be compared image by image. A measure is {"value", "error", "n", "over"}: over n "images" the error is the standard
error of their mean, over "resamplings" or "subsets" the standard deviation; what is taken "once" has none.
"""

import json
import math
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelib.config import InputError
from vaelib.data.sets import ImageData, as_float, hold_out, load, stratified
from vaelib.evaluation import likelihood, samples
from vaelib.evaluation.inception import Inception
from vaelib.latent import density
from vaelib.models import objective
from vaelib.models.vae import BATCH, VAE
from vaelib.provenance import commit, version
from vaelib.training.classifier import find_classifier
from vaelib.training.device import pick_precision, seeded
from vaelib.training.run import Run, npz_bytes, write

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


def evaluate(
    run: Run | str | os.PathLike,
    *,
    features: Sequence[str] = ("classifier",),
    depth: Depth | None = None,
    classifier: str | os.PathLike | None = None,
    inception_weights: str | os.PathLike | None = None,
    data_root: str | None = None,
    images: ImageData | None = None,
) -> dict[str, Any]:
    """Measures a finished run on the images it has not seen; what metrics.json holds, once it is written.

    ["measures"] has the values under their names: likelihood and codes in nats, and for each network of features,
    "classifier" or "inception", how good the samples are. A network that is not given and not there is named under
    ["missing"] with how to get it, and the rest is measured. Of an earlier evaluation of the same weights, the bounds
    on all images and the measures by other networks are kept. images are needed of a run that learnt arrays.
    InputError for an unfinished run, and where the images are not those that the run learnt.
    """
    run, depth = run if isinstance(run, Run) else Run.load(run), depth or Depth()
    model = run.model()
    images = images or load(run.config.dataset, data_root)
    if images.checksum != run.provenance["data_sha256"]:
        raise InputError(f"{run.path} learnt other images than this {images.name}")
    networks, missing = _networks(run, images, features, classifier, inception_weights)
    if run.config.held_out:
        images = hold_out(images, run.config.held_out)
    facts, per_image = of_likelihood(model, images, run, depth)
    content = {
        "weights_sha256": run.weights_sha256,
        "data_sha256": run.provenance["data_sha256"],
        "split": run.config.measured,
        "networks": {},
        "missing": missing,
        "torch": torch.__version__,
        "vaelib": version(),
        "commit": commit(),
        **facts,
    }
    try:
        sets = draw_sets(model, images, depth.resamplings) if networks else {}
        for name, network in networks.items():
            found = of_samples(sets, images, network, depth.resamplings)
            content["measures"] |= {f"{name}_{key}": measure for key, measure in found.items()}
            content["networks"][name] = network.facts()
    except InputError as error:  # such as too few training images for what samples are drawn from
        missing |= {name: str(error) for name in networks if name not in content["networks"]}
    _keep(run, content)
    try:
        text = json.dumps(content, indent=1, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{run.path}: a measure is not a number, the model's weights are of no use") from error
    write(run.path / "metrics.npz", npz_bytes({name: each.float().numpy() for name, each in per_image.items()}))
    write(run.path / "metrics.json", text.encode())
    return content


def _networks(
    run: Run, images: ImageData, features: Sequence[str], classifier, inception_weights
) -> tuple[dict[str, samples.FeatureNetwork], dict[str, str]]:
    """The networks that were asked for, and of those that are not there why; InputError where one was given."""
    beside = run.path.resolve().parent
    ways = {
        "classifier": (classifier, lambda: find_classifier(classifier or "", str(beside.parent), images)),
        "inception": (inception_weights, lambda: Inception.load(inception_weights)),
    }
    networks, missing = {}, {}
    for name in dict.fromkeys(features):
        if name not in ways:
            raise InputError(f"features {name!r}: accepted are {' and '.join(ways)}")
        given, make = ways[name]
        try:
            networks[name] = make()
        except InputError as error:
            if given is not None:
                raise
            missing[name] = str(error)
    return networks, missing


def of_likelihood(model: VAE, images: ImageData, run: Run, depth: Depth) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The measures in nats, with what goes with them, of the measured split; and those over images of each image."""
    x, pixels = images.test_images, as_float(images.test_images)
    # The seed is that of the evaluations in training, so that the same draws give the same numbers.
    generator = seeded(run.config.seed, 0, torch.device("cpu"))
    recon, kl = objective.elbo_terms(model, x, generator)
    negative_elbo, entropy = recon + kl, objective.pixel_entropy(pixels).double()
    mu, logvar = model.encode(x)
    per_image = {
        "recon_nats": recon,
        "kl_nats": kl,
        "negative_elbo_nats": negative_elbo,
        "recon_above_floor_nats": recon - entropy,
        # It belongs to no bound: it leaves out what a code costs in precision, and is lower.
        "recon_at_mean_nats": -objective.log_likelihood(_logits(model, mu), pixels).double(),
        **{f"{name}_nats": term for name, term in likelihood.aggregate_terms(mu, logvar, generator).items()},
        "bits_per_pixel": likelihood.bits_per_pixel(negative_elbo, math.prod(images.shape)),
    }
    # A thousand draws outweigh the decoder's rounding; a test holds them against float32.
    bfloat16 = pick_precision("auto", torch.device("cpu")) == "bfloat16"
    chosen = stratified(images.test_labels, min(depth.images, len(x)))
    bounds, effective = likelihood.bounded(model, x[chosen], powers_of_ten(depth.draws), generator, bfloat16)
    per_image |= {f"l{k}_nats": bound for k, bound in bounds.items()}
    per_image |= {"gap_nats": bounds[depth.draws] - bounds[1], "effective_samples": effective}
    if depth.all_draws:
        counts = powers_of_ten(depth.all_draws)
        bounds, _ = likelihood.bounded(model, x, counts, generator, bfloat16, "likelihood, all images")
        per_image |= {f"all_l{k}_nats": bound for k, bound in bounds.items()}
    measures = {name: over("images", each) for name, each in per_image.items()}
    # The best estimate takes the ELBO of all images and the gap of those chosen, as the gap differs less from image to
    # image than the bound does.
    measures["negative_bound_nats"] = once(negative_elbo.mean().item() - per_image["gap_nats"].mean().item())
    facts = {
        "measures": measures | {"active_units": once(likelihood.active_units(mu).sum().item())},
        "draws_decoded_in": "bfloat16" if bfloat16 else "float32",
        "log_images": math.log(len(x)),
        "entropy_floor_nats": entropy.mean().item(),
        "kl_by_dimension": objective.kl_by_dimension(mu, logvar).tolist(),
        "variance_by_dimension": likelihood.variances(mu).tolist(),
    }
    return facts, per_image


@torch.no_grad()
def _logits(model: VAE, z: Tensor) -> Tensor:
    """The decoder's logits of codes, (N, 1, h, w)."""
    return torch.cat([model.logits(batch) for batch in z.split(BATCH)])


def draw_sets(model: VAE, images: ImageData, resamplings: int) -> dict[str, list[Tensor]]:
    """What the model draws and reconstructs, sets of pictures (N, h, w), each as large as the measured split.

    prior, and mixture and classes as density.py draws them, each class by its share of the training images; and
    reconstructions of the split itself from z = mu.
    """
    count, labels = len(images.test_images), images.train_labels
    mu, logvar = model.encode(images.train_images)
    mixture = density.fit_mixture(mu, logvar)
    shares = {label: round(count * (labels == label).float().mean().item()) for label in labels.unique().tolist()}
    codes = {
        "mixture": [density.sample_mixture(mixture, count, seed) for seed in range(resamplings)],
        "classes": [density.class_draws(mu, logvar, labels, shares, seed=0)],
    }
    return {
        "prior": [model.sample(count, seed) for seed in range(resamplings)],
        **{name: [model.decode(z) for z in draws] for name, draws in codes.items()},
        "reconstructions": [model.reconstruct(images.test_images)],
    }


def of_samples(
    sets: dict[str, list[Tensor]], images: ImageData, network: samples.FeatureNetwork, resamplings: int
) -> dict[str, dict[str, Any]]:
    """The measures of samples' sets against the measured split, under the sets' names.

    real are training images, as far as there are enough for a set: what honest images of that number score. Where
    the network learnt them it knows them better than the split, and the floor is a little too high.
    """
    count, order = len(images.test_images), torch.randperm(len(images.train_images), generator=_zero())
    real = images.train_images[order[: min(resamplings, len(order) // count) * count]]
    reference = samples.remembered(network, images.test_images)
    radii = samples.radii(reference)
    drawn = {name: [network.features(pictures) for pictures in draws] for name, draws in sets.items()}
    if len(real):
        drawn["real"] = list(samples.remembered(network, real).split(count))
    found = {}
    for name, draws in drawn.items():
        for key, measure in (("fid", samples.frechet), ("fid_infinity", samples.fid_infinity)):
            found[f"{name}_{key}"] = over("resamplings", torch.tensor([measure(draw, reference) for draw in draws]))
        found[f"{name}_kid"] = over("subsets", samples.kid(draws[0], reference))
        shares = samples.neighbourhoods(draws[0], reference, radii)
        found |= {f"{name}_{key}": once(value) for key, value in shares.items()}
    if count >= LEGACY > reference.shape[1]:
        # They are drawn at random, because a test file's first images may be by a few writers.
        some = reference[torch.randperm(count, generator=_zero())[:LEGACY]]
        few = [samples.frechet(draw[:LEGACY], some) for draw in drawn["prior"]]
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


def _keep(run: Run, content: dict[str, Any]):
    """Adds what an earlier evaluation of these weights found and this one did not look for: it may have cost hours."""
    try:
        earlier = read(run)
    except InputError:
        return
    others = [name for name in earlier["networks"] if name not in content["networks"]]
    for name in others:
        content["networks"][name] = earlier["networks"][name]
        content["missing"].pop(name, None)
    for name, measure in earlier["measures"].items():
        if name.startswith(("all_l", *(f"{other}_" for other in others))):
            content["measures"].setdefault(name, measure)


def read(run: Run) -> dict[str, Any]:
    """What evaluate found of the run; InputError where there is no metrics.json, or one of other weights."""
    sha256 = run.weights_sha256
    file = run.path / "metrics.json"
    if not file.is_file():
        raise InputError(f"{run.path} has no metrics.json: vaelib evaluate {run.path} makes it")
    try:
        content = _renamed(json.loads(file.read_text()))
        right, measures = content["weights_sha256"] == sha256, content["measures"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged: {error!r}; vaelib evaluate {run.path} makes it anew") from error
    if not right:
        raise InputError(f"{file} was measured of other weights: vaelib evaluate {run.path} measures these")
    if not isinstance(measures, dict) or not measures:
        raise InputError(f"{file} has no measures: vaelib evaluate {run.path} makes it anew")
    return content


def per_image(run: Run) -> dict[str, np.ndarray]:
    """The measures over images of each image, (N,); InputError where metrics.npz cannot be read."""
    try:
        # numpy leaves a file open that it cannot read, so it is opened here.
        with open(run.path / "metrics.npz", "rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{run.path}/metrics.npz cannot be read: vaelib evaluate {run.path} makes it") from error


def values(run: Run) -> dict[str, float]:
    """The value of each measure of the run, by its name."""
    return {name: measure["value"] for name, measure in read(run)["measures"].items()}


def bound_counts(content: dict[str, Any]) -> list[int]:
    """The k of the bounds L_k that an evaluation holds, the smallest first."""
    return sorted(int(name[1:-5]) for name in content["measures"] if name[0] == "l" and name[1:-5].isdigit())


def report(content: dict[str, Any]) -> str:
    """What metrics.json holds as a table, a line for each measure."""
    lines = [f"{content['split']} images, in nats unless named otherwise; log N = {content['log_images']:.2f}"]
    for name, one in content["measures"].items():
        kind = "standard error" if one["over"] == "images" else "deviation"
        error = "" if one["error"] is None else f"  {kind} {one['error']:.3g} over {one['n']:,} {one['over']}"
        lines.append(f"  {name:36} {one['value']:12.6g}{error}")
    lines += [f"  {name}: {fact}" for name, facts in content["networks"].items() for fact in facts.values()]
    return "\n".join(lines + [f"  {name} is missing: {reason}" for name, reason in content["missing"].items()])


def _renamed(content: dict[str, Any]) -> dict[str, Any]:
    """The content of metrics.json in today's words: older runs call the classifier and its measures "mnist"."""
    return content | {
        key: {re.sub("^mnist(?=_|$)", "classifier", name): one for name, one in content[key].items()}
        for key in ("networks", "missing", "measures")
        if key in content
    }
