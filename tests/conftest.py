import gzip
import io
import os
import shutil
from pathlib import Path

# The tests are spread over the cores by file, and threads that wait for a core cost more than they bring.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from vaelib import data
from vaelib.config import TrainingConfig
from vaelib.training import train

plt.switch_backend("Agg")
ROOT = Path(__file__).parents[1]
EARLIER_RUNS = Path(__file__).with_name("earlier_runs")
BESIDE = ROOT.parent / "shared" / "data"
if "VAELIB_DATA" not in os.environ and (BESIDE / "MNIST").is_dir():
    os.environ["VAELIB_DATA"] = str(BESIDE)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def digits():
    return data.load("digits")


@pytest.fixture(scope="session")
def clothes():
    """Own images: 90 of 12x12 pixels, each with one bright third, which its class is named by."""
    labels = np.arange(90) % 3
    pixels = np.random.default_rng(3).integers(0, 60, (90, 12, 12), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[4 * label : 4 * label + 4] += 190
    return data.from_arrays(pixels, np.array(["hat", "shirt", "shoe"])[labels], name="clothes")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A linear model of two dimensions, two epochs on the digits."""
    return train(small_config(tmp_path_factory.mktemp("shared") / "runs"))


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of the finished run that a test may spoil."""
    path = tmp_path / "runs" / "digits" / finished_run.path.name
    shutil.copytree(finished_run.path, path)
    return type(finished_run).load(path)


def size(figure) -> int:
    """Bytes of the figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return len(buffer.getvalue())


def small_config(runs_root, **settings) -> TrainingConfig:
    defaults = dict(dataset="digits", epochs=2, encoder_widths=(32,), runs_root=str(runs_root))
    return TrainingConfig(**(defaults | settings))


def write_npz(path: Path, images: data.ImageData) -> Path:
    """The set as an .npz file, with the labels that its classes' names are."""
    names = np.array(images.class_names)
    arrays = dict(train_images=images.train_images[:, 0].numpy(), train_labels=names[images.train_labels])
    arrays |= dict(test_images=images.test_images[:, 0].numpy(), test_labels=names[images.test_labels])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def write_idx(folder: Path, train: np.ndarray, train_y: np.ndarray, test: np.ndarray, test_y: np.ndarray) -> None:
    """The four .gz files of a set in MNIST's format, written from the format's description."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(data.FILES, (train, train_y, test, test_y), strict=True):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
        (folder / name).write_bytes(gzip.compress(header + array.tobytes()))
