"""What the classifier says of a model's pictures: of samples, reconstructions, paths, holes, and classes asked for.

Its word is that of a network trained on real images. labels and mu are of the measured split, (N,) and
(N, latent_dim); the first ones are 0 to classes - 1.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelib.config import InputError
from vaelib.data.sets import ImageData, as_float
from vaelib.evaluation.latents import Codes
from vaelib.evaluation.metrics import once, over
from vaelib.latent import density, maps, paths
from vaelib.models.vae import VAE
from vaelib.training.classifier import Classifier

STEPS = 9  # pictures on a path, both ends included
# What a path is scored by, and what its measures are called.
SCORES = {"confidence": "sure", "label_changes": "changes", "nearest": "nearest", "evenness": "even"}


def measured(
    classifier: Classifier,
    features: dict[str, Tensor],
    model: VAE,
    codes: Codes,
    images: ImageData,
    path_count: int,
    class_draws: int,
) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """All that this module measures: of each image, the measures, and the tables by class.

    features are the classifier's, of the sets reference (the images themselves), prior, mixture and reconstructions.
    """
    each = of_images(classifier, features, images.test_labels)
    hits, tables = of_class_draws(model, codes, images, classifier, class_draws)
    measures = {name: over("images", values) for name, values in each.items()}
    measures |= of_paths(model, codes.mu, images, classifier, path_count) | of_holes(model, codes, classifier) | hits
    return each, measures, tables | by_class(model, features, classifier)


def of_images(classifier: Classifier, features: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """How sure the classifier is of each picture, and what it takes reconstructions for, (N,) each; features as above.

    real_sure, prior_sure, mixture_sure   its highest probability
    kept                                  1 where a reconstruction has the label that the image was given, else 0
    right                                 1 where a reconstruction has the image's true label, else 0
    """
    said = {name: classifier.named(of) for name, of in features.items()}
    before, after = said["reference"].argmax(1), said["reconstructions"].argmax(1)
    return {
        "real_sure": said["reference"].amax(1),
        "prior_sure": said["prior"].amax(1),
        "mixture_sure": said["mixture"].amax(1),
        "kept": (after == before).float(),
        "right": (after == labels).float(),
    }


def of_paths(
    model: VAE, mu: Tensor, images: ImageData, classifier: Classifier, count: int
) -> dict[str, dict[str, Any]]:
    """The measures of scores over count paths between test images: straight, along the arc, and of blended pixels.

    Nothing where all images are of one class.
    """
    try:
        ends = paths.pairs(images.test_labels, count, seed=0)
    except InputError:
        return {}
    start, end = mu[ends].unbind(1)
    blended = paths.lerp(*as_float(images.test_images[ends.flatten()])[:, 0].unflatten(0, (-1, 2)).unbind(1), STEPS)
    kinds = {
        "straight": paths.decoded(model, paths.lerp(start, end, STEPS)),
        "arc": paths.decoded(model, paths.slerp(start, end, STEPS)),
        "blended": blended,
    }
    found = {}
    for kind, pictures in kinds.items():
        table = paths.scores(pictures, classifier, images.train_images)
        for score, name in SCORES.items():
            found[f"{kind}_{name}"] = over("paths", torch.tensor(table[score].tolist()))
    return found


def of_holes(model: VAE, codes: Codes, classifier: Classifier) -> dict[str, dict[str, Any]]:
    """density.holes of the measured split; a measure of holes where there are none is left out."""
    found = density.holes_of(model, codes.mu, codes.logvar, classifier)
    named = {name if name == "holes" else f"holes_{name}": value for name, value in found.items()}
    return {name: once(value) for name, value in named.items() if not math.isnan(value)}


def of_class_draws(
    model: VAE, codes: Codes, images: ImageData, classifier: Classifier, count: int
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Of count draws from a Gaussian of each class's codes, those that the classifier names as the class asked for.

    The measures hits_diagonal and hits_full, and by class hits_diagonal, hits_full and seen_full. A class of a single
    training image has no Gaussian, and nan.
    """
    classes = len(images.class_names)
    sizes = images.train_labels.bincount(minlength=classes)
    asked = (sizes > 1).nonzero()[:, 0]
    found, by_class = {}, {}
    for kind in ("diagonal", "full"):
        counts = dict.fromkeys(asked.tolist(), count)
        if not counts:
            break
        z = density.class_draws(codes.train_mu, codes.train_logvar, images.train_labels, counts, 1, kind == "diagonal")
        drawn, names = asked.repeat_interleave(count), torch.from_numpy(classifier.names(model.decode(z)))
        seen = shares(drawn, names, classes)
        found[f"hits_{kind}"] = over("draws", (names == drawn).float())
        by_class[f"hits_{kind}"] = seen.diagonal()
        if kind == "full":
            by_class["seen_full"] = seen
    return found, by_class


def by_class(model: VAE, features: dict[str, Tensor], classifier: Classifier) -> dict[str, np.ndarray]:
    """centre and reconstruction, as metrics.by_class has them."""
    before, after = (classifier.named(features[name]).argmax(1) for name in ("reference", "reconstructions"))
    centre = maps.centre_probabilities(model, classifier).numpy()
    return {"centre": centre, "reconstruction": shares(before, after, len(centre))}


def shares(rows: Tensor, columns: Tensor, classes: int) -> np.ndarray:
    """Of what has each label in rows, the share with each label in columns, (classes, classes); nan of nothing."""
    counts = (rows * classes + columns).bincount(minlength=classes**2).reshape(classes, classes).numpy()
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(1, keepdims=True)
