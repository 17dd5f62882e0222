import gzip
import hashlib
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_idx
from scipy import stats
from torchvision import datasets

from vaelib import data
from vaelib.config import InputError
from vaelib.data import mnist

NEEDS_MNIST = pytest.mark.skipif("VAELIB_DATA" not in os.environ, reason="$VAELIB_DATA names no folder with MNIST")


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """Files in MNIST's format with checksums of their own, and no network but a closed port."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (n, 28, 28), np.uint8) for n in (30, 20)]
    labels = [rng.integers(0, 10, n).astype(np.uint8) for n in (30, 20)]
    root = tmp_path / "data"
    folder = root / "MNIST" / "raw"
    write_idx(folder, arrays[0], labels[0], arrays[1], labels[1])
    packed = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()]
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    unpacked = {name[:-3]: hashlib.sha256(gzip.decompress(content)).hexdigest() for name, content in packed.items()}
    monkeypatch.setattr(mnist, "UNPACKED", unpacked)
    for source in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(source, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VAELIB_DATA", raising=False)
    return root, arrays, labels


def unpack(folder: Path) -> None:
    """Leaves the four files unpacked alone."""
    for file in folder.glob("*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()


def test_digits_are_split_evenly_by_class(digits):
    assert digits.train_images.shape == (1437, 1, 28, 28)
    assert digits.test_images.shape == (360, 1, 28, 28)
    assert digits.train_images.dtype == torch.uint8
    assert digits.test_labels.dtype == torch.int64
    assert digits.test_labels.bincount().min() >= 35


def test_digits_are_scikit_learns_in_its_own_split():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    split = train_test_split(bunch.images, bunch.target, test_size=0.2, random_state=0, stratify=bunch.target)
    with np.load(mnist.DIGITS) as arrays:
        for name, expected in zip(("train_images", "test_images", "train_labels", "test_labels"), split, strict=True):
            np.testing.assert_array_equal(arrays[name], expected)


def test_digits_keep_the_look_of_the_originals(digits):
    """Averaged back over blocks, the enlarged images correlate with scikit-learn's."""
    from sklearn.datasets import load_digits

    everything = torch.cat([digits.train_images, digits.test_images]).float()
    small = torch.nn.functional.interpolate(everything, size=8, mode="area").flatten(1).sum(0)
    original = torch.from_numpy(load_digits().data).float().sum(0)
    assert stats.pearsonr(small, original).statistic > 0.99


def test_splits_of_digits_do_not_overlap(digits):
    train = {image.numpy().tobytes() for image in digits.train_images}
    assert not train & {image.numpy().tobytes() for image in digits.test_images}


def test_known_sets_are_the_bytes_that_published_runs_were_trained_on(digits):
    assert digits.checksum == "310448925ca2c0a39002abcd1eef3a10d9d82ff9abc76565155bb682ade89d34"


def test_files_in_mnists_format_are_read_as_written(small_mnist):
    root, (train, test), (train_y, test_y) = small_mnist
    loaded = data.load("mnist", root)
    assert np.array_equal(loaded.train_images[:, 0], train)
    assert np.array_equal(loaded.test_images[:, 0], test)
    assert loaded.train_labels.tolist() == train_y.tolist()
    assert loaded.test_labels.tolist() == test_y.tolist()
    assert (loaded.name, loaded.noun, loaded.class_names) == ("mnist", "digit", tuple("0123456789"))


def test_other_sets_have_torchvisions_class_names(small_mnist, monkeypatch):
    root, _, _ = small_mnist
    for name, source in (("fashion-mnist", datasets.FashionMNIST), ("kmnist", datasets.KMNIST)):
        monkeypatch.setattr(source, "resources", datasets.MNIST.resources)
        shutil.copytree(root / "MNIST", root / source.__name__)
        loaded = data.load(name, root)
        assert (loaded.noun, loaded.class_names) == ("class", tuple(source.classes))


@NEEDS_MNIST
def test_mnist_equals_torchvisions_own_reading(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in data.FILES:
        shutil.copyfile(next(Path(os.environ["VAELIB_DATA"]).rglob(file)), raw / file)
    loaded = data.load("mnist")
    assert loaded.checksum == "1e35582d42a90940c55b956deb61875c020b567ed20e3c5b174f52bf7809ed9b"
    for split, images, labels in (
        (True, loaded.train_images, loaded.train_labels),
        (False, loaded.test_images, loaded.test_labels),
    ):
        reference = datasets.MNIST(tmp_path, train=split, download=True)
        assert torch.equal(images[:, 0], reference.data)
        assert torch.equal(labels, reference.targets)
    for file in data.FILES:  # torchvision has unpacked them and reads the unpacked ones.
        (raw / file).unlink()
    assert data.load("mnist", tmp_path).checksum == data.load("mnist", raw).checksum == loaded.checksum


def test_files_may_lie_unpacked_in_either_layout(small_mnist):
    root, _, _ = small_mnist
    expected = data.load("mnist", root).checksum
    unpack(root / "MNIST" / "raw")
    assert data.load("mnist", root).checksum == data.load("mnist", root / "MNIST" / "raw").checksum == expected
    file = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.with_name(file.name + ".gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte.gz is truncated or another file"):
        data.load("mnist", root)


@pytest.mark.parametrize("layout", ["", "MNIST/raw"])
def test_files_that_were_packed_anew_or_unpacked_under_their_name_are_read(small_mnist, layout):
    root, _, _ = small_mnist
    expected = data.load("mnist", root).checksum
    *others, last = sorted((root / "MNIST" / "raw").iterdir())
    for file in others:
        before = file.read_bytes()
        file.write_bytes(gzip.compress(gzip.decompress(before), compresslevel=1))
        assert file.read_bytes() != before
    last.write_bytes(gzip.decompress(last.read_bytes()))
    assert data.load("mnist", root / layout).checksum == expected


@pytest.mark.parametrize("file", data.FILES)
def test_a_file_of_other_images_that_is_well_packed_is_named(small_mnist, file):
    root, _, _ = small_mnist
    path = root / "MNIST" / "raw" / file
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:-1] + bytes([content[-1] ^ 1])))
    with pytest.raises(InputError, match=f"{file} is truncated or another file"):
        data.load("mnist", root)


