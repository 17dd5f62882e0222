"""Paths between images: through latent space or through the pixels, and what the pictures along them are worth.

Codes are (N, latent_dim), paths (N, steps, latent_dim), pictures (N, steps, h, w) in [0, 1].
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from vaelib.config import InputError
from vaelib.data.sets import ImageData, as_float, as_images
from vaelib.models.vae import VAE
from vaelib.training.classifier import Classifier


def lerp(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Straight paths at equal steps, both ends included; start and end (N, ...), result (N, steps, ...)."""
    share = torch.linspace(0, 1, steps, dtype=start.dtype).reshape(-1, *[1] * (start.dim() - 1))
    return torch.lerp(start[:, None], end[:, None], share)


def slerp(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Paths along the arc that turns start into end at an even rate, (N, steps, latent_dim). Shoemake 1985.

    sin((1 - t) a) / sin(a) start + sin(t a) / sin(a) end with a the angle between the two. Straight where there is no
    such arc: both on one line through 0.
    """
    one, other = start.double(), end.double()
    angle = torch.cosine_similarity(one, other, dim=1).clamp(-1, 1).acos()[:, None, None]
    share = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    arc = (((1 - share) * angle).sin() * one[:, None] + (share * angle).sin() * other[:, None]) / angle.sin()
    turns = (angle.sin() > 1e-6) & (one.norm(dim=1) * other.norm(dim=1) > 0)[:, None, None]
    return torch.where(turns, arc, lerp(one, other, steps)).to(start.dtype)


def between_four(corners: Tensor, steps: int) -> Tensor:
    """Codes of a square between four corners (2, 2, latent_dim), bilinear, (steps, steps, latent_dim)."""
    left, right = lerp(corners[0], corners[1], steps)
    return lerp(left, right, steps)


def closed_walk(codes: Tensor, steps: int) -> Tensor:
    """Codes of a straight walk from each code to the next and from the last to the first, (N * steps, latent_dim).

    Each of the N legs begins at its code and has so many steps; the walk ends one step before it would begin anew.
    """
    return lerp(codes, codes.roll(-1, 0), steps + 1)[:, :-1].flatten(0, 1)


def pairs(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices (count, 2) of images of different classes, drawn at random; the same for the same labels and seed.

    InputError where all images are of one class.
    """
    if len(labels.unique()) < 2:
        raise InputError(f"labels {labels.unique().tolist()}: a path needs images of two classes")
    rng = np.random.default_rng(seed)
    drawn = np.empty((0, 2), dtype=np.int64)
    while len(drawn) < count:
        more = rng.integers(len(labels), size=(2 * count, 2))
        drawn = np.concatenate([drawn, more[(labels[more[:, 0]] != labels[more[:, 1]]).numpy()]])
    return torch.from_numpy(drawn[:count])


def decoded(model: VAE, codes: Tensor) -> Tensor:
    """Pictures along paths, (N, steps, h, w)."""
    return model.decode(codes.flatten(0, 1)).reshape(*codes.shape[:2], *model.shape)


def model_scores(
    model: VAE, images: ImageData, ends: Tensor, path: Callable, classifier: Classifier, steps: int
) -> dict[str, float]:
    """The means of scores over a model's paths between test images, ends (N, 2) by index; path is lerp or slerp."""
    codes = model.encode(images.test_images[ends.flatten()])[0].unflatten(0, (-1, 2))
    pictures = decoded(model, path(codes[:, 0], codes[:, 1], steps))
    return scores(pictures, classifier, images.train_images).mean().to_dict()


def scores(pictures: Tensor, classifier: Classifier, references: Tensor | np.ndarray) -> pd.DataFrame:
    """What each path is worth, a row for each.

    confidence     the classifier's highest probability, averaged over the pictures between the ends
    label_changes  how often its label changes from one picture to the next
    nearest        Euclidean distance in pixels to the nearest reference, averaged over the pictures between the ends
    evenness       mean step over largest step, in the classifier's features: 1 where all steps look alike
    """
    steps = pictures.shape[1]
    if steps < 3:
        raise InputError(f"paths of {steps} pictures: accepted are 3 or more, the two ends and something between")
    features = classifier.features(pictures.flatten(0, 1))
    probabilities = classifier.named(features).reshape(len(pictures), steps, -1)
    highest, labels = probabilities.max(-1)
    step = features.reshape(len(pictures), steps, -1).diff(dim=1).norm(dim=2)
    distances = nearest_distance(pictures[:, 1:-1].flatten(0, 1), references)
    return pd.DataFrame(
        {
            "confidence": highest[:, 1:-1].mean(1),
            "label_changes": (labels.diff(dim=1) != 0).sum(1),
            "nearest": distances.reshape(len(pictures), -1).mean(1),
            "evenness": step.mean(1) / step.amax(1).clamp(min=1e-12),
        }
    )


@torch.no_grad()
def nearest(pictures: Tensor | np.ndarray, references: Tensor | np.ndarray) -> Tensor:
    """Which of the references (M) is nearest to each of the pictures (N) in pixels, (N,)."""
    x, others = (as_float(as_images(images)).flatten(1) for images in (pictures, references))
    squares = others.square().sum(1)
    # |a - b|^2 as |a|^2 - 2ab + |b|^2 finds the nearest by one matrix product; its value would lose digits.
    return torch.cat([(squares - 2 * part @ others.T).argmin(1) for part in x.split(1000)])


def nearest_distance(pictures: Tensor | np.ndarray, references: Tensor | np.ndarray) -> Tensor:
    """Euclidean distance of each of the pictures (N) to the nearest of the references (M), (N,)."""
    pictures, references = as_images(pictures), as_images(references)
    closest = as_float(references[nearest(pictures, references)])
    return (as_float(pictures).flatten(1) - closest.flatten(1)).norm(dim=1)
