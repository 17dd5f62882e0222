"""How the classifier learns."""

import json
import time
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from vaelib import InputError, __version__, data
from vaelib.classifier import BATCH, Classifier, Network, as_input
from vaelib.provenance import commit
from vaelib.run import write
from vaelib.step import pick_device, pick_precision, seeded

SHIFT = 2  # pixels, either way, that a training image is moved by
PEAK_RATE = 4e-3


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
                named = torch.cat([network(as_input(batch)).argmax(1) for batch in images.test_images.split(BATCH)])
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
