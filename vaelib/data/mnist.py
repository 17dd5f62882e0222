"""The known sets: MNIST and the two in its format, verified and downloaded where needed, and scikit-learn's digits.

Images are uint8 (N, 1, 28, 28), labels int64 (N,).
"""

import contextlib
import gzip
import hashlib
import http.client
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaelib.config import DATASETS, InputError, expanded
from vaelib.data import files

_DENIED = "no permission to read {}: allow it, or give another data folder"
FILES = tuple(
    f"{name}-ubyte.gz" for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
)
# torchvision's classes of the sets in MNIST's format
MNIST_LIKE = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
DIGITS = Path(__file__).with_name("digits.npz")
# torchvision knows checksums of the packed files only. These are sha256 of what MNIST's files unpack to.
UNPACKED = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def read(name: str, root: str | os.PathLike | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[str, ...]]:
    """Training images and labels, test images and labels, and class names of a known set; sets.load says from where."""
    if name == "digits":
        return *_digits(), tuple("0123456789")
    from torchvision import datasets

    source = getattr(datasets, MNIST_LIKE[name])
    return *_idx(name, source, root), tuple("0123456789" if name == "mnist" else source.classes)


def cache_folder() -> Path:
    """Where downloads go: $XDG_CACHE_HOME/vaelib, else ~/.cache/vaelib."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vaelib"


def _digits() -> list[Tensor]:
    """scikit-learn's 1,797 digits of 8x8, upsampled to 28x28, a fifth of each class held out.

    digits.npz is a copy with scikit-learn's own split, because importing scikit-learn takes longer than training does.
    """
    tensors = []
    with np.load(DIGITS) as arrays:
        for split in ("train", "test"):
            small = torch.from_numpy(arrays[f"{split}_images"]).float()[:, None] / 16
            large = torch.nn.functional.interpolate(
                small, size=DATASETS["digits"], mode="bilinear", align_corners=False
            )
            tensors += [(large * 255).round().to(torch.uint8), torch.from_numpy(arrays[f"{split}_labels"]).long()]
    return tensors


def _idx(name: str, source, root) -> list[Tensor]:
    """The four arrays of a set in MNIST's format, downloaded first where they are missing."""
    sums = dict(source.resources) | (UNPACKED if name == "mnist" else {})
    given = expanded(root or os.environ.get("VAELIB_DATA") or "")
    paths = _find(Path(given), source.__name__, sums) if given else None
    if paths is None:
        writable = Path(given) if root else cache_folder()
        paths = _find(writable, source.__name__, sums) or _download(name, source, writable, given)
    tensors = []
    for path in paths:
        content = _verified(path, sums)
        if content is None:
            raise InputError(
                f"{path} is truncated or another file, as its checksum is not that of {name}: "
                "put the right file there, or remove it to have it downloaded"
            )
        array = torch.from_numpy(files.idx_array(content, 3 if "images" in path.name else 1, path).copy())
        tensors.append(array[:, None] if array.ndim == 3 else array.long())
    return tensors


def _find(root: Path, set_name: str, sums: dict[str, str]) -> list[Path] | None:
    """The set's four files under root, in torchvision's layout or in root itself, each packed or else unpacked."""
    for folder in (root / set_name / "raw", root):
        try:
            there = set(os.listdir(folder)) & set(sums)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise InputError(_DENIED.format(folder)) from error
        forms = [next((form for form in (file, file.removesuffix(".gz")) if form in there), "") for file in FILES]
        # MNIST, Fashion-MNIST and Kuzushiji use the same file names: the checksum of the smallest tells them apart.
        if all(forms) and (folder != root or _verified(folder / forms[3], sums) is not None):
            return [folder / form for form in forms]
    return None


def _verified(path: Path, sums: dict[str, str]) -> bytes | None:
    """The unpacked content of a file, or None where its checksum is another.

    What a file unpacks to decides: one that was packed anew has other bytes, and some browsers unpack a download and
    leave it its name. Without a checksum of that, the packed file's own is needed.
    """
    try:
        content = path.read_bytes()
    except PermissionError as error:
        raise InputError(_DENIED.format(path)) from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() == sums[path.name]:
        return gzip.decompress(content)
    with contextlib.suppress(OSError, EOFError, zlib.error):
        content = gzip.decompress(content)
    return content if hashlib.sha256(content).hexdigest() == sums.get(path.name.removesuffix(".gz")) else None


def _download(name: str, source, writable: Path, given: str) -> list[Path]:
    """The four files, downloaded to a folder of the user's and verified; InputError when they cannot be."""
    folder, made = writable / source.__name__ / "raw", []
    try:
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        writable.mkdir(parents=True, exist_ok=True)
        # Each download has a folder of its own: runs that start side by side must not meet each other's half files.
        with tempfile.TemporaryDirectory(dir=writable, prefix=".download-") as alone:
            source(alone, download=True)
            folder.mkdir(parents=True, exist_ok=True)
            for file in FILES:
                os.replace(Path(alone) / source.__name__ / "raw" / file, folder / file)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        looked = " and ".join(dict.fromkeys(str(place) for place in (given, writable) if place))
        packed = "" if name == "mnist" else " (packed, as no checksum of unpacked ones is known)"
        raise InputError(
            f"{name} is not in {looked} and cannot be downloaded ({str(error).strip().splitlines()[-1]}): put "
            f"{', '.join(FILES)}{packed} into {folder}, or use dataset 'digits', which needs no download"
        ) from error
    finally:
        for place in made:
            with contextlib.suppress(OSError):  # A folder that is not empty stays.
                place.rmdir()
    return [folder / file for file in FILES]
