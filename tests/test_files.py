import gzip
import io
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_idx
from PIL import Image
from torchvision import datasets, utils

from vaelib import data
from vaelib.config import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(256, size=(30, 28, 28), dtype=np.uint8)
LABELS = np.tile([2, 5, 9], 10).astype(np.uint8)
WORDS = ("apple", "boat", "car")


def write_classes(folder: Path, images: dict[str, np.ndarray], suffix: str = ".png") -> Path:
    """A folder of pictures for each class; the file names are numbers."""
    for name, arrays in images.items():
        (folder / name).mkdir(parents=True)
        for index, array in enumerate(arrays):
            Image.fromarray(array).save(folder / name / f"{index:03}{suffix}")
    return folder


def words(counts=(30, 20, 10), side=32, seed=0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(256, size=(count, side, side), dtype=np.uint8)
        for name, count in zip(WORDS, counts, strict=True)
    }


def known(images) -> dict[bytes, str]:
    return {array.tobytes(): name for name, arrays in images.items() for array in arrays}


def refusal(path) -> str:
    """The one line in which the set at that path is refused."""
    with pytest.raises(InputError) as caught:
        data.load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_for_each_class_is_split_by_class_and_labelled_by_name(tmp_path):
    images = words()
    made = data.load(write_classes(tmp_path / "things", images))
    assert (made.name, made.class_names, made.noun, made.shape) == ("things", WORDS, "class", (32, 32))
    assert made.train_labels.bincount().tolist() == [27, 18, 9]
    assert made.test_labels.bincount().tolist() == [3, 2, 1]
    by_image = known(images)
    for x, y in ((made.train_images, made.train_labels), (made.test_images, made.test_labels)):
        assert [by_image[image.numpy().tobytes()] for image in x] == [WORDS[label] for label in y]
    everything = torch.cat([made.train_images, made.test_images])
    assert {image.numpy().tobytes() for image in everything} == set(by_image)


def test_the_first_images_of_a_folder_are_a_fair_sample(tmp_path):
    made = data.load(write_classes(tmp_path / "things", words((100, 100, 100), side=8)))
    assert made.train_labels[:90].bincount().min() >= 20


def test_a_folder_gives_what_torchvisions_image_folder_gives(tmp_path):
    write_classes(tmp_path / "train", words())
    write_classes(tmp_path / "test", words((5, 6, 7), seed=1))
    made = data.load(tmp_path)
    for split, images, labels in (
        ("train", made.train_images, made.train_labels),
        ("test", made.test_images, made.test_labels),
    ):
        reference = datasets.ImageFolder(tmp_path / split)
        assert list(made.class_names) == reference.classes
        expected = sorted((np.asarray(image.convert("L")).tobytes(), label) for image, label in reference)
        assert sorted((x.numpy().tobytes(), int(y)) for x, y in zip(images, labels, strict=True)) == expected


def test_the_order_of_files_on_disk_does_not_matter(tmp_path, monkeypatch):
    images = words()
    first = data.load(write_classes(tmp_path / "one", images))
    write_classes(tmp_path / "two", dict(reversed(images.items())))
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter(sorted(listed(folder), reverse=True)))
    assert data.load(tmp_path / "two").checksum == first.checksum


def test_hidden_files_are_left_alone(tmp_path):
    folder = write_classes(tmp_path / "things", words())
    expected = data.load(folder).checksum
    for place in (folder, folder / "boat"):
        (place / ".DS_Store").write_bytes(b"?")
        (place / "._000.png").write_bytes(b"?")
    (folder / ".ipynb_checkpoints").mkdir()
    assert data.load(folder).checksum == expected


def test_a_path_may_be_text_with_a_tilde(tmp_path, monkeypatch):
    write_classes(tmp_path / "things", words())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.load("~/things").name == "things"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".PNG"])
def test_every_kind_of_picture_is_read_as_pillow_reads_it(tmp_path, suffix):
    smooth = {name: np.full((3, 28, 28), 40 * index, np.uint8) for index, name in enumerate(WORDS)}
    made = data.load(write_classes(tmp_path / "things", smooth, suffix))
    for label in range(3):
        assert made.train_images[made.train_labels == label].unique().tolist() == [40 * label]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_equal_channels_are_grey(tmp_path, mode):
    for index, array in enumerate(GREY):
        picture = Image.fromarray(array)
        picture.convert("RGB").convert(mode).save(tmp_path / f"{index:02}.png")
        if mode == "P":
            picture.convert("P").save(tmp_path / f"{index:02}.png")
    assert np.array_equal(data.read_pictures(tmp_path), GREY)


