"""Everything that is measured of a finished run, kept beside its weights.

metrics.json has the measures under their names, as metrics.py says; metrics.npz has those over images of each image,
so that two models can be compared image by image.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelib.config import InputError
from vaelib.data.sets import ImageData, as_float, hold_out, load, stratified
from vaelib.evaluation import classified, latents, likelihood, noise, samples
from vaelib.evaluation.inception import Inception
from vaelib.evaluation.latents import Codes
from vaelib.evaluation.metrics import once, over, read
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
    images do so again. Samples are drawn resamplings times. paths are scored between test images, class_draws are
    drawn of each class, and the first embedded test images are put into the plane.
    """

    draws: int = 1000
    images: int = 1000
    all_draws: int = 0
    resamplings: int = 5
    paths: int = 500
    class_draws: int = 300
    embedded: int = 2000


def powers_of_ten(draws: int) -> list[int]:
    """The k of the bounds L_k that so many draws give: the powers of ten that divide them, and all of them."""
    powers = [10**power for power in range(len(str(draws)))]
    return sorted({k for k in powers if draws % k == 0} | {draws})


def evaluate(
    run: Run | str | os.PathLike,
    *,
    features: Sequence[str] = ("classifier",),
    depth: Depth | None = None,
    noises: Sequence[str] = (),
    classifier: str | os.PathLike | None = None,
    inception_weights: str | os.PathLike | None = None,
    data_root: str | None = None,
    images: ImageData | None = None,
) -> dict[str, Any]:
    """Measures a finished run on the images it has not seen; what metrics.json holds, once it is written.

    ["measures"] has the values under their names: likelihood and codes in nats, how sharp pictures are and how well
    codes keep classes apart, and for each network of features, "classifier" or "inception", how good the samples are;
    of the classifier also what it takes pictures for. ["by_class"] has what is measured of each class. noises, such
    as "salt-pepper:0.1", are levels of corruption that images are restored from, and clean images are added to them;
    ["noise"] has the measures of each. A network that is not given and not there is named under ["missing"] with how
    to get it, and the rest is measured. Of an earlier evaluation of the same weights, the bounds on all images, other
    levels of noise and the measures by other networks are kept. images are needed of a run that learnt arrays.
    InputError for an unfinished run, for what is no noise, and where the images are not those that the run learnt.
    """
    levels = noise.levels(noises)
    run, depth = run if isinstance(run, Run) else Run.load(run), depth or Depth()
    model = run.model()
    images = images or load(run.config.dataset, data_root)
    if images.checksum != run.provenance["data_sha256"]:
        raise InputError(f"{run.path} learnt other images than this {images.name}")
    networks, missing = _networks(run, images, features, classifier, inception_weights)
    if run.config.held_out:
        images = hold_out(images, run.config.held_out)
    codes = latents.encode(model, images)
    facts, per_image = of_likelihood(model, images, codes, run, depth)
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
    _text(run, content)  # Weights of no use are refused here, before samples are drawn of them.
    sets = draw_sets(model, images, codes, depth.resamplings if networks else 1)
    each, tables = sharpness(sets, images), latents.by_class(codes, images, depth.embedded)
    found = {name: over("images", values) for name, values in each.items()}
    found |= latents.separation(codes, images, depth.embedded)
    try:
        if networks:
            sets["classes"] = [draw_classes(model, images, codes)]
        for name, network in networks.items():
            seen = features_of(sets, images, network, depth.resamplings)
            found |= {f"{name}_{key}": measure for key, measure in of_samples(seen).items()}
            content["networks"][name] = network.facts()
            if name == "classifier":
                of_each, measures, of_classes = classified.measured(
                    network, {key: draws[0] for key, draws in seen.items()}, model, codes, images,
                    depth.paths, depth.class_draws,
                )  # fmt: skip
                found |= {f"{name}_{key}": measure for key, measure in measures.items()}
                each |= {f"{name}_{key}": values for key, values in of_each.items()}
                tables |= of_classes
    except InputError as error:  # such as too few training images for what samples are drawn from
        missing |= {name: str(error) for name in networks if name not in content["networks"]}
    content["measures"] |= found
    content["by_class"] = {"names": list(images.class_names)} | {name: _rows(table) for name, table in tables.items()}
    network = networks["classifier"] if "classifier" in content["networks"] else None
    content["noise"] = {level: noise.of_noise(model, images, level, network) for level in levels}
    _keep(run, content)
    text, arrays = _text(run, content), {name: values.float().numpy() for name, values in (per_image | each).items()}
    write(run.path / "metrics.npz", npz_bytes(arrays))
    write(run.path / "metrics.json", text.encode())
    return content


