"""A small convolutional classifier: the judge of what a model draws and of what it reconstructs.

Images are (N, 1, 28, 28) or (N, 28, 28), uint8 or floats in [0, 1]; features are (N, 128), probabilities (N, classes).
"""

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from vaelib import InputError, __version__, data
from vaelib.layers import FromMap
from vaelib.run import commit, write
from vaelib.step import pick_device, pick_precision, seeded

BATCH = 500
FEATURES = 128
SHIFT = 2  # pixels, either way, that a training image is moved by
PEAK_RATE = 4e-3


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
        return torch.cat([self.network.features(_as_input(batch)) for batch in images.split(BATCH)])

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


def train(
    dataset: str = "mnist",
    epochs: int = 6,
    batch_size: int = 128,
    seed: int = 0,
    data_root: str | None = None,
    runs_root: str = "runs",
) -> Classifier:
    """The classifier of that image set, trained on its training images unless it is there already.

    It lies in runs_root/dataset/classifier-s0, as a run does. The same settings and seed give the same weights on
    one machine's CPU. Raises InputError when the images cannot be had, or the directory holds another classifier.
    """
    settings = dict(dataset=dataset, epochs=epochs, batch_size=batch_size, seed=seed)
    path = Path(runs_root) / dataset / f"classifier-s{seed}"
    if (path / "model.safetensors").is_file():
        there = Classifier.load(path)
        if there.settings != settings:
            raise InputError(
                f"{path} holds another classifier ({there.settings}): give another --runs-root, or move it away"
            )
        return there
    images = data.load(dataset, data_root)
    if batch_size > len(images.train_images):
        raise InputError(f"batch_size {batch_size}: {dataset} has {len(images.train_images):,} training images")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # part of what makes it repeatable
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Network(classes=len(images.train_labels.unique())).to(memory_format=torch.channels_last)
            history = _learn(network, images, epochs, batch_size, seed)
    finally:
        torch.set_num_threads(threads)
    made_of = {
        "classes": network.head[-1].out_features,
        "test_accuracy": history[-1]["accuracy"],
        "train_seconds": sum(row["seconds"] for row in history),
        "data_sha256": images.checksum,
        "torch": torch.__version__,
        "vaelib": __version__,
        "commit": commit(),
    }
    path.mkdir(parents=True, exist_ok=True)
    write(path / "config.json", json.dumps({"classifier": settings, "provenance": made_of}, indent=2).encode())
    write(path / "history.csv", pd.DataFrame(history).to_csv(index=False).encode())
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    write(path / "model.safetensors", safetensors.torch.save(weights))
    return Classifier.load(path)


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


def _learn(network: Network, images: data.ImageData, epochs: int, batch_size: int, seed: int) -> list[dict]:
    """Trains the network in place; a row for each epoch. Its test images decide nothing, they are only counted."""
    device = pick_device("cpu")
    bfloat16 = pick_precision("auto", device) == "bfloat16"
    x, labels = images.train_images, images.train_labels
    steps = epochs * (len(x) // batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.2)
    history = []
    with tqdm(total=steps, unit=" batches", desc="classifier", disable=None) as bar:
        for epoch in range(1, epochs + 1):
            started, total = time.perf_counter(), torch.zeros(())
            generator = seeded(seed, epoch, device)
            network.train()
            # whole batches only: what is left over this time comes first another time
            for batch in torch.randperm(len(x), generator=generator).split(batch_size)[: len(x) // batch_size]:
                with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                    logits = network(shifted(data.as_float(x[batch]), generator))
                loss = F.cross_entropy(logits.float(), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.detach()
                bar.update()
            seconds = time.perf_counter() - started
            network.eval()
            with torch.inference_mode():
                named = torch.cat([network(_as_input(batch)).argmax(1) for batch in images.test_images.split(BATCH)])
            accuracy = (named == images.test_labels).float().mean().item()
            loss = total.item() / (len(x) // batch_size)
            history.append(dict(epoch=epoch, train_loss=loss, accuracy=accuracy, seconds=seconds))
            bar.set_postfix_str(f"test accuracy {accuracy:.2%}")
    return history


def shifted(x: Tensor, generator: torch.Generator, most: int = SHIFT) -> Tensor:
    """Each image of x (B, 1, 28, 28) moved by up to most pixels in both directions, black moving in."""
    places = F.pad(x, (most,) * 4).unfold(2, x.shape[2], 1).unfold(3, x.shape[3], 1)  # (B, 1, 5, 5, 28, 28)
    down, right = torch.randint(2 * most + 1, (2, len(x)), generator=generator)
    return places[torch.arange(len(x)), :, down, right]


def _as_input(images: Tensor) -> Tensor:
    x = data.as_float(images) if images.dtype == torch.uint8 else images
    return x.reshape(len(x), 1, *x.shape[-2:])
