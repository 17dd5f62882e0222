import json

import pytest
import torch

from vaelib import InputError, classifier, classifier_training, data


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return classifier_training.train(
        "digits", epochs=12, batch_size=32, runs_root=str(tmp_path_factory.mktemp("judge"))
    )


def test_it_learns_the_digits(judge, digits):
    named = judge.names(digits.test_images)
    assert judge.accuracy == pytest.approx((named == digits.test_labels.numpy()).mean())
    assert judge.accuracy > 0.9


def test_it_is_kept_as_a_run_is(judge):
    assert judge.path.name == "classifier-s0"
    assert {file.name for file in judge.path.iterdir()} == {"config.json", "history.csv", "model.safetensors"}
    again = classifier.Classifier.load(judge.path)
    assert again.sha256 == judge.sha256
    assert again.facts()["accuracy on the test images"] == f"{judge.accuracy:.2%}"


def test_one_that_is_there_is_not_trained_again(judge):
    root = str(judge.path.parents[1])
    before = (judge.path / "model.safetensors").stat().st_mtime_ns
    assert classifier_training.train("digits", epochs=12, batch_size=32, runs_root=root).path == judge.path
    assert (judge.path / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"holds another classifier \(.*'epochs': 12.*--runs-root"):
        classifier_training.train("digits", epochs=13, batch_size=32, runs_root=root)


def test_the_same_seed_gives_the_same_weights(tmp_path):
    made = [
        classifier_training.train("digits", 1, 64, seed, runs_root=str(tmp_path / str(i)))
        for i, seed in enumerate((5, 5, 6))
    ]
    assert made[0].sha256 == made[1].sha256 != made[2].sha256


def test_probabilities_are_those_of_the_network(judge, digits, monkeypatch):
    monkeypatch.setattr(classifier, "BATCH", 7)
    images = digits.test_images[:20]
    with torch.no_grad():
        expected = judge.network(data.as_float(images)).softmax(1)
    torch.testing.assert_close(judge.probabilities(images), expected)
    torch.testing.assert_close(judge.probabilities(data.as_float(images)[:, 0]), expected)
    assert judge.features(images).shape == (20, classifier.FEATURES)
    torch.testing.assert_close(judge.probabilities(images).sum(1), torch.ones(20))


def test_images_are_shifted_whole_and_by_at_most_two_pixels(generator):
    x = torch.zeros(300, 1, 28, 28)
    x[:, 0, 10:13, 5:9] = torch.rand(300, 3, 4, generator=generator)
    moved = classifier_training.shifted(x, generator)
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


def test_what_is_shifted_out_does_not_come_back_in(generator):
    moved = classifier_training.shifted(torch.ones(200, 1, 28, 28), generator)
    sums = {int(image.sum()) for image in moved}
    assert sums == {(28 - down) * (28 - right) for down in range(3) for right in range(3)}


def test_a_folder_without_one_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no trained classifier: vaelib classifier makes one"):
        classifier.Classifier.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", "{"), ("config.json", "{}"), ("config.json", "[]"), ("model.safetensors", "no tensors")],
)
def test_a_damaged_one_is_refused(judge, tmp_path, file, content):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((judge.path / name).read_bytes())
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match="holds no classifier that can be read"):
        classifier.Classifier.load(tmp_path)


def test_it_judges_only_the_set_that_it_learnt(judge, digits):
    assert classifier.find("", str(judge.path.parents[1]), digits).path == judge.path
    other = data.hold_out(digits, 10)
    with pytest.raises(InputError, match="learnt digits: wanted is one that learnt this digits"):
        classifier.find(str(judge.path), "", other)


def test_a_batch_larger_than_the_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="batch_size 2000: digits has 1,437 training images"):
        classifier_training.train("digits", batch_size=2000, runs_root=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_its_record_says_where_it_came_from(judge, digits):
    content = json.loads((judge.path / "config.json").read_text())
    assert content["classifier"] == {"dataset": "digits", "epochs": 12, "batch_size": 32, "seed": 0}
    assert content["provenance"]["data_sha256"] == digits.checksum
    assert content["provenance"]["torch"] == torch.__version__
