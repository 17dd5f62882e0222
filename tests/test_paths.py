import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from vaelib import InputError, data, models
from vaelib.config import TrainingConfig
from vaelib.latent import paths
from vaelib.training import Classifier
from vaelib.training.classifier import Network


def untrained(path, classes=10, shape=(28, 28)):
    """A classifier with weights as they come: its answers are arbitrary, but its own."""
    torch.manual_seed(0)
    return Classifier(path, {}, Network(classes, shape).eval(), {})


@pytest.fixture
def classifier(tmp_path):
    return untrained(tmp_path)


def test_a_straight_path_is_numpys_linspace(generator):
    start, end = torch.randn(2, 6, 4, generator=generator)
    np.testing.assert_allclose(
        paths.lerp(start, end, 7), np.linspace(start.numpy(), end.numpy(), 7, axis=1), rtol=1e-5, atol=1e-6
    )


def test_an_arc_turns_at_an_even_rate(generator):
    """Slerp by its definition: in the plane of the ends, of unit length, equal angles from step to step."""
    ends = torch.nn.functional.normalize(torch.randn(2, 20, 5, generator=generator, dtype=torch.float64), dim=-1)
    arc = paths.slerp(*ends, 9)
    torch.testing.assert_close(arc[:, 0], ends[0])
    torch.testing.assert_close(arc[:, -1], ends[1])
    torch.testing.assert_close(arc.norm(dim=2), torch.ones(20, 9).double())
    angle = torch.linalg.vecdot(ends[0], ends[1]).acos()
    steps = torch.linalg.vecdot(arc[:, :-1], arc[:, 1:]).acos()
    torch.testing.assert_close(steps, (angle / 8)[:, None].expand(-1, 8), rtol=1e-6, atol=1e-6)


def test_an_arc_of_a_quarter_circle():
    arc = paths.slerp(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 3)
    torch.testing.assert_close(arc[0, 1], torch.tensor([2.0, 1.0]) * 0.5**0.5)


@pytest.mark.parametrize("end", [[2.0, 4.0], [-1.0, -2.0], [0.0, 0.0], [1.0, 2.0]])
def test_an_arc_between_codes_on_one_line_is_straight(end):
    start, end = torch.tensor([[1.0, 2.0]]), torch.tensor([end])
    torch.testing.assert_close(paths.slerp(start, end, 5), paths.lerp(start, end, 5))


def test_a_square_has_its_corners_and_their_mean_in_the_middle(generator):
    corners = torch.randn(2, 2, 3, generator=generator)
    square = paths.between_four(corners, 5)
    assert square.shape == (5, 5, 3)
    torch.testing.assert_close(square[[0, 0, 4, 4], [0, 4, 0, 4]], corners.reshape(4, 3))
    torch.testing.assert_close(square[2, 2], corners.mean((0, 1)))
    torch.testing.assert_close(square[0], paths.lerp(corners[:1, 0], corners[:1, 1], 5)[0])


def test_pairs_are_of_two_classes_and_the_same_each_time(digits):
    pairs = paths.pairs(digits.test_labels, 500, seed=3)
    assert pairs.shape == (500, 2)
    first, second = digits.test_labels[pairs].T
    assert (first != second).all()
    assert len(first.unique()) == len(second.unique()) == 10
    assert torch.equal(pairs, paths.pairs(digits.test_labels, 500, seed=3))
    assert not torch.equal(pairs, paths.pairs(digits.test_labels, 500, seed=4))


def test_pairs_of_one_class_are_refused():
    with pytest.raises(InputError, match=r"labels \[4\]: a path needs images of two classes"):
        paths.pairs(torch.full((9,), 4), 5, seed=0)


def test_the_nearest_is_scipys(digits, generator):
    pictures = torch.rand(30, 28, 28, generator=generator)
    references = digits.train_images[:200]
    expected = cdist(pictures.flatten(1), references.flatten(1) / 255).min(1)
    np.testing.assert_allclose(paths.nearest_distance(pictures, references), expected, rtol=1e-4)


