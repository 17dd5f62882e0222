import hashlib
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
import torchvision

from vaelib import InputError, data
from vaelib.evaluation import Inception
from vaelib.evaluation.inception import INCEPTION_SHA256


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of untrained weights with the names and shapes of Inception's, and its checksum."""
    torch.manual_seed(0)
    network = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    file = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), file)
    return file, hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def inception(weights):
    return Inception.load(*weights)


def test_inception_has_2048_features_of_every_image(inception, digits):
    images = digits.test_images[:2]
    found = inception.features(images)
    assert found.shape == (2, 2048)
    assert found.isfinite().all()
    assert (found.std(0) > 0).any()
    torch.testing.assert_close(inception.features(data.as_float(images)), found)
    torch.testing.assert_close(inception.features(data.as_float(images)[:, 0]), found)
    torch.testing.assert_close(inception.features(images[:, 0].numpy()), found)


def test_inception_is_given_three_channels_from_0_to_1(inception, digits):
    """pytorch-fid resizes to 299 and scales to -1..1 itself. Done by hand, the blocks say the same."""
    x = data.as_float(digits.test_images[:2]).expand(-1, 3, -1, -1)
    by_hand = 2 * F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) - 1
    with torch.inference_mode():
        for block in inception.network.blocks:
            by_hand = block(by_hand)
    torch.testing.assert_close(inception.features(digits.test_images[:2]), by_hand.flatten(1))


def test_inception_says_which_weights_it_has(inception, weights):
    assert inception.sha256 == weights[1] == inception.facts()["sha256 of its weights"]


def test_other_weights_are_refused(weights):
    with pytest.raises(InputError, match=f"has sha256 {weights[1]}, wanted {INCEPTION_SHA256}"):
        Inception.load(weights[0])


def test_weights_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"gone.pth is no file: accepted are the weights that lie at https://github"):
        Inception.load(tmp_path / "gone.pth")


def test_without_a_network_it_says_how_to_get_the_weights(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    with pytest.raises(InputError, match=r"no route to host.*--inception-weights") as caught:
        Inception.load()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.pth"))


def test_weights_in_torchs_cache_are_found(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(weights[0].read_bytes())
    assert Inception.load(sha256=weights[1]).sha256 == weights[1]


def test_inception_takes_images_of_any_size(inception, generator):
    for side in (8, 64):
        assert inception.features(torch.rand(1, side, side, generator=generator)).shape == (1, 2048)
