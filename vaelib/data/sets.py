"""Image sets in memory: known and own ones, parts of them, and what users call images as tensors.

A set has uint8 images (N, 1, h, w) and int64 labels (N,); as_float gives float32 in [0, 1].
"""

import dataclasses
import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaelib.config import DATASETS, OWN_IMAGES, InputError, dataset_name, expanded, parse_noise
from vaelib.data import files, mnist

ROUNDING = 1e-5  # Floats this far outside [0, 1] are clipped: sums and casts end so.


@dataclass(frozen=True)
class ImageData:
    """The two splits of an image set; noun is what figures call one class, "digit" or "class"."""

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    noun: str = "class"

    @property
    def dataset(self) -> str:
        """What the setting of that name says of this set: its name, or that of a path where it is no known set."""
        return self.name if self.name in DATASETS else f"./{self.name}"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return tuple(self.train_images.shape[2:])

    @cached_property
    def checksum(self) -> str:
        """sha256 of the four tensors' bytes: the same for the same images, whatever file they came from."""
        digest = hashlib.sha256()
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(tensor.numpy())
        return digest.hexdigest()


def load(dataset: str | os.PathLike, root: str | os.PathLike | None = None) -> ImageData:
    """The known image set of that name, or the own images at that path, both splits in memory.

    root is the folder of the known sets and defaults to $VAELIB_DATA, else a cache folder of the user's. $VAELIB_DATA
    is only read; what it does not hold is downloaded to the cache folder and verified. ``digits`` comes with
    scikit-learn and needs neither. files.read says what own images may be, from_arrays how they are split. Raises
    InputError when there is no such set, when files are damaged, and when they are missing and cannot be downloaded.
    """
    dataset = str(dataset)
    if dataset in DATASETS:
        *splits, class_names = mnist.read(dataset, root)
        return ImageData(dataset, *splits, class_names, "digit" if dataset in ("mnist", "digits") else "class")
    path = expanded(dataset)
    if not os.path.exists(path):
        known = ", ".join(DATASETS)
        raise InputError(f"dataset {dataset!r} is not there: accepted is one of {known}, or {OWN_IMAGES}")
    return dataclasses.replace(from_arrays(**files.read(Path(path)), name=path), name=dataset_name(path))


def from_arrays(
    images: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    test_images: np.ndarray | Tensor | None = None,
    test_labels: np.ndarray | Tensor | None = None,
    *,
    name: str = "arrays",
    class_names: tuple[str, ...] | None = None,
) -> ImageData:
    """A set of images that as_images takes, with a label each, integers or text; floats are rounded to uint8.

    Without test images a tenth of each class is split off, at least one image, the same in every call. A split that
    comes sorted by class is shuffled, the same in every call, so that its first images are a fair sample; any other
    order stays. Labels become 0..n-1 in the order of numbers, then words, and name the classes unless class_names
    does. InputError where images, labels and names do not fit together, for fewer than 2 or more than 47 classes, and
    for a class of fewer than 2 training images or without a test image.
    """
    if (test_images is None) != (test_labels is None):
        raise InputError(f"{name} has test images without labels or the reverse: accepted are both or neither")
    x = as_bytes(images, name)
    words, in_test = _words(labels, len(x), name), None
    if test_images is not None:
        test = as_bytes(test_images, name)
        if test.shape[2:] != x.shape[2:]:
            raise InputError(f"{name} has images of the sides {x.shape[2]} and {test.shape[2]}: accepted is one side")
        words = np.concatenate([words, _words(test_labels, len(test), name)])
        in_test = torch.arange(len(words)) >= len(x)
        x = torch.cat([x, test])
    originals, codes = np.unique(words, return_inverse=True)
    if not 2 <= len(originals) <= 47:
        raise InputError(f"{name} has {len(originals)} class{'es' * (len(originals) > 1)}: accepted are 2 to 47")
    order = sorted(range(len(originals)), key=lambda i: _rank(str(originals[i])))
    y = torch.from_numpy(np.argsort(order)[codes])
    names = tuple(map(str, originals[order] if class_names is None else np.ravel(class_names)))
    if not len(names) == len(set(names)) == len(originals):
        raise InputError(f"{name} has the class_names {', '.join(names)}: accepted are {len(originals)} different ones")
    if in_test is None:
        _, turn, size = _turns(y)
        in_test = turn < (size / 10).round().clamp(min=1)
    for label, word in enumerate(names):
        kept, tested = (int((y[part] == label).sum()) for part in (~in_test, in_test))
        if kept < 2 or tested < 1:
            found = f"{kept} training and {tested} test images of the class {word!r}"
            raise InputError(f"{name} has {found}: accepted are at least 2 and 1, or 3 that are not split")
    return ImageData(name, *_fair(x[~in_test], y[~in_test]), *_fair(x[in_test], y[in_test]), names)


def as_bytes(images: np.ndarray | Tensor, source: str = "images") -> Tensor:
    """What as_images takes, as uint8 on the CPU, (N, 1, h, w); floats are rounded."""
    x = as_images(images, source).detach().cpu()
    return x if x.dtype == torch.uint8 else (x * 255).round().to(torch.uint8)


def _words(labels: np.ndarray | Tensor, count: int, source: str) -> np.ndarray:
    """Labels as text, (count,)."""
    array = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    array = np.array(array.tolist()) if array.dtype == object else array  # pandas keeps text as objects
    if array.dtype.kind not in "iuU":
        raise InputError(f"{source} has labels of {array.dtype}: accepted are integers and text")
    if array.size != count:
        raise InputError(f"{source} has labels of the shape {array.shape} for {count:,} images: accepted is ({count},)")
    return array.reshape(count).astype(str)