def test_black_and_white_of_one_bit_is_grey(tmp_path):
    Image.fromarray(GREY[0] > 127).save(tmp_path / "a.png")
    assert np.array_equal(data.read_pictures(tmp_path)[0], np.where(GREY[0] > 127, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_what_torchvision_saves_is_read(tmp_path, suffix):
    x = torch.from_numpy(GREY[:3] // 8 * 8).float()[:, None] / 255
    for index, image in enumerate(x):
        utils.save_image(image, tmp_path / f"{index}.{suffix}")
        with Image.open(tmp_path / f"{index}.{suffix}") as picture:
            assert picture.mode == "RGB"
    found = data.read_pictures(tmp_path) / 255.0
    assert abs(found - x[:, 0].numpy()).max() < (0.003 if suffix == "png" else 0.5)


def test_a_folder_is_read_in_the_order_of_names_and_other_files_are_left_alone(tmp_path):
    for index, picture in enumerate(GREY[:7]):
        Image.fromarray(picture).save(tmp_path / f"{6 - index}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    assert np.array_equal(data.read_pictures(tmp_path)[::-1], GREY[:7])


def png(depth: int, colour: int, row: bytes, side: int = 28) -> bytes:
    """A PNG of 28 equal rows that claims to be side x side, written from the format's description."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    rows = zlib.compress((b"\0" + row) * 28)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def encoded(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, **{"format": "png"} | options)
    return buffer.getvalue()


COLOUR = Image.new("RGB", (28, 28), (1, 2, 3))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(COLOUR), "is 28x28 in mode RGB, in colour"),
        (encoded(COLOUR.convert("P")), "is 28x28 in mode P, in colour"),
        (encoded(COLOUR.convert("CMYK"), format="jpeg"), "is 28x28 in mode CMYK, not grey of 8 bits"),
        (encoded(Image.new("L", (32, 28))), "is 32x28 in mode L"),
        (encoded(Image.new("L", (32, 32))), "is 32x32 in mode L, others are 28x28"),
        (encoded(Image.new("L", (30, 30))), "is 30x30 in mode L"),
        (encoded(Image.new("L", (100, 100))), "is 100x100 in mode L"),
        (encoded(Image.new("RGBA", (28, 28), (9, 9, 9, 254))), "is 28x28 in mode RGBA, with transparency"),
        (encoded(Image.new("LA", (28, 28), (9, 0))), "is 28x28 in mode LA, with transparency"),
        (encoded(Image.new("L", (28, 28), 9), transparency=9), "is 28x28 in mode L, with transparency"),
        (png(16, 0, b"\1\2" * 28), "is 28x28 in mode I;16, not grey of 8 bits"),
        (png(16, 2, b"\1\2" * 84), "is 28x28 in mode RGB, not grey of 8 bits"),
    ],
)
def test_pictures_of_another_kind_are_named_with_a_way_to_convert_them(tmp_path, content, expected):
    folder = write_classes(tmp_path / "things", words(side=28))
    odd = folder / "car" / "odd.png"
    odd.write_bytes(content)
    message = refusal(folder)
    assert message.startswith(f"{odd} {expected}")
    assert "8 to 64 pixels that is a multiple of 4" in message
    assert "mogrify -colorspace Gray" in message


WHOLE = encoded(Image.fromarray(GREY[0]))


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", WHOLE[:60], WHOLE[:-30], WHOLE[:300] + b"\0" * 40 + WHOLE[340:], b"GIF89a" + WHOLE[6:]],
)
def test_a_broken_picture_is_named(tmp_path, content):
    folder = write_classes(tmp_path / "things", words(side=28))
    (folder / "boat" / "x.png").write_bytes(content)
    assert refusal(folder).startswith(f"{folder / 'boat' / 'x.png'} is no picture that can be read: ")


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_decompression_bomb_is_named(tmp_path, side):
    """Pillow warns of the smaller one and refuses the larger."""
    folder = write_classes(tmp_path / "things", words())
    (folder / "boat" / "x.png").write_bytes(png(8, 0, bytes(side), side))
    assert refusal(folder).startswith(f"{folder / 'boat' / 'x.png'} is no picture that can be read: Image size")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("boat/notes.txt", "is no picture: accepted are files that end in .png, .jpg, .jpeg"),
        ("boat/a.webp", "is no picture: accepted are files that end in .png, .jpg, .jpeg"),
        ("boat/inner/a.png", "is no picture: accepted are files"),
        ("README.md", "is no folder with pictures: accepted is the path of a folder"),
        ("a.png", "is no folder with pictures"),
    ],
)
def test_a_stray_file_is_named(tmp_path, name, expected):
    folder = write_classes(tmp_path / "things", words())
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(WHOLE)
    named = folder / "boat" / "inner" if "inner" in name else folder / name
    assert refusal(folder).startswith(f"{named} {expected}")


def test_folders_that_make_no_set_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").startswith(f"{tmp_path / 'empty'} is no folder with pictures: accepted is")
    folder = write_classes(tmp_path / "one", {"train": GREY})
    assert refusal(folder) == f"{folder} has 1 class: accepted are 2 to 47"
    (folder / "none").mkdir()
    assert refusal(folder).startswith(f"{folder / 'none'} is no folder with pictures")
    folder = write_classes(tmp_path / "few", words((10, 10, 2)))
    assert "1 training and 1 test images of the class 'car': accepted are at least 2 and 1" in refusal(folder)
    folder = write_classes(tmp_path / "many", {f"{n}": GREY[:3] for n in range(48)})
    assert refusal(folder) == f"{folder} has 48 classes: accepted are 2 to 47"


def test_train_and_test_stand_alone_and_hold_the_same_classes(tmp_path):
    write_classes(tmp_path / "train", words())
    write_classes(tmp_path / "test", {"boat": words()["boat"]})
    assert "30 training and 0 test images of the class 'apple'" in refusal(tmp_path)
    (tmp_path / "valid").mkdir()
    assert refusal(tmp_path).startswith(f"{tmp_path} holds train, test, valid: accepted are train and test alone")


def test_class_folders_that_are_numbers_are_sorted_as_numbers(tmp_path):
    made = data.load(write_classes(tmp_path / "n", {str(n): np.full((3, 8, 8), n, np.uint8) for n in (10, 9, 1)}))
    assert made.class_names == ("1", "9", "10")
    assert (made.train_images[:, 0, 0, 0] == torch.tensor([1, 9, 10])[made.train_labels]).all()


@pytest.mark.parametrize("count", [2, 47])
def test_two_to_47_classes_of_three_images_are_enough(tmp_path, count):
    made = data.load(write_classes(tmp_path / "n", {f"c{n:02}": GREY[:3] for n in range(count)}))
    assert len(made.class_names) == count
    assert made.train_labels.bincount().tolist() == [2] * count
    assert made.test_labels.bincount().tolist() == [1] * count


def test_an_npz_of_text_labels_equals_the_arrays(tmp_path):
    labels = np.array(WORDS)[np.tile([2, 0, 1], 10)]
    np.savez(tmp_path / "my things.npz", images=GREY / 255, labels=labels, notes=np.zeros(3))
    made = data.load(tmp_path / "my things.npz")
    assert made.name == "my-things"
    assert made.class_names == WORDS
    assert made.checksum == data.from_arrays(GREY, labels).checksum
    assert made.test_labels.bincount().tolist() == [1, 1, 1]


def test_an_npz_in_two_splits_is_read_in_its_order(tmp_path):
    arrays = dict(train_images=GREY, train_labels=LABELS, test_images=GREY[:6], test_labels=LABELS[:6])
    np.savez_compressed(tmp_path / "a.npz", **arrays, class_names=["two", "five", "nine"])
    made = data.load(tmp_path / "a.npz")
    assert np.array_equal(made.train_images[:, 0], GREY)
    assert np.array_equal(made.test_images[:, 0], GREY[:6])
    assert made.train_labels.tolist() == np.tile([0, 1, 2], 10).tolist()
    assert made.class_names == ("two", "five", "nine")


class Marker:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_is_unpickled(tmp_path):
    labels = np.array([Marker(tmp_path / "ran")] * 30, dtype=object)
    np.savez(tmp_path / "a.npz", images=GREY, labels=labels)
    assert refusal(tmp_path / "a.npz").startswith(f"{tmp_path}/a.npz holds no arrays that can be read (pickled")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Marker(tmp_path / "ran")))
    assert refusal(tmp_path / "b.npz").startswith(f"{tmp_path}/b.npz holds no arrays that can be read (pickled")
    with pytest.raises(InputError, match="holds no array that can be read"):
        data.read_array(tmp_path / "b.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (dict(a=GREY, b=LABELS), "holds a, b: accepted are train_images, train_labels, test_images, test_labels, or"),
        (dict(train_images=GREY, train_labels=LABELS), "holds train_images, train_labels: accepted are"),
        (dict(images=GREY, labels=LABELS[:20]), "has labels of the shape (20,) for 30 images"),
        (dict(images=GREY.astype(int), labels=LABELS), "is of int64"),
        (dict(images=GREY[:, :20], labels=LABELS), "has the shape (30, 1, 20, 28)"),
        (dict(images=GREY, labels=LABELS / 2), "has labels of float64"),
        (dict(images=GREY, labels=LABELS, class_names=["a"]), "has the class_names a: accepted are 3 different ones"),
    ],
)
def test_an_npz_of_another_kind_is_named(tmp_path, arrays, expected):
    np.savez(tmp_path / "a.npz", **arrays)
    assert refusal(tmp_path / "a.npz").startswith(f"{tmp_path / 'a.npz'} {expected}")


def torn(content: bytes) -> bytes:
    return content[:1000] + bytes(100) + content[1100:]


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=GREY, labels=LABELS)
    return buffer.getvalue()


def npy_in_zip() -> bytes:
    """A zip whose array claims more than is there."""
    buffer, content = io.BytesIO(), io.BytesIO()
    np.save(content, GREY)
    with zipfile.ZipFile(buffer, "w") as file:
        for name in ("images.npy", "labels.npy"):
            file.writestr(name, content.getvalue().replace(b"(30, 28, 28)", b"(9999999999)", 1)[:500])
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"no zip", npz()[:-200], torn(npz()), npy_in_zip()])
def test_a_broken_npz_is_named(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    assert refusal(tmp_path / "a.npz").startswith(f"{tmp_path / 'a.npz'} holds no arrays that can be read")
    with pytest.raises(InputError, match=r"a.npz holds no array that can be read|a.npz holds images, labels"):
        data.read_array(tmp_path / "a.npz")


def test_a_file_of_another_kind_is_answered_with_what_is_accepted(tmp_path):
    np.save(tmp_path / "a.npy", GREY)
    assert refusal(tmp_path / "a.npy").startswith(f"{tmp_path / 'a.npy'} is a file of another kind: accepted is")
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    assert refusal(tmp_path / "a.npz").startswith(f"{tmp_path / 'a.npz'} holds no array with a name: accepted are")


@pytest.mark.parametrize("save", [np.save, np.savez])
def test_one_array_of_a_file_is_read(tmp_path, save):
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, GREY)
    assert np.array_equal(data.read_array(path), GREY)


def test_a_file_without_one_array_is_named(tmp_path):
    np.savez(tmp_path / "two.npz", a=GREY, b=GREY)
    with pytest.raises(InputError, match=rf"^{tmp_path}/two.npz holds a, b: accepted is one array"):
        data.read_array(tmp_path / "two.npz")
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"a.npy holds no array that can be read"):
        data.read_array(tmp_path / "a.npy")


def idx_folder(folder: Path) -> Path:
    write_idx(folder, GREY, LABELS, GREY[:6], LABELS[:6])
    return folder


def rewrite(folder: Path, rename=lambda name: name, packed: bool = False) -> Path:
    for file in list(folder.iterdir()):
        content = gzip.decompress(file.read_bytes())
        file.unlink()
        name = rename(file.name.removesuffix(".gz"))
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return folder


def test_idx_files_are_read_as_written_and_as_torchvision_reads_them(tmp_path):
    made = data.load(idx_folder(tmp_path / "MNIST" / "raw"))
    assert np.array_equal(made.train_images[:, 0], GREY)
    assert np.array_equal(made.test_images[:, 0], GREY[:6])
    assert (made.name, made.noun, made.class_names) == ("raw", "class", ("2", "5", "9"))
    rewrite(tmp_path / "MNIST" / "raw")
    for train, images, labels in (
        (True, made.train_images, made.train_labels),
        (False, made.test_images, made.test_labels),
    ):
        reference = datasets.MNIST(tmp_path, train=train)
        assert torch.equal(images[:, 0], reference.data)
        assert torch.equal(torch.tensor([2, 5, 9])[labels], reference.targets)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name,
        lambda name: "emnist-letters-" + name.replace("t10k", "test"),
        lambda name: name.replace("-idx", ".idx"),
    ],
)
def test_idx_files_are_the_same_packed_and_under_any_prefix(tmp_path, packed, rename):
    expected = data.load(idx_folder(tmp_path / "a")).checksum
    assert data.load(rewrite(tmp_path / "a", rename, packed)).checksum == expected


def test_idx_files_may_lie_packed_and_unpacked_side_by_side(tmp_path):
    folder = idx_folder(tmp_path / "a")
    expected = data.load(folder).checksum
    for file in list(folder.iterdir()):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
    assert len(list(folder.iterdir())) == 8
    assert data.load(folder).checksum == expected


def test_idx_files_in_the_order_of_classes_are_shuffled(tmp_path):
    order = np.argsort(LABELS, kind="stable")
    write_idx(tmp_path / "a", GREY[order], LABELS[order], GREY[order], LABELS[order])
    made = data.load(tmp_path / "a")
    assert made.train_labels[:15].unique().tolist() == [0, 1, 2]
    assert sorted(image.numpy().tobytes() for image in made.train_images) == sorted(x.tobytes() for x in GREY)


def test_four_idx_files_are_needed_and_no_more(tmp_path):
    folder = idx_folder(tmp_path / "a")
    (folder / "t10k-labels-idx1-ubyte.gz").rename(folder / "other-train-labels-idx1-ubyte.gz")
    both = "other-train-labels-idx1-ubyte, train-labels-idx1-ubyte"
    assert refusal(folder) == f"{folder} needs one IDX file of train labels, and has {both}"
    (folder / "other-train-labels-idx1-ubyte.gz").unlink()
    assert refusal(folder) == f"{folder} needs one IDX file of test labels, and has none"


def header(kind: int, *sizes: int) -> bytes:
    return bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("train-images-idx3-ubyte", b"", "is damaged or of another kind: accepted are bytes in IDX format, 3-D"),
        ("train-images-idx3-ubyte", header(8, 30, 28, 28)[:9], "is damaged or of another kind"),
        ("train-images-idx3-ubyte", header(8, 30, 28, 28) + bytes(99), "says 30 x 28 x 28 bytes, 99 are there"),
        ("train-images-idx3-ubyte", header(8, 2**32 - 1, 28, 28) + bytes(784), "says 4294967295 x 28 x 28 bytes, 784"),
        ("train-images-idx3-ubyte", header(8, 1, 28, 28) + bytes(785), "says 1 x 28 x 28 bytes, 785 are there"),
        ("train-images-idx3-ubyte", header(8, 30, 784) + GREY.tobytes(), "is damaged or of another kind"),
        ("train-images-idx3-ubyte", header(13, 3, 8, 8) + bytes(768), "is damaged or of another kind"),
        ("train-images-idx3-ubyte", gzip.compress(bytes(999), mtime=0)[:20], "is damaged: Compressed file ended"),
        ("train-images-idx3-ubyte", b"\x1f\x8b no gzip", "is damaged: Unknown compression method"),
        ("train-labels-idx1-ubyte", header(8, 30, 1) + bytes(30), "is damaged or of another kind"),
        ("train-labels-idx1-ubyte", header(8, 20) + bytes(20), "has 20 labels: accepted are 30, one for each image"),
        ("t10k-labels-idx1-ubyte", header(8, 7) + bytes(7), "has 7 labels: accepted are 6, one for each image"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path, name, content, expected):
    folder = rewrite(idx_folder(tmp_path / "a"))
    (folder / name).write_bytes(content)
    message = refusal(folder)
    assert message.startswith(f"{folder / name} ")
    assert expected in message


def test_a_folder_without_permission_is_named(tmp_path):
    """As another user where the tests run as root, whom no permission stops."""
    folder = write_classes(tmp_path / "things", words())
    folder.chmod(0)
    as_root = os.geteuid() == 0
    try:
        if as_root:
            for place in (tmp_path, *tmp_path.parents[:3]):
                place.chmod(0o755)
            os.seteuid(65534)
        assert refusal(folder).startswith(f"{folder} cannot be read: ")
    finally:
        if as_root:
            os.seteuid(0)
        folder.chmod(0o755)
