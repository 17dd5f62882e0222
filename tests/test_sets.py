import numpy as np
import pytest
import torch
from scipy import stats

from vaelib import data
from vaelib.config import DATASETS, InputError

GREY = np.random.default_rng(0).integers(256, size=(60, 28, 28), dtype=np.uint8)
LABELS = np.repeat(np.arange(3), 20)


def test_known_digits_are_named_digits_and_words_are_kept(digits):
    assert (digits.noun, digits.class_names, digits.shape) == ("digit", tuple("0123456789"), (28, 28))
    words = data.from_arrays(GREY, np.array(["ship", "car", "tram"])[LABELS])
    assert (words.noun, words.class_names, words.shape) == ("class", ("car", "ship", "tram"), (28, 28))


def test_checksum_tells_images_apart(digits):
    changed = digits.test_images.clone()
    changed[0, 0, 0, 0] ^= 1
    given = (digits.train_images, digits.train_labels, changed, digits.test_labels, digits.class_names)
    assert data.load("digits").checksum == digits.checksum != data.ImageData("digits", *given).checksum


def test_checksum_is_the_same_wherever_images_came_from(digits):
    again = data.from_arrays(
        digits.train_images.numpy() / 255, digits.train_labels, digits.test_images[:, 0], digits.test_labels.numpy()
    )
    assert again.checksum == digits.checksum


@pytest.mark.parametrize("dataset", ["mnsit", "/nowhere/images", "nowhere.npz", ""])
def test_a_set_that_is_not_there_is_answered_with_all_that_is_accepted(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        data.load(dataset)
    message = str(caught.value)
    assert "\n" not in message
    for part in (repr(dataset), *DATASETS, "folder", ".npz", "IDX"):
        assert part in message


def test_arrays_given_in_two_splits_come_back_in_their_order(rng):
    train_y, test_y = rng.permutation(LABELS[:45]), rng.permutation(LABELS)[:15]
    made = data.from_arrays(GREY[:45], train_y, GREY[45:], test_y, name="mine")
    assert made.name == "mine"
    for images, labels, x, y in (
        (made.train_images, made.train_labels, GREY[:45], train_y),
        (made.test_images, made.test_labels, GREY[45:], test_y),
    ):
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert np.array_equal(images[:, 0], x)
        assert labels.tolist() == y.tolist()


def test_arrays_tensors_and_floats_make_the_same_set():
    first = data.from_arrays(GREY, LABELS)
    for images, labels in (
        (torch.from_numpy(GREY), torch.from_numpy(LABELS)),
        (GREY[:, None] / 255, LABELS.tolist()),
        (torch.from_numpy(GREY)[:, None].half() / 255, LABELS[:, None].astype(np.uint8)),
    ):
        assert data.from_arrays(images, labels).checksum == first.checksum


def test_a_set_does_not_change_with_the_array_it_came_from():
    images = GREY.copy()
    made = data.from_arrays(images, LABELS, images, LABELS)
    before = made.test_images.clone()
    images[:] = 0
    assert made.test_images.equal(before)


def test_a_tenth_of_each_class_is_set_apart_and_at_least_one_image():
    labels = np.repeat([0, 1, 2, 3], [3, 14, 30, 100])
    images = np.random.default_rng(1).integers(256, size=(147, 8, 8), dtype=np.uint8)
    made = data.from_arrays(images, labels)
    assert made.test_labels.bincount().tolist() == [1, 1, 3, 10]
    assert made.train_labels.bincount().tolist() == [2, 13, 27, 90]
    together = [image.numpy().tobytes() for image in torch.cat([made.train_images, made.test_images])]
    assert sorted(together) == sorted(image.tobytes() for image in images)
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert [known[image.numpy().tobytes()] for image in made.train_images] == made.train_labels.tolist()
    assert made.checksum == data.from_arrays(images, labels).checksum


def test_what_comes_sorted_by_class_is_shuffled():
    images, labels = np.zeros((2000, 8, 8), np.uint8), np.repeat(np.arange(10), 200)
    for made in (data.from_arrays(images, labels), data.from_arrays(images, labels, images, labels)):
        for y in (made.train_labels, made.test_labels):
            assert len(y[: len(y) // 4].unique()) == 10


def test_numbers_are_sorted_by_value_and_words_by_letter():
    for labels in (np.repeat([10, 9, -1], 20), np.repeat(["10", "9", "-1"], 20)):
        made = data.from_arrays(GREY, labels)
        assert made.class_names == ("-1", "9", "10")
        assert made.train_labels.bincount().tolist() == [18, 18, 18]
    words = np.array(["b", "a", "10"], dtype=object)
    assert data.from_arrays(GREY, words[LABELS]).class_names == ("10", "a", "b")


def test_class_names_may_be_given():
    made = data.from_arrays(GREY, LABELS, class_names=("T-shirt", "Trouser", "Bag"))
    assert made.class_names == ("T-shirt", "Trouser", "Bag")
    assert made.checksum == data.from_arrays(GREY, LABELS).checksum


FEW = np.array([0] * 58 + [1] * 2)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((GREY, LABELS * 0), "1 class: accepted are 2 to 47"),
        ((GREY, np.arange(60)), "60 classes: accepted are 2 to 47"),
        ((GREY, FEW), "1 training and 1 test images of the class '1': accepted are at least 2 and 1, or 3"),
        ((GREY, LABELS, GREY[:40], LABELS[:40]), "20 training and 0 test images of the class '2'"),
        ((GREY[:40], LABELS[:40], GREY, LABELS), "0 training and 20 test images of the class '2'"),
        ((GREY, LABELS[:59]), r"labels of the shape \(59,\) for 60 images"),
        ((GREY, np.eye(60, 3, dtype=int)), r"labels of the shape \(60, 3\) for 60 images"),
        ((GREY, LABELS / 1), "labels of float64: accepted are integers and text"),
        ((GREY, np.array([None] * 60)), "labels of object: accepted are integers and text"),
        ((GREY, LABELS, GREY), "test images without labels or the reverse"),
        ((GREY, LABELS, None, LABELS), "test images without labels or the reverse"),
        ((GREY, LABELS, GREY[:, :8, :8], LABELS), "images of the sides 28 and 8: accepted is one side"),
        ((GREY[:, :9, :9], LABELS), r"shape \(60, 1, 9, 9\)"),
    ],
)
def test_arrays_that_make_no_set_are_refused(arguments, expected):
    with pytest.raises(InputError, match=f"^mine has .*{expected}"):
        data.from_arrays(*arguments, name="mine")


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "b"), "abc"])
def test_class_names_that_do_not_fit_are_refused(names):
    with pytest.raises(InputError, match=r"has the class_names .*: accepted are 3 different ones"):
        data.from_arrays(GREY, LABELS, class_names=names)


