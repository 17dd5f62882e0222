import numpy as np
import pytest
import torch
from PIL import Image

from vaelib import InputError, data, images, latent

GREY = np.random.default_rng(0).integers(256, size=(7, 28, 28), dtype=np.uint8)


def saved(path, array):
    np.save(path, array)
    return str(path)


def test_bytes_and_floats_are_told_apart(tmp_path):
    as_bytes = images.read(saved(tmp_path / "a.npy", GREY))
    as_floats = images.read(saved(tmp_path / "b.npy", GREY / 255))
    assert (as_bytes.dtype, as_floats.dtype) == (torch.uint8, torch.float32)
    assert as_bytes.shape == as_floats.shape == (7, 1, 28, 28)
    torch.testing.assert_close(data.as_float(as_bytes), as_floats)


def test_one_array_of_an_npz_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", samples=GREY[:, None])
    assert images.read(str(tmp_path / "a.npz")).numpy()[:, 0].tolist() == GREY.tolist()


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    for index, picture in enumerate(GREY):
        Image.fromarray(picture).save(tmp_path / f"{6 - index}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    assert images.read(str(tmp_path)).numpy()[::-1, 0].tolist() == GREY.tolist()


def test_black_and_white_are_no_reason_to_refuse(tmp_path):
    bright = np.full((2, 28, 28), 200, np.uint8)
    for array in (np.zeros((2, 28, 28), np.uint8), bright, np.zeros((2, 28, 28)), np.ones((2, 28, 28))):
        assert len(images.read(saved(tmp_path / "a.npy", array))) == 2


def test_a_run_is_drawn_from(finished_run):
    drawn = images.read(str(finished_run.path), count=9, seed=3)
    expected = latent.sample_prior(finished_run.model(), finished_run.config.latent_dim, 9, 3)
    torch.testing.assert_close(drawn[:, 0], expected)


def test_a_split_is_read(digits):
    assert images.read("digits:test").equal(digits.test_images)
    assert images.read("digits:train").equal(digits.train_images)


WITH_NAN = np.where(np.arange(784).reshape(28, 28) == 3, np.nan, 0.5)[None]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY.astype(np.float32), "floats from 0 to 255"),
        (GREY / 255 - 0.5, "floats from -0.5"),
        (GREY / 255 / 255, "divided by 255 twice"),
        (GREY // 255 + 0 * GREY, "uint8 up to 1"),
        (GREY.astype(np.int64), "is of int64"),
        (WITH_NAN, "not a number"),
        (np.full((2, 28, 28), np.inf), "not a number, or infinite"),
        (GREY[:, :20], r"shape \(7, 1, 20, 28\)"),
        (np.stack([GREY] * 3, 1), r"shape \(7, 3, 28, 28\)"),
        (np.stack([GREY] * 3, 3), r"shape \(7, 28, 28, 3\)"),
        (GREY[0], r"shape \(28, 28\)"),
        (GREY[:0], "has no images"),
    ],
)
def test_what_might_be_wrong_is_refused(array, expected, tmp_path):
    with pytest.raises(InputError, match=expected):
        images.read(saved(tmp_path / "a.npy", array))


def test_pictures_of_another_kind_are_refused(tmp_path):
    for name, picture, expected in (
        ("rgb", Image.new("RGB", (28, 28)), "28x28 in mode RGB"),
        ("large", Image.new("L", (32, 28)), "32x28 in mode L"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        picture.save(folder / "a.png")
        with pytest.raises(InputError, match=expected):
            images.read(str(folder))


def test_a_broken_picture_or_array_is_named(tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a.png is no picture that can be read"):
        images.read(str(folder))
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"a.npy holds no array that can be read"):
        images.read(str(tmp_path / "a.npy"))
    np.savez(tmp_path / "two.npz", a=GREY, b=GREY)
    with pytest.raises(InputError, match=rf"^{tmp_path}/two.npz holds a, b: accepted is one array"):
        images.read(str(tmp_path / "two.npz"))
    np.savez_compressed(tmp_path / "torn.npz", a=GREY)
    content = bytearray((tmp_path / "torn.npz").read_bytes())
    content[1000:1100] = bytes(100)
    (tmp_path / "torn.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"torn.npz holds no array that can be read"):
        images.read(str(tmp_path / "torn.npz"))


def test_some_are_drawn_at_random(tmp_path, digits):
    some = images.read("digits:test", count=50, seed=1)
    known = [image.numpy().tobytes() for image in digits.test_images]
    places = [known.index(image.numpy().tobytes()) for image in some]
    assert len(some) == 50
    assert places != sorted(places)
    assert some.equal(images.read("digits:test", count=50, seed=1))
    with pytest.raises(InputError, match="count 361: digits:test has 360 images"):
        images.read("digits:test", count=361)


@pytest.mark.parametrize("source", ["nowhere", "nowhere.npy", "mnist:valid"])
def test_a_source_that_is_not_there_is_answered_with_what_is_accepted(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"accepted is an .npy or .npz file, a folder"):
        images.read(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty has no png or jpg"):
        images.read("empty")
