"""How fast training is, side by side with a textbook loop, and how much of a step is arithmetic that must be done.

make bench runs it and writes bench/results.json, which the book shows. All is measured in one run, in turns, on one
thread: a machine's speed changes from minute to minute, so that the ratios count and not the seconds.
"""

import json
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from statistics import median
from typing import Annotated

import pandas as pd
import torch
import torch.nn.functional as F
import typer
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import datasets, transforms
from tqdm import tqdm

from vaelib import TrainingConfig, data, models
from vaelib.provenance import commit
from vaelib.training import new_optimizer, pick_precision, train_epoch, write

OUT = Path(__file__).with_name("results.json")
CPU = torch.device("cpu")
# The two models of a first tutorial, then the two of the grid; the number is the images of one turn.
CELLS = {
    "784-400-20": (dict(arch="linear", preset="textbook", latent_dim=20), 12_800),
    "conv 32-64": (dict(arch="conv", preset="textbook", latent_dim=20), 2_560),
    "tuned linear": (dict(arch="linear", latent_dim=20), 12_800),
    "tuned conv": (dict(arch="conv", latent_dim=20), 5_120),
}
LOOPS = ("textbook", "float32", "ours")


def textbook_model(config: TrainingConfig) -> models.VAE:
    """The same model in torch's ordinary forms and layout."""
    model = models.build(config).to(memory_format=torch.contiguous_format)
    for module in model.modules():
        if isinstance(module, models.Halve | models.Double):
            module.forward = super(type(module), module).forward
        elif isinstance(module, models.FromMap):
            module.forward = lambda x: x.flatten(1)
        elif isinstance(module, models.ToMap):
            module.forward = lambda h, channels=module.channels: h.view(len(h), channels, 7, 7)
    return model


def textbook_set(images: torch.Tensor) -> datasets.MNIST:
    """torchvision's own class, around images that are in memory already."""
    dataset = datasets.MNIST.__new__(datasets.MNIST)
    dataset.data, dataset.targets = images[:, 0], torch.zeros(len(images), dtype=torch.long)
    dataset.transform, dataset.target_transform = transforms.ToTensor(), None
    return dataset


class Loop:
    """A way to train a model; run() goes once over the images.

    "textbook" is a first tutorial's: a torchvision set, ToTensor, DataLoader, float32, plain Adam. "ours" is the
    library's at its defaults, "float32" the same without bfloat16.
    """

    def __init__(self, kind: str, name: str, images: torch.Tensor):
        settings, count = CELLS[name]
        precision = "auto" if kind == "ours" else "float32"
        torch.set_num_threads(1)
        self.textbook, self.images = kind == "textbook", images[:count]
        self.config = TrainingConfig(**settings, schedule="constant", precision=precision)
        self.model = textbook_model(self.config) if self.textbook else models.build(self.config)
        self.optimizer = new_optimizer(self.model, self.config, CPU)
        if self.textbook:
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.config.lr)
            self.loader = DataLoader(textbook_set(self.images), self.config.batch_size, shuffle=True)

    def run(self):
        if not self.textbook:
            for _ in train_epoch(self.model, self.optimizer, self.images, self.config, epoch=1):
                pass
            return
        total = 0.0
        for x, _ in self.loader:
            loss = self.loss(x)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        logits, mu, logvar = self.model(x, torch.randn(len(x), self.config.latent_dim))
        recon = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return (recon - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())) / len(x)

    def step_flops(self) -> int:
        """Floating-point operations of one step's matrix products and convolutions, forward and backward."""
        with FlopCounterMode(display=False) as counter:
            self.loss(data.as_float(self.images[: self.config.batch_size])).backward()
        return counter.get_total_flops()


def seconds(function) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def matrix_product() -> float:
    """Operations a second of one large float32 product: the peak that a step is held against."""
    a, b = torch.randn(2, 1024, 1024)
    return 2 * 1024**3 / min(seconds(lambda: a @ b) for _ in range(10))


