"""A small convolutional classifier: the judge of what a model draws and of what it reconstructs.

Images are (N, 1, 28, 28) or (N, 28, 28), uint8 or floats in [0, 1]; features are (N, 128), probabilities (N, classes).
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from vaelib import InputError, data
from vaelib.layers import FromMap

BATCH = 500
FEATURES = 128


class Network(nn.Module):
    """Blocks of 2x2 pixels, four 3x3 convolutions, one pooling, a layer of features, a logit for each class."""

    def __init__(self, classes: int):
        super().__init__()
        sizes = [(4, 32), (32, 32), (32, 64), (64, 64)]
        convs = [
            nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()) for i, o in sizes
        ]
        self.features = nn.Sequential(
            nn.PixelUnshuffle(2), *convs[:2], nn.MaxPool2d(2), *convs[2:], FromMap(),
            nn.Linear(64 * 49, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(FEATURES, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


@dataclass(frozen=True)
class Classifier:
    """A trained classifier and where it came from."""

    path: Path
    settings: dict[str, Any]
    network: Network
    provenance: dict[str, Any]

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """The classifier in that directory; InputError where there is none, or none that can be read."""
        path = Path(path)
        if not (path / "model.safetensors").is_file():
            raise InputError(f"{path} holds no trained classifier: vaelib classifier makes one and prints its path")
        try:
            content = json.loads((path / "config.json").read_text())
            settings, made_of = dict(content["classifier"]), content["provenance"]
            network = Network(made_of["classes"])
            network.load_state_dict(safetensors.torch.load_file(path / "model.safetensors"))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
            raise InputError(f"{path} holds no classifier that can be read: {str(error).splitlines()[0]}") from error
        return cls(path, settings, network.eval().to(memory_format=torch.channels_last), made_of)

    @property
    def accuracy(self) -> float:
        """Share of the test images that it names rightly."""
        return self.provenance["test_accuracy"]

    @property
    def sha256(self) -> str:
        """sha256 of the file of its weights."""
        return hashlib.sha256((self.path / "model.safetensors").read_bytes()).hexdigest()

    def facts(self) -> dict[str, str]:
        """What a page says of it: its accuracy, and which weights it has."""
        return {"accuracy on the test images": f"{self.accuracy:.2%}", "sha256 of its weights": self.sha256}

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """The layer before the logits of each image, (N, 128)."""
        return torch.cat([self.network.features(as_input(batch)) for batch in images.split(BATCH)])

    @torch.inference_mode()
    def named(self, features: Tensor) -> Tensor:
        """The probability of each class, given the features, (N, classes)."""
        return self.network.head(features).softmax(1)

    def names(self, images: Tensor) -> np.ndarray:
        """The likeliest class of each image, (N,)."""
        return self.probabilities(images).argmax(1).numpy()

    def probabilities(self, images: Tensor) -> Tensor:
        """The probability of each class, (N, classes)."""
        return self.named(self.features(images))


def is_one(path: str | os.PathLike) -> bool:
    """Whether that directory is a classifier's and not a run's."""
    try:
        return "classifier" in json.loads((Path(path) / "config.json").read_text())
    except (OSError, ValueError, TypeError):
        return False


def find(path: str, runs_root: str, images: data.ImageData) -> Classifier:
    """The classifier at the path, or where there is none given that of the images under runs_root.

    InputError where it learnt another image set: its word on these would mean nothing.
    """
    found = Classifier.load(path or Path(runs_root) / images.name / "classifier-s0")
    if found.provenance["data_sha256"] != images.checksum:
        raise InputError(
            f"{found.path} learnt {found.settings['dataset']}: wanted is one that learnt this {images.name}"
        )
    return found


def as_input(images: Tensor) -> Tensor:
    x = data.as_float(images) if images.dtype == torch.uint8 else images
    return x.reshape(len(x), 1, *x.shape[-2:])
