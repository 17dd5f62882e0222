"""Image sets from outside: an array in a file, a folder of pictures, a split of a data set, or draws of a run."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vaelib import InputError, data, latent
from vaelib.run import Run
from vaelib.settings import DATASETS

SUFFIXES = (".png", ".jpg", ".jpeg")
ACCEPTED = "an .npy or .npz file, a folder of png or jpg, a run, or a split such as mnist:test"


def read(source: str, count: int | None = None, seed: int = 0, data_root: str | None = None) -> Tensor:
    """The images of that source, uint8 (N, 1, 28, 28), or float32 in [0, 1] where they came as floats or from a run.

    Of a run they are count draws from the prior, 10,000 where no count is given; of anything else all, or count of
    them drawn at random. InputError for what is none of ACCEPTED, for fewer than count images, and for images whose
    size, channels or range are not what is said here.
    """
    name, _, split = source.partition(":")
    path = Path(source)
    if (path / "config.json").is_file():
        run = Run.load(path)
        return latent.sample_prior(run.model(), run.config.latent_dim, count or 10_000, seed)[:, None]
    if name in DATASETS and split in ("train", "test"):
        known = data.load(name, data_root)
        images = known.train_images if split == "train" else known.test_images
    elif path.suffix in (".npy", ".npz") and path.is_file():
        images = checked(_read_array(path), source)
    elif path.is_dir():
        images = checked(_read_folder(path), source)
    else:
        raise InputError(f"{source} is not there, or is no image set: accepted is {ACCEPTED}")
    if count is None:
        return images
    if count > len(images):
        raise InputError(f"count {count:,}: {source} has {len(images):,} images")
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]]


def checked(array: np.ndarray, source: str) -> Tensor:
    """An array of grey 28x28 images as a tensor, (N, 1, 28, 28).

    Either uint8 from 0 to 255 or floats from 0 to 1. What might be the one or the other is refused with InputError:
    images on the wrong scale are nearly black or nearly white, and have a FID all the same.
    """
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or array.shape[1:] != (1, 28, 28):
        wanted = "(N, 28, 28) or (N, 1, 28, 28), grey"
        raise InputError(f"{source} has the shape {array.shape}: accepted is {wanted}")
    if not len(array):
        raise InputError(f"{source} has no images")
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{source} is of {array.dtype}: accepted are uint8 from 0 to 255 and floats from 0 to 1")
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{source} has pixels that are not a number, or infinite: accepted are floats from 0 to 1")
    if array.dtype == np.uint8:
        if high == 1:
            raise InputError(f"{source} is uint8 up to 1: black images from 0 to 255, or floats from 0 to 1 cut off?")
        return torch.from_numpy(array.copy())
    if low < 0 or high > 1:
        raise InputError(f"{source} has floats from {low:g} to {high:g}: accepted are floats from 0 to 1, or uint8")
    if 0 < high <= 1 / 255:
        raise InputError(f"{source} has floats up to {high:g}, as if divided by 255 twice: accepted is 0 to 1")
    return torch.from_numpy(array.astype(np.float32))


def _read_array(path: Path) -> np.ndarray:
    try:
        content = np.load(path)
        if isinstance(content, np.ndarray):
            return content
        with content:
            if len(content.files) != 1:
                raise InputError(f"{path} holds {', '.join(content.files) or 'nothing'}: accepted is one array")
            return content[content.files[0]]
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} holds no array that can be read: {error}") from error


def _read_folder(path: Path) -> np.ndarray:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{path} has no png or jpg: accepted is {ACCEPTED}")
    pictures = []
    for file in files:
        try:
            with Image.open(file) as picture:
                mode, size, array = picture.mode, picture.size, np.asarray(picture)
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"{file} is no picture that can be read: {error}") from error
        if mode != "L" or size != (28, 28):
            raise InputError(f"{file} is {size[0]}x{size[1]} in mode {mode}: accepted is 28x28 in mode L, grey, 8 bits")
        pictures.append(array)
    return np.stack(pictures)