def test_bytes_and_floats_are_told_apart():
    as_bytes, as_floats = data.as_images(GREY), data.as_images(GREY / 255)
    assert (as_bytes.dtype, as_floats.dtype) == (torch.uint8, torch.float32)
    assert as_bytes.shape == as_floats.shape == (60, 1, 28, 28)
    torch.testing.assert_close(data.as_float(as_bytes), as_floats)
    assert data.as_float(as_floats) is as_floats


@pytest.mark.parametrize("side", [8, 12, 28, 64])
@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", "float64", "longdouble", ">f8"])
def test_every_kind_and_side_is_taken_as_array_and_as_tensor(side, kind, rng):
    array = rng.random((3, side, side)) if kind != "uint8" else rng.integers(256, size=(3, side, side))
    array = array.astype(kind)
    expected = data.as_images(array)
    assert expected.dtype == (torch.uint8 if kind == "uint8" else torch.float32)
    assert np.array_equal(expected[:, 0], array.astype(np.uint8 if kind == "uint8" else np.float32))
    assert data.as_images(array[:, None]).equal(expected)
    if kind in ("uint8", "float16", "float32", "float64"):
        assert data.as_images(torch.from_numpy(array)).equal(expected)
        assert data.as_images(torch.from_numpy(array)[:, None]).equal(expected)


def test_a_whole_set_is_not_copied():
    for x in (torch.from_numpy(GREY.copy()), torch.rand(60, 1, 28, 28)):
        assert data.as_images(x).data_ptr() == x.data_ptr()
        assert data.as_images(x.numpy()).data_ptr() == x.data_ptr()


def test_read_only_and_reversed_arrays_are_taken():
    locked = GREY.copy()
    locked.flags.writeable = False
    assert np.array_equal(data.as_images(locked)[:, 0], GREY)
    assert np.array_equal(data.as_images(GREY[::-1, ::-1])[:, 0], GREY[::-1, ::-1])


@pytest.mark.parametrize("value", [1.0000001, 1 + 9e-6, -1e-7, -9e-6])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rounding_is_clipped(value, kind):
    x = np.full((2, 28, 28), 0.5, kind)
    x[0, 0, 0] = value
    clipped = data.as_images(x)
    assert clipped[0, 0, 0, 0] == round(value)
    assert 0 <= clipped.min() < clipped.max() <= 1
    assert x[0, 0, 0] == kind(value)  # The caller's array stays as it was.


