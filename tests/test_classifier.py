import hashlib
import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import write_npz

from vaelib import data
from vaelib.config import InputError
from vaelib.provenance import code_sha256
from vaelib.training import Classifier, classifier, find_classifier, is_classifier, train_classifier


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier of the digits."""
    return train_classifier("digits", epochs=2, batch_size=32, runs_root=str(tmp_path_factory.mktemp("digits")))


@pytest.fixture(scope="module")
def own(clothes, tmp_path_factory):
    """A classifier of images of 12x12."""
    return train_classifier(clothes, epochs=4, batch_size=9, runs_root=str(tmp_path_factory.mktemp("own")))


@pytest.fixture
def copy(own, tmp_path):
    """A copy of the classifier that a test may spoil."""
    path = tmp_path / "runs" / "clothes" / "classifier-s0"
    shutil.copytree(own.path, path)
    return Classifier.load(path)


def test_it_learns_the_digits(trained, digits):
    named = trained.names(digits.test_images)
    assert trained.accuracy == pytest.approx((named == digits.test_labels.numpy()).mean())
    assert trained.accuracy > 0.9


def test_it_learns_own_images(own, clothes):
    assert own.path.parts[-2:] == ("clothes", "classifier-s0")
    assert own.accuracy == (own.names(clothes.test_images) == clothes.test_labels.numpy()).mean() == 1
    assert own.probabilities(clothes.test_images).shape == (9, 3)
    assert own.provenance["classes"] == 3
    assert own.provenance["shape"] == [12, 12]


def test_it_is_kept_as_a_run_is(trained):
    assert trained.path.name == "classifier-s0"
    assert {file.name for file in trained.path.iterdir()} == {"config.json", "history.csv", "model.safetensors"}
    again = Classifier.load(trained.path)
    assert again.sha256 == trained.sha256
    assert again.sha256 == hashlib.sha256((trained.path / "model.safetensors").read_bytes()).hexdigest()
    assert again.facts() == {
        "accuracy on the test images": f"{trained.accuracy:.2%}",
        "sha256 of its weights": trained.sha256,
    }


def test_a_classifier_and_a_run_are_told_apart(own, finished_run, tmp_path):
    assert is_classifier(own.path)
    assert not is_classifier(finished_run.path)
    assert not is_classifier(tmp_path)
    with pytest.raises(InputError, match="holds no classifier that can be read"):
        Classifier.load(finished_run.path)


def test_one_that_is_there_is_not_trained_again(own, clothes, tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "_learn", lambda *_: pytest.fail("trained again"))
    root = str(own.path.parents[1])
    settings = dict(epochs=4, batch_size=9, runs_root=root)
    path = write_npz(tmp_path / "clothes.npz", clothes)
    for dataset in (clothes, str(path)):
        for renew in (False, True):
            again = train_classifier(dataset, **settings, renew=renew)
            assert (again.path, again.sha256) == (own.path, own.sha256)
    with pytest.raises(InputError, match=r"holds another classifier \(.*'epochs': 4.*--runs-root"):
        train_classifier(clothes, **(settings | {"epochs": 5}))
    with pytest.raises(InputError, match="holds another classifier"):
        train_classifier(data.hold_out(clothes, 20), **settings)


def outdate(found):
    """Makes it one of other code, and its weights twice what they were."""
    content = json.loads((found.path / "config.json").read_text())
    content["provenance"]["code_sha256"] = "other"
    (found.path / "config.json").write_text(json.dumps(content))
    state = {name: 2 * tensor.contiguous() for name, tensor in found.network.state_dict().items()}
    (found.path / "model.safetensors").write_bytes(safetensors.torch.save(state))
    return hashlib.sha256((found.path / "model.safetensors").read_bytes()).hexdigest()


def test_one_of_other_code_stays_until_its_successor_is_whole(copy, own, clothes, monkeypatch):
    held, settings = outdate(copy), dict(epochs=4, batch_size=9, runs_root=str(copy.path.parents[1]))
    assert train_classifier(clothes, **settings).sha256 == held != own.sha256

    def stopped(*_):
        assert Classifier.load(copy.path).sha256 == held
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(classifier, "_learn", stopped)
        with pytest.raises(KeyboardInterrupt):
            train_classifier(clothes, **settings, renew=True)
    assert Classifier.load(copy.path).sha256 == held
    again = train_classifier(clothes, **settings, renew=True)
    assert (again.path, again.sha256) == (copy.path, own.sha256)
    assert again.provenance["code_sha256"] == code_sha256("vaelib.training.classifier")
    assert [path.name for path in copy.path.parent.iterdir()] == ["classifier-s0"]


def test_a_kill_between_the_two_renames_is_mended(copy, own, clothes, monkeypatch):
    outdate(copy)
    settings = dict(epochs=4, batch_size=9, runs_root=str(copy.path.parents[1]))
    rename, done = type(copy.path).rename, []

    def killed(self, target):
        if done:
            raise KeyboardInterrupt
        done.append(target)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(copy.path), "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            train_classifier(clothes, **settings, renew=True)
    assert not copy.path.exists()
    monkeypatch.setattr(classifier, "_learn", lambda *_: pytest.fail("trained again"))
    assert train_classifier(clothes, **settings).sha256 == own.sha256
    assert [path.name for path in copy.path.parent.iterdir()] == ["classifier-s0"]


def test_one_of_other_settings_or_images_is_renewed_where_that_is_asked_for(copy, clothes):
    root = str(copy.path.parents[1])
    again = train_classifier(clothes, 1, 9, runs_root=root, renew=True)
    assert (again.path, again.settings["epochs"]) == (copy.path, 1)
    other = data.hold_out(clothes, 20)
    again = train_classifier(other, 1, 9, runs_root=root, renew=True)
    assert again.provenance["data_sha256"] == other.checksum


def test_the_same_seed_gives_the_same_weights(clothes, tmp_path):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    made = [train_classifier(clothes, 1, 9, seed, runs_root=str(tmp_path / str(i))) for i, seed in enumerate((5, 5, 6))]
    assert made[0].sha256 == made[1].sha256 != made[2].sha256
    assert [found.path.name for found in made] == ["classifier-s5", "classifier-s5", "classifier-s6"]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_probabilities_are_those_of_the_network(own, clothes, monkeypatch):
    monkeypatch.setattr(classifier, "BATCH", 4)
    images = clothes.test_images
    with torch.no_grad():
        expected = own.network(images.float() / 255).softmax(1)
    torch.testing.assert_close(own.probabilities(images), expected)
    torch.testing.assert_close(own.probabilities(images).sum(1), torch.ones(9))
    assert own.features(images).shape == (9, classifier.FEATURES)
    torch.testing.assert_close(own.named(own.features(images)), expected)
    assert own.names(images).tolist() == expected.argmax(1).tolist()


def test_images_are_taken_in_every_form_alike(own, clothes):
    images = clothes.test_images
    expected = own.features(images)
    grey = images[:, 0].numpy() / 255
    for form in (images.numpy(), images[:, 0], grey, grey.astype(np.float32)[:, None], torch.from_numpy(grey)):
        torch.testing.assert_close(own.features(form), expected, rtol=1e-4, atol=1e-5)
        assert own.names(form).tolist() == own.names(images).tolist()


def test_images_of_another_size_are_refused_in_one_line(own, trained, digits, clothes):
    for found, images, sizes in ((own, digits, "28x28 .* 12x12"), (trained, clothes, "12x12 .* 28x28")):
        for function in (found.features, found.probabilities, found.names):
            with pytest.raises(InputError, match=f"images of {sizes}") as caught:
                function(images.test_images[:2])
            assert "\n" not in str(caught.value)


def test_features_can_be_learnt_from(own, clothes):
    features = own.features(clothes.test_images)
    weight = torch.zeros(classifier.FEATURES, requires_grad=True)
    (features @ weight).sum().backward()
    torch.testing.assert_close(weight.grad, features.sum(0))


def test_images_are_shifted_whole_and_by_at_most_two_pixels(generator):
    x = torch.zeros(300, 1, 28, 28)
    x[:, 0, 10:13, 5:9] = torch.rand(300, 3, 4, generator=generator)
    moved = classifier.shifted(x, generator)
    seen = set()
    for before, after in zip(x[:, 0], moved[:, 0], strict=True):
        match = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(before.roll((down, right), (0, 1)), after)
        ]
        assert len(match) == 1
        seen.add(match[0])
    assert len(seen) == 25


@pytest.mark.parametrize("side", [8, 28])
def test_what_is_shifted_out_does_not_come_back_in(side, generator):
    moved = classifier.shifted(torch.ones(200, 1, side, side), generator)
    assert moved.shape == (200, 1, side, side)
    sums = {int(image.sum()) for image in moved}
    assert sums == {(side - down) * (side - right) for down in range(3) for right in range(3)}


def test_a_folder_without_one_is_refused_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path}/here holds no trained classifier: vaelib classifier makes one"):
        Classifier.load("here")


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", "{"), ("config.json", "{}"), ("config.json", "[]"), ("model.safetensors", "no tensors")],
)
def test_a_damaged_one_is_refused(copy, file, content):
    (copy.path / file).write_text(content)
    with pytest.raises(InputError, match="holds no classifier that can be read") as caught:
        Classifier.load(copy.path)
    assert "\n" not in str(caught.value)


def test_one_that_does_not_say_the_size_of_its_images_learnt_28x28(trained, tmp_path):
    shutil.copytree(trained.path, tmp_path / "older")
    content = json.loads((trained.path / "config.json").read_text())
    del content["provenance"]["shape"], content["provenance"]["code_sha256"]
    (tmp_path / "older" / "config.json").write_text(json.dumps(content))
    assert Classifier.load(tmp_path / "older").sha256 == trained.sha256


def test_it_is_found_by_its_path_or_beside_the_runs(own, clothes, monkeypatch):
    root = own.path.parents[1]
    assert find_classifier("", str(root), clothes).path == own.path
    assert find_classifier(str(own.path), "nowhere", clothes).path == own.path
    monkeypatch.setenv("HOME", str(root))
    assert find_classifier("~/clothes/classifier-s0", "nowhere", clothes).path == own.path
    assert find_classifier("", "~", clothes).path == own.path


def test_it_is_used_on_the_set_that_it_learnt_only(own, clothes):
    with pytest.raises(InputError, match=r"learnt \./clothes: wanted is one that learnt this clothes"):
        find_classifier(str(own.path), "", data.hold_out(clothes, 10))


def test_where_there_is_none_the_whole_path_and_the_command_are_said(clothes, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for images, dataset in ((digits, "digits"), (clothes, "PATH")):
        with pytest.raises(InputError) as caught:
            find_classifier("", "runs", images)
        assert str(caught.value) == (
            f"no trained classifier in {tmp_path}/runs/{images.name}/classifier-s0: "
            f"vaelib classifier --dataset {dataset} --runs-root {tmp_path}/runs makes it"
        )


def test_a_set_of_a_name_with_a_space_has_a_classifier_too(clothes, tmp_path):
    images = data.from_arrays(clothes.train_images, clothes.train_labels, name="my clothes.v2")
    made = train_classifier(images, 1, 9, runs_root=str(tmp_path))
    assert find_classifier("", str(tmp_path), images).path == made.path == tmp_path / "my-clothes.v2" / "classifier-s0"


def test_a_batch_larger_than_the_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="batch_size 2000: digits has 1,437 training images"):
        train_classifier("digits", batch_size=2000, runs_root=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_its_record_says_where_it_came_from(trained, digits):
    content = json.loads((trained.path / "config.json").read_text())
    assert content["classifier"] == {"dataset": "digits", "epochs": 2, "batch_size": 32, "seed": 0}
    assert content["provenance"]["data_sha256"] == digits.checksum
    assert content["provenance"]["torch"] == torch.__version__
    assert content["provenance"]["code_sha256"] == code_sha256("vaelib.training.classifier")


@pytest.mark.parametrize("renew", [False, True])
def test_a_folder_of_other_things_in_its_place_is_left_alone(renew, clothes, tmp_path):
    theirs = tmp_path / "runs" / "clothes" / "classifier-s0"
    theirs.mkdir(parents=True)
    (theirs / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="classifier-s0 is no classifier: give another --runs-root"):
        train_classifier(clothes, 1, 16, runs_root=str(tmp_path / "runs"), renew=renew)
    assert (theirs / "thesis.tex").read_text() == "years of work"