def _text(run: Run, content: dict[str, Any]) -> str:
    """The content as metrics.json keeps it; InputError where a measure is not a number."""
    try:
        return json.dumps(content, indent=1, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{run.path}: a measure is not a number, the model's weights are of no use") from error


def _rows(table: np.ndarray) -> list:
    """The table as JSON keeps it, with five digits; nan, which JSON has not, is None."""
    table = table.astype(np.float64).round(5)
    return np.where(np.isnan(table), None, table).tolist()


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


def of_likelihood(
    model: VAE, images: ImageData, codes: Codes, run: Run, depth: Depth
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The measures in nats, with what goes with them, of the measured split; and those over images of each image."""
    x, pixels = images.test_images, as_float(images.test_images)
    # The seed is that of the evaluations in training, so that the same draws give the same numbers.
    generator = seeded(run.config.seed, 0, torch.device("cpu"))
    recon, kl = objective.elbo_terms(model, x, generator)
    negative_elbo, entropy = recon + kl, objective.pixel_entropy(pixels).double()
    mu, logvar = codes.mu, codes.logvar
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


def draw_sets(model: VAE, images: ImageData, codes: Codes, resamplings: int) -> dict[str, list[Tensor]]:
    """What the model draws and reconstructs, sets of pictures (N, h, w), each as large as the measured split.

    prior, and mixture as density.py draws it; and reconstructions of the split itself from z = mu.
    """
    count = len(images.test_images)
    mixture = density.fit_mixture(codes.train_mu, codes.train_logvar)
    return {
        "prior": [model.sample(count, seed) for seed in range(resamplings)],
        "mixture": [model.decode(density.sample_mixture(mixture, count, seed)) for seed in range(resamplings)],
        "reconstructions": [model.decode(codes.mu)],
    }


def draw_classes(model: VAE, images: ImageData, codes: Codes) -> Tensor:
    """Pictures (N, h, w) drawn class by class as density.py does, each class by its share of the training images.

    They are as many as the measured split has, but for rounding. InputError where a class has a single training image.
    """
    count, labels = len(images.test_images), images.train_labels
    shares = {label: round(count * (labels == label).float().mean().item()) for label in labels.unique().tolist()}
    return model.decode(density.class_draws(codes.train_mu, codes.train_logvar, labels, shares, seed=0))


def sharpness(sets: dict[str, list[Tensor]], images: ImageData) -> dict[str, Tensor]:
    """samples.sharpness of each image of the split, of its reconstruction, and of each picture of the first draws."""
    pictures = {
        "real": images.test_images,
        "recon": sets["reconstructions"][0],
        "prior": sets["prior"][0],
        "mixture": sets["mixture"][0],
    }
    return {f"sharpness_{name}": samples.sharpness(those) for name, those in pictures.items()}


def features_of(
    sets: dict[str, list[Tensor]], images: ImageData, network: samples.FeatureNetwork, resamplings: int
) -> dict[str, list[Tensor]]:
    """The network's features of each set under its name, and those of real images.

    reference are those of the measured split; real those of training images, as far as there are enough for a set.
    """
    count, order = len(images.test_images), torch.randperm(len(images.train_images), generator=_zero())
    real = images.train_images[order[: min(resamplings, len(order) // count) * count]]
    features = {"reference": [samples.remembered(network, images.test_images)]}
    features |= {name: [network.features(pictures) for pictures in draws] for name, draws in sets.items()}
    if len(real):
        features["real"] = list(samples.remembered(network, real).split(count))
    return features


def of_samples(features: dict[str, list[Tensor]]) -> dict[str, dict[str, Any]]:
    """The measures of samples' sets against the measured split, under the sets' names; features as those above.

    real are what honest images of that number score. Where the network learnt them it knows them better than the
    split, and the floor is a little too high.
    """
    (reference,), count = features["reference"], len(features["reference"][0])
    radii = samples.radii(reference)
    drawn = {name: draws for name, draws in features.items() if name != "reference"}
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
    # What a classifier said is kept as long as no other one spoke since.
    same = content["networks"].get("classifier") == earlier["networks"].get("classifier")
    for level, measures in earlier.get("noise", {}).items():
        kept = {name: measure for name, measure in measures.items() if same or not name.endswith("accuracy")}
        content["noise"][level] = kept | content["noise"].get(level, {})
    if "classifier" in others:
        content["by_class"] = earlier.get("by_class", {}) | content["by_class"]