def _rank(name: str) -> tuple:
    """Sorts numbers by value, then words by letter."""
    return (0, int(name), name) if re.fullmatch("-?[0-9]{1,20}", name) else (1, 0, name)


def _fair(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A split as it is, or shuffled where it comes sorted by class."""
    order = torch.arange(len(labels)) if (labels.diff() < 0).any() else _shuffled(len(labels))
    return images[order], labels[order]


def _shuffled(count: int) -> Tensor:
    """0 to count - 1 in an order that is the same in every call."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def _turns(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All indices, shuffled; each image's place from 0 among those of its class in that order; its class's size."""
    order, turn = _shuffled(len(labels)), torch.zeros(len(labels))
    for label in labels.unique():
        own = order[labels[order] == label]
        turn[own] = torch.arange(len(own)).float()
    return order, turn, labels.bincount()[labels]


def hold_out(images: ImageData, count: int) -> ImageData:
    """The set with count of its training images in the place of its test images; the same ones in every call.

    InputError when fewer than two images would be left to train on.
    """
    if count > len(images.train_images) - 2:
        raise InputError(f"held_out {count}: {images.name} has {len(images.train_images):,} training images")
    order = _shuffled(len(images.train_images))
    x, labels = images.train_images[order], images.train_labels[order]
    parts = dict(train_images=x[count:], train_labels=labels[count:], test_images=x[:count], test_labels=labels[:count])
    return dataclasses.replace(images, **parts)


def stratified(labels: Tensor, count: int) -> Tensor:
    """Indices of count images, of each class its share of the set, the same in every call; (count,).

    The shares matter, as classes differ in what they cost. InputError where the set has fewer images.
    """
    if not 1 <= count <= len(labels):
        raise InputError(f"{count} images: accepted is 1 to the {len(labels):,} of the set")
    order, turn, size = _turns(labels)
    place = (turn + 0.5) / size  # The place of an image among those of its class, from 0 to 1.
    return order[place[order].argsort(stable=True)[:count]].sort().values


def one_per_class(labels: Tensor) -> Tensor:
    """Index of the first image of each class, in the order of the classes: those that figures show."""
    return torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()])


def labels_of(images: ImageData, names: Sequence[str], otherwise: int = 0) -> list[int]:
    """The labels of the classes of these names, in their order.

    Where the set does not have them all, or none is named, the labels of ``otherwise`` classes are taken instead, at
    even steps from the first to the last.
    """
    if names and set(names) <= set(images.class_names):
        return [images.class_names.index(name) for name in names]
    return np.linspace(0, len(images.class_names) - 1, otherwise).round().astype(int).tolist()


def examples(images: ImageData, labels: Sequence[int]) -> Tensor:
    """Index of a test image for each label, (n,): the first of its class, the next one where a label repeats."""
    found, seen = [], Counter()
    for label in labels:
        own = (images.test_labels == label).nonzero()[:, 0]
        if not len(own):
            raise InputError(f"{images.name} has no test image of the class {images.class_names[label]!r}")
        found.append(own[seen[label] % len(own)])
        seen[label] += 1
    return torch.stack(found)


def as_images(images: np.ndarray | Tensor, source: str = "images") -> Tensor:
    """Grey square images as a tensor (N, 1, h, w), uint8 from 0 to 255 or float32 from 0 to 1.

    Takes arrays and tensors, (N, h, w) or (N, 1, h, w), uint8 or any float. A tensor stays on its device; uint8 and
    float32 are not copied unless they must be. Floats that are out of [0, 1] by rounding are clipped. What might be
    on the one scale or the other is refused with InputError, which names source: images on the wrong scale are nearly
    black or nearly white, and have a FID all the same.
    """
    x = images if isinstance(images, Tensor) else np.asarray(images)
    kind = str(x.dtype).removeprefix("torch.") if isinstance(x, Tensor) else x.dtype.name
    if kind != "uint8" and "float" not in kind:
        raise InputError(f"{source} is of {kind}: accepted are uint8 from 0 to 255 and floats from 0 to 1")
    if not isinstance(x, Tensor):
        # PyTorch takes no foreign byte order, no long double, no reversed and no read-only arrays: these are copied.
        native = np.float64 if x.dtype == np.longdouble else x.dtype.newbyteorder("=")
        x = torch.from_numpy(np.require(x, native, "CW"))
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] != x.shape[3] or x.shape[2] not in files.SIDES:
        wanted = f"(N, h, w) or (N, 1, h, w), grey and square, with a side of {files.ACCEPTED_SIDES}"
        raise InputError(f"{source} has the shape {tuple(x.shape)}: accepted is {wanted}")
    if not len(x):
        raise InputError(f"{source} has no images")
    if x.dtype == torch.uint8:
        if x.max() == 1:
            raise InputError(f"{source} is uint8 up to 1: black images from 0 to 255, or floats from 0 to 1 cut off?")
        return x
    x = x if x.dtype == torch.float64 else x.float()
    low, high = (bound.item() for bound in x.detach().aminmax())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{source} has pixels that are not a number, or infinite: accepted are floats from 0 to 1")
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(f"{source} has floats from {low:.9g} to {high:.9g}: accepted are floats from 0 to 1, or uint8")
    if 0 < high <= (1 + ROUNDING) / 255:
        raise InputError(f"{source} has floats up to {high:g}, as if divided by 255 twice: accepted is 0 to 1")
    return x.float() if low >= 0 and high <= 1 else x.clamp(0, 1).float()


def as_float(images: Tensor) -> Tensor:
    """Images that as_images made as float32 in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


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
