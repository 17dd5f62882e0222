import hashlib
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
import torchvision

from vaelib import InputError, classifier, data, features


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
    return features.Inception.load(*weights)


def test_inception_has_2048_features_of_every_image(inception, digits):
    images = digits.test_images[:3]
    found = inception.features(images)
    assert found.shape == (3, 2048)
    assert found.isfinite().all()
    assert (found.std(0) > 0).any()
    torch.testing.assert_close(inception.features(data.as_float(images)), found)
    torch.testing.assert_close(inception.features(data.as_float(images)[:, 0]), found)


def test_inception_is_given_three_channels_from_0_to_1(inception, digits):
    """pytorch-fid resizes to 299 and scales to -1..1 itself: done by hand, the blocks say the same."""
    x = data.as_float(digits.test_images[:2]).expand(-1, 3, -1, -1)
    by_hand = 2 * F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) - 1
    with torch.inference_mode():
        for block in inception.network.blocks:
            by_hand = block(by_hand)
    torch.testing.assert_close(inception.features(digits.test_images[:2]), by_hand.flatten(1))


def test_inception_says_which_weights_it_has(inception, weights):
    assert inception.sha256 == weights[1] == inception.facts()["sha256 of its weights"]


def test_other_weights_are_refused(weights):
    with pytest.raises(InputError, match=f"has sha256 {weights[1]}, wanted {features.INCEPTION_SHA256}"):
        features.Inception.load(weights[0])


def test_weights_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"gone.pth is no file: accepted are the weights that lie at https://github"):
        features.Inception.load(tmp_path / "gone.pth")


def test_without_a_network_it_says_how_to_get_the_weights(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    with pytest.raises(InputError, match=r"no route to host.*--inception-weights") as caught:
        features.Inception.load()
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.pth"))


def test_weights_in_torchs_cache_are_found(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(weights[0].read_bytes())
    assert features.Inception.load(sha256=weights[1]).sha256 == weights[1]


def test_features_of_a_set_are_computed_once(tmp_path, monkeypatch, digits):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    network = classifier.Network(10).eval()
    judge = classifier.Classifier(tmp_path, {}, network, {})
    calls = []

    class Counted:
        sha256 = "one"

        def features(self, images):
            calls.append(len(images))
            return judge.features(images)

    counted, images = Counted(), digits.test_images[:20]
    expected = judge.features(images)
    for _ in range(2):
        torch.testing.assert_close(features.remembered(counted, images), expected)
    assert calls == [20]
    assert not features.remembered(counted, images[:19]).equal(expected)
    counted.sha256 = "other"
    features.remembered(counted, images)
    assert calls == [20, 19, 20]
