import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from vaelib import InputError
from vaelib.data import as_float
from vaelib.data.sets import corrupt
from vaelib.evaluation import noise
from vaelib.models import log_likelihood


@pytest.fixture(scope="module")
def model(finished_run):
    return finished_run.model()


@pytest.fixture(scope="module")
def noisy(digits):
    return corrupt(as_float(digits.test_images), "salt-pepper:0.1", torch.Generator().manual_seed(0))


class Threshold:
    """Stands for a classifier: the class is how many tenths of the picture are brighter than a half."""

    def names(self, images):
        return (10 * (np.asarray(images) > 0.5).mean((1, 2, 3)).clip(0, 0.99)).astype(int)


def test_levels_are_in_the_words_of_settings_and_clean_images_come_first():
    asked = ("salt-pepper:.10", "gaussian:1", "salt-pepper:0.1", "")
    assert noise.levels(asked) == ["none", "salt-pepper:0.1", "gaussian:1.0"]
    assert noise.levels([""]) == ["none"]
    assert noise.levels([]) == []


@pytest.mark.parametrize("wrong", ["pepper", "salt-pepper:0", "gaussian:2", "gaussian"])
def test_what_is_no_noise_is_refused(wrong):
    with pytest.raises(InputError, match=f"noise '{wrong}': accepted are salt-pepper:P and gaussian:SD"):
        noise.levels(["gaussian:0.1", wrong])


def test_the_error_is_that_of_the_picture_against_the_clean_image(model, digits, noisy):
    found = noise.of_noise(model, digits, "salt-pepper:0.1")
    clean = digits.test_images.numpy()[:, 0] / 255
    each = ((model.reconstruct(noisy).numpy() - clean) ** 2).mean((1, 2))
    assert found["error"]["value"] == pytest.approx(each.mean(), rel=1e-5)
    assert found["error"]["error"] == pytest.approx(each.std(ddof=1) / 360**0.5, rel=1e-4)
    assert (found["error"]["n"], found["error"]["over"]) == (360, "images")


def test_the_noise_has_the_error_that_its_share_of_pixels_gives(model, digits):
    """A corrupted pixel x is black or white, each half the time."""
    x = as_float(digits.test_images).double()
    expected = 0.25 * (0.5 * x.square() + 0.5 * (1 - x).square()).mean().item()
    found = noise.of_noise(model, digits, "salt-pepper:0.25")
    assert found["noisy_error"]["value"] == pytest.approx(expected, rel=0.02)
    assert found["median_error"]["value"] < found["noisy_error"]["value"]


def test_clean_images_are_not_corrupted(model, digits):
    found = noise.of_noise(model, digits, "none")
    assert found["noisy_error"] == {"value": 0.0, "error": 0.0, "n": 360, "over": "images"}
    clean = as_float(digits.test_images)[:, 0]
    expected = (model.reconstruct(digits.test_images) - clean).square().mean().item()
    assert found["error"]["value"] == pytest.approx(expected, rel=1e-5)


def test_every_call_corrupts_alike(model, digits):
    one, again = (noise.of_noise(model, digits, "gaussian:0.3") for _ in range(2))
    assert one == again
    assert one != noise.of_noise(model, digits, "gaussian:0.31")


def test_the_cost_is_that_of_the_clean_image_under_the_restored_one(model, digits, noisy):
    clean, restored = as_float(digits.test_images)[:, 0].double(), model.reconstruct(noisy).double()
    cost = torch.nn.functional.binary_cross_entropy(restored, clean, reduction="none").sum((1, 2)).mean()
    found = noise.of_noise(model, digits, "salt-pepper:0.1")["cost_nats"]
    assert found["value"] == pytest.approx(cost.item(), rel=1e-4)
    perfect = -log_likelihood(as_float(digits.test_images).clamp(1e-6, 1 - 1e-6).logit(), as_float(digits.test_images))
    assert found["value"] > perfect.mean()


def test_the_median_is_of_nine_pixels_and_mirrored_at_the_edge(noisy):
    image = noisy[:3]
    padded = np.pad(image[:, 0].numpy(), [(0, 0), (1, 1), (1, 1)], mode="symmetric")
    expected = np.median(sliding_window_view(padded, (3, 3), axis=(1, 2)), axis=(3, 4))
    np.testing.assert_array_equal(noise.median(image)[:, 0], expected)


def test_accuracies_are_shares_of_true_labels(model, digits, noisy):
    found = noise.of_noise(model, digits, "salt-pepper:0.1", Threshold())
    labels, names = digits.test_labels.numpy(), Threshold().names
    for name, pictures in {
        "": model.reconstruct(noisy)[:, None],
        "noisy_": noisy,
        "median_": noise.median(noisy),
    }.items():
        assert found[f"{name}accuracy"]["value"] == pytest.approx((names(pictures) == labels).mean()), name
    assert "accuracy" not in noise.of_noise(model, digits, "salt-pepper:0.1")
