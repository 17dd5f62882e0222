"""Readers of images in files: folders of pictures, .npy and .npz arrays, and the IDX files that MNIST comes in.

Pictures and IDX files give uint8 (N, side, side), arrays are as they come. Nothing is ever unpickled.
"""

import contextlib
import gzip
import math
import re
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from vaelib.config import OWN_IMAGES, InputError

SUFFIXES = (".png", ".jpg", ".jpeg")
SIDES = range(8, 65, 4)
ACCEPTED_SIDES = f"{SIDES[0]} to {SIDES[-1]} pixels that is a multiple of {SIDES.step}"
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # RGBA of 8 bits holds these without loss.
_IDX = re.compile(r".*(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
_SPLIT = ("train_images", "train_labels", "test_images", "test_labels")


def read(path: Path) -> dict[str, np.ndarray]:
    """Own images and labels under the names of from_arrays' arguments; no test images where none are set apart.

    Accepted are a folder with a folder of pictures for each class, perhaps in train/ and test/; an .npz with images and
    labels, or train_images, train_labels, test_images and test_labels, and perhaps class_names; a folder of four IDX
    files, named like MNIST's with any prefix, packed or not. Hidden files are left alone. InputError for all else.
    """
    if path.is_dir():
        arrays = _four_idx(path) or _classes(path)
    elif path.suffix.lower() == ".npz":
        arrays = _npz(path)
    else:
        raise InputError(f"{path} is a file of another kind: accepted is {OWN_IMAGES}")
    return {name.removeprefix("train_"): array for name, array in arrays.items()}


def read_array(path: Path) -> np.ndarray:
    """The array of an .npy file, or the only one of an .npz file. InputError where none can be read."""
    with _reading(path, "holds no array that can be read"), open(path, "rb") as file:
        content = np.load(file)
        if isinstance(content, np.ndarray):
            return content
        if len(content.files) != 1:
            raise InputError(f"{path} holds {', '.join(content.files) or 'nothing'}: accepted is one array")
        return content[content.files[0]]


def read_pictures(folder: Path) -> np.ndarray:
    """The pictures of a folder in the order of their names, uint8 (N, side, side); other files are left alone.

    InputError where there are none, where one cannot be read, and where they are not grey, square and of one size.
    RGB of equal channels is grey.
    """
    files = [file for file in _visible(folder) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise InputError(f"{folder} has no png or jpg: accepted are files that end in {', '.join(SUFFIXES)}")
    return _pictures(files)


def idx_array(content: bytes, dimensions: int, source: Path) -> np.ndarray:
    """The uint8 array in the content of an IDX file; InputError, which names source, where it does not hold one.

    http://yann.lecun.com/exdb/mnist has the format: 0, 0, 8 for bytes, the number of dimensions, each one's size.
    """
    start = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < start:
        raise InputError(f"{source} is damaged or of another kind: accepted are bytes in IDX format, {dimensions}-D")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        claimed = " x ".join(map(str, shape))
        raise InputError(f"{source} is damaged: its header says {claimed} bytes, {len(content) - start:,} are there")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _four_idx(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of four IDX files, or nothing where the folder has no such file."""
    found, arrays = {name: {} for name in _SPLIT}, {}
    for file in _visible(folder):
        if match := _IDX.fullmatch(file.name):
            name = f"{'train' if match[1] == 'train' else 'test'}_{match[2]}"
            found[name][file.name.removesuffix(".gz")] = file  # A file that is there packed and unpacked counts once.
    if not any(found.values()):
        return {}
    for name, files in found.items():
        if len(files) != 1:
            there = ", ".join(files) or "none"
            raise InputError(f"{folder} needs one IDX file of {name.replace('_', ' ')}, and has {there}")
        (file,) = files.values()
        with _reading(file, "is damaged"):
            content = file.read_bytes()
            content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        arrays[name] = idx_array(content, 3 if "images" in name else 1, file)
        count = len(arrays[name.replace("labels", "images")])
        if len(arrays[name]) != count:
            raise InputError(f"{file} has {len(arrays[name]):,} labels: accepted are {count:,}, one for each image")
    return arrays


def _npz(path: Path) -> dict[str, np.ndarray]:
    with _reading(path, "holds no arrays that can be read (pickled ones never are)"), open(path, "rb") as file:
        content = np.load(file)
        names = [] if isinstance(content, np.ndarray) else content.files
        for wanted in (_SPLIT, ("images", "labels")):
            if set(wanted) <= set(names):
                return {name: content[name] for name in names if name in (*wanted, "class_names")}
    held = ", ".join(names) or "no array with a name"
    raise InputError(f"{path} holds {held}: accepted are {', '.join(_SPLIT)}, or images, labels")


def _classes(path: Path) -> dict[str, np.ndarray]:
    """The pictures in a folder for each class, whose name is their label."""
    splits = [path / "train", path / "test"]
    if not all(split.is_dir() for split in splits):
        splits = [path]
    elif others := [entry.name for entry in _visible(path) if entry not in splits]:
        raise InputError(
            f"{path} holds train, test, {', '.join(others)}: accepted are train and test alone, or classes"
        )
    folders = [folder for split in splits for folder in _visible(split)]
    for folder in folders or splits:
        if not folder.is_dir() or not _visible(folder):
            raise InputError(f"{folder} is no folder with pictures: accepted is {OWN_IMAGES}")
    files = [file for folder in folders for file in _visible(folder)]
    images, labels = _pictures(files), np.array([file.parent.name for file in files])
    if splits == [path]:
        return dict(images=images, labels=labels)
    test = np.array([splits[1] in file.parents for file in files])
    return dict(zip(_SPLIT, (images[~test], labels[~test], images[test], labels[test]), strict=True))


def _visible(folder: Path) -> list[Path]:
    """What a folder holds and does not hide, by name: each file system lists it in an order of its own."""
    with _reading(folder, "cannot be read"):
        return sorted((entry for entry in folder.iterdir() if entry.name[0] != "."), key=lambda entry: entry.name)


def _pictures(files: list[Path]) -> np.ndarray:
    """Grey pictures of one size, uint8 (N, side, side)."""
    pictures = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for file in files:
            with _reading(file, "is no picture that can be read"):
                pictures.append(_picture(file, pictures[0].shape if pictures else None))
    return np.stack(pictures)


def _picture(file: Path, shape: tuple[int, int] | None) -> np.ndarray:
    """A grey picture, uint8 (side, side), of that shape where one is given."""
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"{file} is no picture: accepted are files that end in {', '.join(SUFFIXES)}")
    with Image.open(file, formats=("PNG", "JPEG")) as picture:
        width, height = picture.size
        if width != height or width not in SIDES:
            fault = ""
        elif shape not in (None, (height, width)):
            fault = f", others are {shape[1]}x{shape[0]}"
        elif picture.mode not in _MODES or "16" in str(picture.tile):  # 16-bit colour has the mode RGB too.
            fault = ", not grey of 8 bits"
        else:
            rgba = np.asarray(picture.convert("RGBA"))
            if (rgba == rgba[:, :, [0, 0, 0, 3]]).all() and rgba[:, :, 3].min() == 255:
                return rgba[:, :, 0].copy()
            fault = ", with transparency" if rgba[:, :, 3].min() < 255 else ", in colour"
        raise InputError(
            f"{file} is {width}x{height} in mode {picture.mode}{fault}: accepted are grey squares of one side, "
            f"{ACCEPTED_SIDES}, 8 bits, opaque; ImageMagick makes them: "
            "mogrify -colorspace Gray -depth 8 -alpha remove -resize 28x28! FILES"
        )


@contextlib.contextmanager
def _reading(path: Path, fault: str):
    """Says in one line, as InputError, whatever a reader raises on a damaged file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{path} {fault}: {reason}") from error