def test_a_reference_is_nearest_to_itself(digits):
    pictures = digits.train_images[:5, 0] / 255
    np.testing.assert_allclose(paths.nearest_distance(pictures, digits.train_images), 0, atol=1e-6)


def test_scores_are_what_their_words_say(digits, classifier, generator):
    """Path by path, from the classifier's answers."""
    pictures = torch.rand(6, 5, 28, 28, generator=generator) * torch.linspace(0.1, 1, 5)[:, None, None]
    table = paths.scores(pictures, classifier, digits.train_images)
    for row, path in zip(table.itertuples(), pictures, strict=True):
        probabilities = classifier.probabilities(path)
        labels = probabilities.argmax(1).tolist()
        assert row.confidence == pytest.approx(probabilities.amax(1)[1:-1].mean().item(), rel=1e-4)
        assert row.label_changes == sum(a != b for a, b in itertools.pairwise(labels))
        distances = cdist(path[1:-1].flatten(1), digits.train_images.flatten(1) / 255).min(1)
        assert row.nearest == pytest.approx(distances.mean(), rel=1e-4)
        steps = [
            (a - b).norm() for a, b in zip(classifier.features(path)[1:], classifier.features(path)[:-1], strict=True)
        ]
        assert row.evenness == pytest.approx((sum(steps) / max(steps) / 4).item(), rel=1e-3)


def test_a_path_that_stands_still_has_no_nan(digits, classifier):
    still = (digits.test_images[:2, 0] / 255)[:, None].expand(-1, 4, -1, -1)
    table = paths.scores(still, classifier, digits.train_images)
    assert table.notna().all(axis=None)
    assert (table.label_changes == 0).all()


def test_a_path_without_a_middle_is_refused(digits, classifier):
    with pytest.raises(InputError, match="paths of 2 pictures: accepted are 3 or more"):
        paths.scores(torch.rand(3, 2, 28, 28), classifier, digits.train_images)


def test_a_model_is_scored_on_its_own_paths(digits, classifier):
    model = models.build(TrainingConfig(latent_dim=3, encoder_widths=(8,))).eval()
    ends = paths.pairs(digits.test_labels, 4, seed=0)
    mu = model.encode(digits.test_images)[0]
    codes = paths.lerp(mu[ends[:, 0]], mu[ends[:, 1]], 5)
    expected = paths.scores(paths.decoded(model, codes), classifier, digits.train_images).mean()
    found = paths.model_scores(model, digits, ends, paths.lerp, classifier, steps=5)
    assert found == pytest.approx(expected.to_dict(), rel=1e-4)


def test_the_nearest_of_arrays_and_bytes_is_the_same(digits):
    pictures, references = digits.test_images[:20], digits.train_images[:300]
    expected = paths.nearest(pictures / 255, references)
    for one in (pictures, pictures[:, 0].numpy(), pictures.numpy() / 255):
        for other in (references, references.numpy(), references[:, 0] / 255):
            assert paths.nearest(one, other).equal(expected)
            np.testing.assert_allclose(
                paths.nearest_distance(one, other), paths.nearest_distance(pictures / 255, references), rtol=1e-5
            )


def test_own_images_have_paths_in_their_size(tmp_path, generator):
    """Images of 32x32 in 12 classes."""
    images = torch.randint(256, (60, 32, 32), generator=generator, dtype=torch.uint8)
    own = data.from_arrays(images, torch.arange(60) % 12, name="own")
    model = models.build(TrainingConfig(latent_dim=3, encoder_widths=(8,)), (32, 32)).eval()
    assert paths.decoded(model, torch.zeros(2, 4, 3)).shape == (2, 4, 32, 32)
    ends = paths.pairs(own.test_labels, 4, seed=0)
    found = paths.model_scores(model, own, ends, paths.slerp, untrained(tmp_path, 12, (32, 32)), steps=4)
    assert list(found) == ["confidence", "label_changes", "nearest", "evenness"]
    assert 1 / 12 <= found["confidence"] <= 1
