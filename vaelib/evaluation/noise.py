"""How a model restores images that were corrupted, against the corrupted images and against a median filter.

Images are of the measured split, (N, 1, h, w) in [0, 1]; restored ones are decoded from z = mu of the corrupted ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelib.config import parse_noise
from vaelib.data.sets import ImageData, as_float, corrupt
from vaelib.evaluation.metrics import CLEAN, over
from vaelib.models import objective
from vaelib.models.vae import BATCH, VAE
from vaelib.training.classifier import Classifier

MEDIAN = 3  # pixels along each side of the median filter


def levels(noises: Sequence[str]) -> list[str]:
    """The noises as settings keep them, each once and clean images before all others; none where none is asked.

    ``""`` are clean images. InputError for what is no noise.
    """
    parsed = [parse_noise(noise) for noise in noises if noise]
    return list(dict.fromkeys([CLEAN] * bool(noises) + [f"{kind}:{level!r}" for kind, level in parsed]))


@torch.no_grad()
def of_noise(
    model: VAE, images: ImageData, noise: str, classifier: Classifier | None = None
) -> dict[str, dict[str, Any]]:
    """The measures over images at one of levels, of the same corrupted images in every call.

    error, noisy_error, median_error           mean squared error a pixel against the clean image, of the restored,
                                               the corrupted and the median-filtered image
    cost_nats                                  -log p of the clean image under the restored one, in nats; it leaves
                                               out what a code costs
    accuracy, noisy_accuracy, median_accuracy  with a classifier, the share that it names by the true label
    """
    clean = as_float(images.test_images)
    generator = torch.Generator().manual_seed(0)
    noisy = clean if noise == CLEAN else corrupt(clean, noise, generator)
    logits = torch.cat([model.logits(model.posterior(batch)[0]) for batch in noisy.split(BATCH)])
    pictures = {"": logits.sigmoid(), "noisy_": noisy, "median_": median(noisy)}
    each = {f"{name}error": (x - clean).square().flatten(1).mean(1) for name, x in pictures.items()}
    each["cost_nats"] = -objective.log_likelihood(logits, clean)
    if classifier:
        labels = images.test_labels.numpy()
        named = {name: classifier.names(x) == labels for name, x in pictures.items()}
        each |= {f"{name}accuracy": torch.from_numpy(right) for name, right in named.items()}
    return {name: over("images", values) for name, values in each.items()}


def median(x: Tensor) -> Tensor:
    """Each image with the median of its 3x3 neighbours in the place of each pixel; beyond the edge it is mirrored."""
    from scipy.ndimage import median_filter  # half a second to import: only where it is used

    filtered = np.stack([median_filter(image, MEDIAN) for image in x[:, 0].numpy()])
    return torch.from_numpy(filtered)[:, None]
