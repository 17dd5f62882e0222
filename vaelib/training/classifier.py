"""A small convolutional classifier: it names what a model draws and reconstructs, and lends its features to FID.

Images are whatever data.as_images takes; features are (N, 128), probabilities (N, classes).
"""

import hashlib
import json
import os
import shlex
import shutil
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

from vaelib.config import DATASETS, InputError, TrainingConfig, dataset_name, expanded
from vaelib.data.sets import ImageData, as_float, load
from vaelib.models.layers import FromMap
from vaelib.models.vae import BATCH, sized_images
from vaelib.provenance import code_sha256, commit, version
from vaelib.training.device import pick_precision, seeded
from vaelib.training.run import recover, replace, successor, write

FEATURES = 128
SHIFT = 2  # pixels, either way, that a training image is moved by
PEAK_RATE = 4e-3
CODE = "vaelib.training.classifier"  # the module whose code, with all that it imports, decides the weights


class Network(nn.Module):
    """Blocks of 2x2 pixels, four 3x3 convolutions, one pooling, a layer of features, a logit for each class."""

    def __init__(self, classes: int, shape: tuple[int, int] = (28, 28)):
        super().__init__()
        self.shape = shape
        sizes = [(4, 32), (32, 32), (32, 64), (64, 64)]
        convs = [
            nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()) for i, o in sizes
        ]
        self.features = nn.Sequential(
            nn.PixelUnshuffle(2), *convs[:2], nn.MaxPool2d(2), *convs[2:], FromMap(),
            nn.Linear(64 * (shape[0] // 4) ** 2, FEATURES), nn.ReLU(),
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
        path = Path(expanded(path))
        if not (path / "model.safetensors").is_file():
            raise InputError(
                f"{path.resolve()} holds no trained classifier: vaelib classifier makes one and prints its path"
            )
        try:
            content = json.loads((path / "config.json").read_text())
            settings, made_of = dict(content["classifier"]), content["provenance"]
            with torch.random.fork_rng(devices=[]):  # Fresh weights are drawn from the global generator.
                network = Network(made_of["classes"], tuple(made_of.get("shape", (28, 28))))
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

    @torch.no_grad()
    def features(self, images: Tensor | np.ndarray) -> Tensor:
        """The layer before the logits of each image, (N, 128)."""
        batches = sized_images(images, self.network.shape).split(BATCH)
        return torch.cat([self.network.features(as_float(batch)) for batch in batches])

    @torch.no_grad()
    def named(self, features: Tensor) -> Tensor:
        """The probability of each class, given the features, (N, classes)."""
        return self.network.head(features).softmax(1)

    def probabilities(self, images: Tensor | np.ndarray) -> Tensor:
        """The probability of each class, (N, classes)."""
        return self.named(self.features(images))

    def names(self, images: Tensor | np.ndarray) -> np.ndarray:
        """The likeliest class of each image, by its number, (N,)."""
        return self.probabilities(images).argmax(1).numpy()


def is_classifier(path: str | os.PathLike) -> bool:
    """Whether that directory is a classifier's and not a run's."""
    try:
        return "classifier" in json.loads((Path(expanded(path)) / "config.json").read_text())
    except (OSError, ValueError, TypeError):
        return False


def is_trained(path: Path) -> bool:
    """Whether that directory holds a classifier, or a run, that was trained to its end."""
    return (path / "model.safetensors").is_file()


def missing_classifier(folder: Path, dataset: str) -> InputError:
    """What is said where the folder, RUNS_ROOT/NAME/classifier-s0, holds none: where that is, and how to make it.

    Notebooks run in their own folder, one below the one that runs lie in, so a classifier one folder up is named too.
    """
    root, above = folder.parent.parent, os.pardir / folder
    command = f"vaelib classifier --dataset {shlex.quote(dataset)} --runs-root {shlex.quote(str(root.resolve()))}"
    hint = ""
    if not folder.is_absolute() and is_trained(above):
        hint = f"; one lies in {above.resolve()}, which the runs_root {os.pardir / root} leads to"
    return InputError(f"no trained classifier in {folder.resolve()}: {command} makes it{hint}")


def find_classifier(path: str | os.PathLike, runs_root: str, images: ImageData) -> Classifier:
    """The classifier at the path, or where there is none given that of the images under runs_root.

    InputError where there is none, or where it learnt another image set: its word on these would mean nothing.
    """
    folder = Path(expanded(path or Path(runs_root) / dataset_name(images.name) / "classifier-s0"))
    if not path and not is_trained(folder):
        raise missing_classifier(folder, images.name if images.name in DATASETS else "PATH")
    found = Classifier.load(folder)
    if found.provenance["data_sha256"] != images.checksum:
        raise InputError(
            f"{found.path} learnt {found.settings['dataset']}: wanted is one that learnt this {images.name}"
        )
    return found


def train_classifier(
    dataset: str | ImageData = "mnist",
    epochs: int = 6,
    batch_size: int = 128,
    seed: int = 0,
    data_root: str | None = None,
    runs_root: str = "runs",
    renew: bool = False,
) -> Classifier:
    """The classifier of that image set, trained on its training images unless it is there already.

    It lies in runs_root/dataset/classifier-s0, as a run does. The same settings and seed give the same weights on
    one machine's CPU. With renew it is trained again where other settings, code or images made the one that is there,
    which stays until its successor is whole. Raises InputError when the images cannot be had, or the directory holds
    another classifier.
    """
    given = isinstance(dataset, ImageData)
    asked = TrainingConfig(dataset=dataset.dataset if given else dataset, runs_root=runs_root)
    settings = dict(dataset=asked.dataset, epochs=epochs, batch_size=batch_size, seed=seed)
    path = Path(asked.runs_root) / dataset_name(asked.dataset) / f"classifier-s{seed}"
    recover(path)
    images = dataset if given else load(asked.dataset, data_root)
    made_by = {"data_sha256": images.checksum, "code_sha256": code_sha256(CODE)}
    if (path / "model.safetensors").is_file():
        there = Classifier.load(path)
        same = there.settings | {"dataset": None} == settings | {"dataset": None}
        if same and made_by["data_sha256"] == there.provenance["data_sha256"]:
            if not renew or made_by["code_sha256"] == there.provenance.get("code_sha256"):
                return there
        elif not renew:
            raise InputError(
                f"{path} holds another classifier ({there.settings}): give another --runs-root, or move it away"
            )
    elif path.exists() and any(path.iterdir()) and not is_classifier(path):
        raise InputError(f"{path} is no classifier: give another --runs-root, or move it away")
    if batch_size > len(images.train_images):
        raise InputError(f"batch_size {batch_size}: {images.name} has {len(images.train_images):,} training images")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # The number of threads is part of what makes it repeatable.
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Network(len(images.class_names), images.shape).to(memory_format=torch.channels_last)
            history = _learn(network, images, epochs, batch_size, seed)
    finally:
        torch.set_num_threads(threads)
    made_of = {
        "classes": network.head[-1].out_features,
        "shape": list(images.shape),
        "test_accuracy": history[-1]["accuracy"],
        "train_seconds": sum(row["seconds"] for row in history),
        **made_by,
        "torch": torch.__version__,
        "vaelib": version(),
        "commit": commit(),
    }
    part = successor(path)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write(part / "config.json", json.dumps({"classifier": settings, "provenance": made_of}, indent=2).encode())
    write(part / "history.csv", pd.DataFrame(history).to_csv(index=False).encode())
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    write(part / "model.safetensors", safetensors.torch.save(weights))
    replace(path)
    return Classifier.load(path)


def _learn(network: Network, images: ImageData, epochs: int, batch_size: int, seed: int) -> list[dict]:
    """Trains the network in place; a row for each epoch. Its test images decide nothing, they are only counted."""
    device = torch.device("cpu")
    bfloat16 = pick_precision("auto", device) == "bfloat16"
    x, labels = images.train_images, images.train_labels
    steps = epochs * (len(x) // batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.02, fused=True)
    if steps > 5:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.2)
    else:  # OneCycleLR divides by the length of the rise, which would be nothing.
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    history = []
    with tqdm(total=steps, unit=" batches", desc="classifier", disable=None) as bar:
        for epoch in range(1, epochs + 1):
            started, total = time.perf_counter(), torch.zeros(())
            generator = seeded(seed, epoch, device)
            network.train()
            # Only whole batches are learnt from. Which images are left over changes with the order, epoch by epoch.
            for batch in torch.randperm(len(x), generator=generator).split(batch_size)[: len(x) // batch_size]:
                with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                    logits = network(shifted(as_float(x[batch]), generator))
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
                named = torch.cat([network(as_float(batch)).argmax(1) for batch in images.test_images.split(BATCH)])
            accuracy = (named == images.test_labels).float().mean().item()
            loss = total.item() / (len(x) // batch_size)
            history.append(dict(epoch=epoch, train_loss=loss, accuracy=accuracy, seconds=seconds))
            bar.set_postfix_str(f"test accuracy {accuracy:.2%}")
    return history


def shifted(x: Tensor, generator: torch.Generator, most: int = SHIFT) -> Tensor:
    """Each image of x (B, 1, h, w) moved by up to most pixels in both directions, black moving in."""
    places = F.pad(x, (most,) * 4).unfold(2, x.shape[2], 1).unfold(3, x.shape[3], 1)  # (B, 1, 5, 5, h, w)
    down, right = torch.randint(2 * most + 1, (2, len(x)), generator=generator)
    return places[torch.arange(len(x)), :, down, right]
