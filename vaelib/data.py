"""Image sets as tensors in memory, where their files are, and corruption for denoising.

Images are uint8 (N, 1, 28, 28), labels int64 (N,); as_float gives float32 in [0, 1].
"""

import gzip
import hashlib
import http.client
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaelib import InputError
from vaelib.settings import DATASETS, parse_noise

_DENIED = "no permission to read {}: allow it, or give another data folder"
FILES = tuple(
    f"{name}-ubyte.gz" for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
)


@dataclass(frozen=True)
class ImageData:
    """The two splits of an image set."""

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @cached_property
    def checksum(self) -> str:
        """sha256 of the four tensors' bytes: the same for the same images, whatever file they came from."""
        digest = hashlib.sha256()
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(tensor.numpy())
        return digest.hexdigest()


def load(name: str, root: str | os.PathLike | None = None) -> ImageData:
    """The image set of that name, both splits in memory.

    root defaults to $VAELIB_DATA, else a cache folder of the user's. $VAELIB_DATA is only read;
    what it does not hold is downloaded to the cache folder and verified. ``digits`` comes with
    scikit-learn and needs neither. Raises InputError when the set is unknown, a file is not what
    its checksum says, or files are missing and cannot be downloaded.
    """
    if name not in DATASETS:
        raise InputError(f"dataset {name!r}: accepted is one of {', '.join(DATASETS)}")
    return ImageData(name, *(_digits() if name == "digits" else _idx(name, root)))


def hold_out(images: ImageData, count: int) -> ImageData:
    """The set with count of its training images in the place of its test images; the same ones in every call.

    InputError when fewer than two images would be left to train on.
    """
    if count > len(images.train_images) - 2:
        raise InputError(f"held_out {count}: {images.name} has {len(images.train_images):,} training images")
    order = torch.randperm(len(images.train_images), generator=torch.Generator().manual_seed(0))
    x, labels = images.train_images[order], images.train_labels[order]
    return ImageData(images.name, x[count:], labels[count:], x[:count], labels[:count])


def as_float(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images.float() / 255


def one_per_class(labels: Tensor) -> Tensor:
    """Index of the first image of each class, in the order of the classes: the ten that figures show."""
    return torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()])


def corrupt(x: Tensor, noise: str, generator: torch.Generator) -> Tensor:
    """A corrupted copy of x in [0, 1].

    ``salt-pepper:P`` sets a share P of the pixels to 0 or 1, evenly; ``gaussian:SD`` adds normal
    noise and clips. Vincent et al. 2008, sec. 2.3.
    """
    kind, level = parse_noise(noise)
    if kind == "gaussian":
        added = torch.randn(x.shape, generator=generator, device=x.device)
        return (x + level * added).clamp(0, 1)
    u = torch.rand(x.shape, generator=generator, device=x.device)
    return x.masked_fill(u < level, 1.0).masked_fill(u < level / 2, 0.0)


def cache_folder() -> Path:
    """Where downloads go: $XDG_CACHE_HOME/vaelib, else ~/.cache/vaelib."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vaelib"


def _digits():
    """scikit-learn's 1,797 digits of 8x8, upsampled to 28x28, a fifth of each class held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] / 16
    large = torch.nn.functional.interpolate(small, size=28, mode="bilinear", align_corners=False)
    images = (large * 255).round().to(torch.uint8)
    labels = torch.from_numpy(bunch.target).long()
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    return images[train], labels[train], images[test], labels[test]


def _idx(name: str, root):
    """The four arrays of a set in MNIST's format, downloaded first where they are missing."""
    from torchvision import datasets

    source = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}[name]
    md5 = {filename: md5 for filename, md5 in source.resources}
    given = root or os.environ.get("VAELIB_DATA")
    folder = _find(Path(given), source.__name__, md5) if given else None
    if folder is None:
        writable = Path(root) if root else cache_folder()
        folder = _find(writable, source.__name__, md5) or _download(source, name, writable, given)
    train_x, train_y, test_x, test_y = (_read(folder / file, md5[file]) for file in FILES)
    return train_x[:, None], train_y.long(), test_x[:, None], test_y.long()


def _find(root: Path, set_name: str, md5: dict[str, str]) -> Path | None:
    """The folder under root that holds all four files: torchvision's layout, or the files alone."""
    for folder in (root / set_name / "raw", root):
        try:
            names = os.listdir(folder)
            # the sets name their files alike: alone in a folder, the smallest tells whose they are
            mine = folder != root or (
                FILES[3] in names and hashlib.md5((folder / FILES[3]).read_bytes()).hexdigest() == md5[FILES[3]]
            )
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise InputError(_DENIED.format(folder)) from error
        if mine and all(file in names for file in FILES):
            return folder
    return None


def _download(source, name: str, writable: Path, given) -> Path:
    """Downloads and verifies the set under a folder of the user's; InputError when it cannot."""
    folder = writable / source.__name__ / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # in a folder of its own: cells that start side by side must not meet each other's half files
        with tempfile.TemporaryDirectory(dir=writable, prefix=".download-") as alone:
            source(alone, download=True)
            for file in FILES:
                os.replace(Path(alone) / source.__name__ / "raw" / file, folder / file)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        looked = " and ".join(str(place) for place in dict.fromkeys([given, writable]) if place)
        raise InputError(
            f"{name} is not in {looked} and cannot be downloaded ({str(error).strip().splitlines()[-1]}): "
            f"put {', '.join(FILES)} into {folder}, or use dataset 'digits', which needs no download"
        ) from error
    return folder


def _read(path: Path, md5: str) -> Tensor:
    """A verified .gz in idx format as a uint8 tensor, (N, 28, 28) or (N,)."""
    try:
        packed = path.read_bytes()
    except PermissionError as error:
        raise InputError(_DENIED.format(path)) from error
    found = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if found != md5:
        raise InputError(
            f"{path} is truncated or another file: md5 {found}, wanted {md5}; "
            "put the right file there, or remove it to have it downloaded"
        )
    raw = gzip.decompress(packed)
    dims = raw[3]
    shape = np.frombuffer(raw, ">i4", count=dims, offset=4)
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape).copy())