def test_black_and_white_are_no_reason_to_refuse():
    bright = np.full((2, 28, 28), 200, np.uint8)
    for array in (np.zeros((2, 28, 28), np.uint8), bright, np.zeros((2, 28, 28)), np.ones((2, 28, 28))):
        assert len(data.as_images(array)) == 2


WITH_NAN = np.where(np.arange(784).reshape(28, 28) == 3, np.nan, 0.5)[None]
REFUSED = [
    (GREY.astype(np.float32), "floats from 0 to 255"),
    (GREY / 255 - 0.5, "floats from -0.5"),
    (GREY / 255 + 0.00002, r"floats from 2e-05 to 1.00002: accepted are floats from 0 to 1"),
    (GREY / 255 / 255, "divided by 255 twice"),
    (GREY // 255 + 0 * GREY, "uint8 up to 1"),
    (WITH_NAN, "not a number"),
    (np.full((2, 28, 28), np.inf), "not a number, or infinite"),
    (GREY[:, :20], r"shape \(60, 1, 20, 28\)"),
    (GREY[:, :26, :26], r"shape \(60, 1, 26, 26\).*8 to 64 pixels that is a multiple of 4"),
    (GREY[:, :4, :4], r"shape \(60, 1, 4, 4\)"),
    (np.zeros((2, 68, 68), np.uint8), r"shape \(2, 1, 68, 68\)"),
    (np.stack([GREY] * 3, 1), r"shape \(60, 3, 28, 28\)"),
    (np.stack([GREY] * 3, 3), r"shape \(60, 28, 28, 3\)"),
    (GREY[0], r"shape \(28, 28\)"),
    (GREY[:0], "has no images"),
]
KINDS = [(GREY.astype(kind), f"is of {kind}") for kind in ("int8", "int16", "int64", "uint16", "complex64", "bool")]


@pytest.mark.parametrize(("array", "expected"), REFUSED + KINDS)
def test_what_might_be_wrong_is_refused_as_array_and_as_tensor(array, expected):
    for images in (array, torch.from_numpy(array)):
        with pytest.raises(InputError, match=f"^the images .*{expected}"):
            data.as_images(images, "the images")


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_images_that_were_divided_by_255_twice_are_refused_in_every_precision(kind):
    """White is 1 / 255 after that, or just above it where it was rounded up."""
    once = GREY.astype(kind) / kind(255)
    assert once.max() == 1
    with pytest.raises(InputError, match="as if divided by 255 twice"):
        data.as_images(once / kind(255))


@pytest.mark.parametrize("images", ["digits", None, [["a"]], 3])
def test_what_is_no_array_is_refused(images):
    with pytest.raises(InputError, match="accepted are uint8 from 0 to 255"):
        data.as_images(images)


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
    assert (first.class_names, first.noun) == (digits.class_names, "digit")
    assert torch.equal(first.test_images, again.test_images)
    together = torch.cat([first.train_images, first.test_images]).flatten(1)
    assert torch.equal(torch.unique(together, dim=0), torch.unique(digits.train_images.flatten(1), dim=0))
    labels = torch.cat([first.train_labels, first.test_labels])
    assert torch.equal(labels.bincount(), digits.train_labels.bincount())


def test_holding_out_too_many_images_is_refused(digits):
    with pytest.raises(InputError, match=r"held_out 1436: digits has 1,437 training images"):
        data.hold_out(digits, 1436)


def test_a_stratified_choice_has_the_shares_of_the_set_and_is_always_the_same(digits):
    chosen = data.stratified(digits.test_labels, 100)
    shares = digits.test_labels.bincount() / 3.6
    assert (digits.test_labels[chosen].bincount() - shares).abs().max() <= 1
    assert len(chosen.unique()) == 100
    assert chosen.equal(data.stratified(digits.test_labels, 100))
    assert set(data.stratified(digits.test_labels, 50).tolist()) <= set(chosen.tolist())
    assert data.stratified(digits.test_labels, 360).tolist() == list(range(360))


def test_a_rare_class_stays_rare():
    labels = torch.tensor([0] * 900 + [1] * 100)
    assert labels[data.stratified(labels, 200)].bincount().tolist() == [180, 20]


@pytest.mark.parametrize("count", [0, 361])
def test_more_images_than_there_are_are_refused(digits, count):
    with pytest.raises(InputError, match=f"{count} images: accepted is 1 to the 360"):
        data.stratified(digits.test_labels, count)