def test_an_unpacked_file_with_other_content_is_named(small_mnist):
    root, _, _ = small_mnist
    unpack(root / "MNIST" / "raw")
    file = root / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07\x07")
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte is truncated or another file"):
        data.load("mnist", root)


@pytest.mark.parametrize("layout", ["", "FashionMNIST/raw"])
def test_unpacked_files_without_a_known_checksum_are_not_taken(small_mnist, layout):
    root, _, _ = small_mnist
    unpack(root / "MNIST" / "raw")
    shutil.copytree(root / "MNIST", root / "FashionMNIST")
    with pytest.raises(InputError, match=r"^fashion-mnist is not in .*ubyte.gz \(packed, as no checksum of unpacked"):
        data.load("fashion-mnist", root / layout)


def test_the_data_folder_of_the_environment_is_only_read(small_mnist, monkeypatch):
    root, _, _ = small_mnist
    monkeypatch.setenv("VAELIB_DATA", str(root))
    before = sorted(root.rglob("*"))
    data.load("mnist")
    assert sorted(root.rglob("*")) == before


def test_a_home_folder_is_expanded(small_mnist, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(data.load("mnist", "~/data").train_images) == 30
    monkeypatch.setenv("VAELIB_DATA", "~/data")
    assert len(data.load("mnist").train_images) == 30


def test_the_files_may_lie_in_the_folder_itself(small_mnist):
    root, (train, _), _ = small_mnist
    assert np.array_equal(data.load("mnist", root / "MNIST" / "raw").train_images[:, 0], train)


def test_missing_files_without_network_say_what_to_do(small_mnist, monkeypatch):
    root, _, _ = small_mnist
    (root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    monkeypatch.setenv("VAELIB_DATA", str(root))
    with pytest.raises(InputError) as caught:
        data.load("mnist")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("t10k-labels-idx1-ubyte.gz", str(root), str(data.cache_folder() / "MNIST" / "raw"), "digits"):
        assert part in message


@pytest.mark.parametrize("there", ["", "typo", "typo/MNIST", "typo/MNIST/raw"])
def test_a_failed_download_leaves_nothing_behind(small_mnist, tmp_path, there):
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    for root in (tmp_path / "typo", None):
        with pytest.raises(InputError, match="cannot be downloaded"):
            data.load("mnist", root)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_download_leaves_nothing_behind(small_mnist, tmp_path, monkeypatch):
    def interrupted(self):
        Path(self.raw_folder).mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets.MNIST, "download", interrupted)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        data.load("mnist", tmp_path / "new" / "folder")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_truncated_file_is_named(small_mnist):
    root, _, _ = small_mnist
    file = root / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte.gz is truncated or another file"):
        data.load("mnist", root)


def test_flat_files_of_another_set_are_not_taken(small_mnist):
    root, _, _ = small_mnist
    with pytest.raises(InputError, match=r"fashion-mnist is not in .* and cannot be downloaded"):
        data.load("fashion-mnist", root / "MNIST" / "raw")


def test_missing_files_are_downloaded_and_verified(small_mnist, monkeypatch):
    """From a server on this machine, twice at once, as runs that start side by side do."""
    root, (train, _), _ = small_mnist
    handler = partial(SimpleHTTPRequestHandler, directory=root / "MNIST" / "raw")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        with ThreadPoolExecutor(2) as pool:
            loaded = list(pool.map(data.load, ["mnist", "mnist"]))
        server.shutdown()
    for images in loaded:
        assert np.array_equal(images.train_images[:, 0], train)
    assert {path.name for path in data.cache_folder().iterdir()} == {"MNIST"}
    assert {path.name for path in (data.cache_folder() / "MNIST" / "raw").iterdir()} == set(data.FILES)


def test_another_sets_files_are_refused(small_mnist):
    root, _, _ = small_mnist
    shutil.copytree(root / "MNIST", root / "FashionMNIST")
    with pytest.raises(InputError, match="another file"):
        data.load("fashion-mnist", root)


def test_a_folder_without_permission_is_named(tmp_path):
    """As another user where the tests run as root, whom no permission stops."""
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    tmp_path.chmod(0)
    as_root = os.geteuid() == 0
    try:
        if as_root:
            os.seteuid(65534)
        with pytest.raises(InputError, match=f"no permission to read {tmp_path}.*: allow it, or give another"):
            data.load("mnist", tmp_path)
    finally:
        if as_root:
            os.seteuid(0)
        tmp_path.chmod(0o755)
