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

from vaelib import InputError, data


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """Files in MNIST's format with sums of their own, and no network but a closed port."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (n, 28, 28), np.uint8) for n in (30, 20)]
    labels = [rng.integers(0, 10, n).astype(np.uint8) for n in (30, 20)]
    root = tmp_path / "data"
    folder = root / "MNIST" / "raw"
    write_idx(folder, arrays[0], labels[0], arrays[1], labels[1])
    sums = [(f.name, hashlib.md5(f.read_bytes()).hexdigest()) for f in sorted(folder.iterdir())]
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    for source in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(source, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VAELIB_DATA", raising=False)
    return root, arrays, labels


def test_digits_are_split_evenly_by_class(digits):
    assert digits.train_images.shape == (1437, 1, 28, 28)
    assert digits.test_images.shape == (360, 1, 28, 28)
    assert digits.train_images.dtype == torch.uint8
    assert digits.test_labels.dtype == torch.int64
    assert digits.test_labels.bincount().min() >= 35


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


def test_checksum_tells_images_apart(digits):
    changed = digits.test_images.clone()
    changed[0, 0, 0, 0] ^= 1
    other = data.ImageData("digits", digits.train_images, digits.train_labels, changed, digits.test_labels)
    assert data.load("digits").checksum == digits.checksum != other.checksum


def test_files_in_mnists_format_are_read_as_written(small_mnist):
    root, (train, test), (train_y, test_y) = small_mnist
    loaded = data.load("mnist", root)
    assert np.array_equal(loaded.train_images[:, 0], train)
    assert np.array_equal(loaded.test_images[:, 0], test)
    assert loaded.train_labels.tolist() == train_y.tolist()
    assert loaded.test_labels.tolist() == test_y.tolist()


@pytest.mark.skipif("VAELIB_DATA" not in os.environ, reason="$VAELIB_DATA names no folder with MNIST")
def test_mnist_equals_torchvisions_own_reading(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in data.FILES:
        shutil.copyfile(next(Path(os.environ["VAELIB_DATA"]).rglob(file)), raw / file)
    loaded = data.load("mnist")
    for split, images, labels in (
        (True, loaded.train_images, loaded.train_labels),
        (False, loaded.test_images, loaded.test_labels),
    ):
        reference = datasets.MNIST(tmp_path, train=split, download=True)
        assert torch.equal(images[:, 0], reference.data)
        assert torch.equal(labels, reference.targets)


def test_the_data_folder_of_the_environment_is_only_read(small_mnist, monkeypatch):
    root, _, _ = small_mnist
    monkeypatch.setenv("VAELIB_DATA", str(root))
    before = sorted(root.rglob("*"))
    data.load("mnist")
    assert sorted(root.rglob("*")) == before


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


def test_missing_files_are_downloaded_and_verified(small_mnist, monkeypatch, tmp_path):
    """From a server on this machine, twice at once, as cells that start side by side do."""
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


def test_an_unknown_set_is_refused():
    with pytest.raises(InputError, match=r"'cifar'.*mnist, fashion-mnist, kmnist, digits"):
        data.load("cifar")


def test_figures_show_the_first_image_of_each_class():
    assert data.one_per_class(torch.tensor([1, 1, 0, 2, 0, 2])).tolist() == [2, 0, 3]


def test_salt_and_pepper_hits_its_share_evenly(generator):
    x = torch.full((50, 1, 28, 28), 0.5)
    noisy = data.corrupt(x, "salt-pepper:0.2", generator)
    salt, pepper = int((noisy == 1).sum()), int((noisy == 0).sum())
    assert set(noisy.unique().tolist()) == {0, 0.5, 1}
    assert stats.binomtest(salt + pepper, x.numel(), 0.2).pvalue > 0.001
    assert stats.binomtest(salt, salt + pepper, 0.5).pvalue > 0.001


def test_gaussian_noise_has_its_deviation_and_stays_in_range(generator):
    noisy = data.corrupt(torch.full((50, 1, 28, 28), 0.5), "gaussian:0.1", generator)
    assert noisy.std().item() == pytest.approx(0.1, rel=0.02)
    clipped = data.corrupt(torch.zeros(10, 1, 28, 28), "gaussian:1", generator)
    assert 0 == clipped.min() < clipped.max() <= 1


def test_corruption_is_drawn_afresh_and_leaves_its_input(generator):
    x = torch.rand(4, 1, 28, 28)
    kept = x.clone()
    assert not torch.equal(data.corrupt(x, "salt-pepper:0.1", generator), data.corrupt(x, "salt-pepper:0.1", generator))
    assert torch.equal(x, kept)


def test_held_out_images_are_training_images_and_always_the_same(digits):
    first, again = data.hold_out(digits, 100), data.hold_out(digits, 100)
    assert (len(first.train_images), len(first.test_images)) == (len(digits.train_images) - 100, 100)
    assert torch.equal(first.test_images, again.test_images)
    together = torch.cat([first.train_images, first.test_images]).flatten(1)
    assert torch.equal(torch.unique(together, dim=0), torch.unique(digits.train_images.flatten(1), dim=0))
    labels = torch.cat([first.train_labels, first.test_labels])
    assert torch.equal(labels.bincount(), digits.train_labels.bincount())


def test_holding_out_too_many_images_is_refused(digits):
    with pytest.raises(InputError, match=r"held_out 1436: digits has 1,437 training images"):
        data.hold_out(digits, 1436)