def peak_memory(kind: str, name: str, images: torch.Tensor) -> float:
    """Megabytes that a process of its own takes at most, Python, torch and 12,800 images included."""
    Loop(kind, name, images).run()
    # not getrusage, which counts what the parent had taken when it made this process
    lines = Path("/proc/self/status").read_text().splitlines() if sys.platform == "linux" else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def meet_at(barrier):
    global BARRIER
    BARRIER = barrier


def beside(process: int, name: str, images: torch.Tensor, repeats: int) -> list[tuple[float, float]]:
    """Seconds of three passes of this process alone, in the first one, and of both at the same time."""
    loop = Loop("ours", name, images)
    loop.run()
    pairs = []
    for _ in range(repeats):
        BARRIER.wait()
        alone = seconds(lambda: [loop.run() for _ in range(3)]) if process == 0 else 0.0
        BARRIER.wait()
        pairs.append((alone, seconds(lambda: [loop.run() for _ in range(3)])))
    return pairs


def two_side_by_side(name: str, images: torch.Tensor, repeats: int) -> float:
    """How many times the work of one process two get done in the same time, a thread each."""
    images = images[: CELLS[name][1]].clone()  # a slice would be sent whole
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, spawn, initializer=meet_at, initargs=(spawn.Barrier(2),)) as pool:
        first, second = pool.map(beside, (0, 1), [name] * 2, [images] * 2, [repeats] * 2)
    return median(2 * alone / max(own, other) for (alone, own), (_, other) in zip(first, second, strict=True))


def main(
    repeats: Annotated[int, typer.Option(min=5, help="Turns; each number is a median over them.")] = 5,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = OUT,
):
    """Measure the textbook loop and ours in turns, print a table and write it."""
    images = data.load("mnist").train_images
    loops = {(name, kind): Loop(kind, name, images) for name in CELLS for kind in LOOPS}
    flops = {name: loops[name, "textbook"].step_flops() for name in CELLS}
    times = {key: [] for key in loops}
    peaks = []
    for turn in tqdm(range(repeats + 1), desc="turns", disable=None):
        peak = matrix_product()
        for key, loop in loops.items():
            taken = seconds(loop.run)
            if turn:  # the first turn warms up
                times[key].append(taken)
        peaks += [peak] if turn else []

    rows = {}
    for name, (_, count) in tqdm(CELLS.items(), desc="memory, side by side", disable=None):
        rate = {kind: median(count / taken for taken in times[name, kind]) for kind in LOOPS}
        batch = loops[name, "ours"].config.batch_size
        arithmetic = flops[name] / batch / median(peaks)  # seconds an image
        rows[name] = {f"images_per_second, {kind}": rate[kind] for kind in LOOPS}
        for kind in ("float32", "ours"):
            pairs = zip(times[name, "textbook"], times[name, kind], strict=True)
            rows[name][f"ratio_{kind}"] = median(textbook / own for textbook, own in pairs)
            rows[name][f"arithmetic_share_{kind}"] = arithmetic * rate[kind]
        for kind in ("textbook", "ours"):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                peak = pool.submit(peak_memory, kind, name, images[:12_800].clone())
                rows[name][f"peak_megabytes_{kind}"] = peak.result()

        rows[name]["two_side_by_side"] = two_side_by_side(name, images, repeats)

    result = {
        "machine": {
            "date": date.today().isoformat(),
            "processor": f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
            "precision of ours": pick_precision("auto", CPU),
            "float32 peak of one core, GFLOP/s": median(peaks) / 1e9,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "commit": commit(),
            "repeats": repeats,
        },
        "models": rows,
    }
    write(out, (json.dumps(result, indent=2) + "\n").encode())
    print(pd.DataFrame(rows).map("{:,.2f}".format).to_string())
    print(out)


if __name__ == "__main__":
    typer.run(main)
