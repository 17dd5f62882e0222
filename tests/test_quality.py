import numpy as np
import pytest
import torch
from scipy import linalg
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from torchmetrics.image.fid import FrechetInceptionDistance

from vaelib import InputError, quality


def two_sets(n=400, size=8, generator=None):
    """Of two Gaussians that differ in mean and covariance."""
    mix = torch.randn(size, size, generator=generator) / size**0.5
    one, other = torch.randn(2, n, size, generator=generator)
    return one, other @ mix + 0.5


class Flat(torch.nn.Module):
    """Pixels as features, for torchmetrics."""

    num_features = 16

    def forward(self, x):
        return x.flatten(1)[:, :16].float()


def test_fid_is_torchmetrics(generator):
    one = torch.randint(256, (300, 3, 8, 8), generator=generator, dtype=torch.uint8)
    other = torch.randint(200, (300, 3, 8, 8), generator=generator, dtype=torch.uint8)
    theirs = FrechetInceptionDistance(feature=Flat(), normalize=False).set_dtype(torch.float64)
    theirs.update(one, real=True)
    theirs.update(other, real=False)
    flat = Flat()
    assert quality.fid(flat(one), flat(other)) == pytest.approx(theirs.compute().item(), rel=1e-6)


def test_fid_of_gaussians_is_the_closed_form(generator):
    a = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    c1, c2 = (a @ a.T).numpy(), np.diag([1.0, 2, 3, 4, 5])
    m1, m2 = np.arange(5.0), np.ones(5)
    root = linalg.sqrtm(c1)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * linalg.sqrtm(root @ c2 @ root)).real
    assert quality.frechet_distance(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-8)


def test_fid_with_itself_is_zero_in_any_order(generator):
    one, other = two_sets(generator=generator)
    assert quality.fid(one, one) == pytest.approx(0, abs=1e-6)
    shuffled = one[torch.randperm(len(one), generator=generator)]
    assert quality.fid(shuffled, other) == pytest.approx(quality.fid(one, other), rel=1e-9)


def test_fid_of_identical_images_is_that_of_a_point(generator):
    """All black: no covariance, and a singular product."""
    one, _ = two_sets(generator=generator)
    point = torch.full_like(one, 0.3)
    expected = ((one.double().mean(0) - 0.3) ** 2).sum() + one.double().var(0).sum()
    assert quality.fid(point, one) == pytest.approx(expected.item(), rel=1e-5)


def test_fewer_images_than_features_are_warned_of(generator):
    few, many = torch.randn(5, 8, generator=generator), torch.randn(100, 8, generator=generator)
    with pytest.warns(UserWarning, match="5 images by 8 features .* give 9 at least"):
        quality.fid(few, many)
    with (
        pytest.warns(UserWarning, match="1 images by 8"),
        pytest.raises(InputError, match=r"^1 images: accepted are 2"),
    ):
        quality.fid(few[:1], many)


def test_features_that_are_not_numbers_are_refused(generator):
    one, other = two_sets(generator=generator)
    one[0, 0] = float("nan")
    with pytest.raises(InputError, match="no FID of these features"):
        quality.fid(one, other)


def test_the_extrapolated_fid_has_lost_its_bias(generator):
    """Two samples of one distribution: the FID is all bias, near zero once N is taken to infinity."""
    one, other = torch.randn(4000, 20, generator=generator), torch.randn(100_000, 20, generator=generator)
    biased = quality.fid(one, other)
    assert abs(quality.fid_infinity(one, other)) < 0.35 * biased


def test_the_extrapolated_fid_of_different_sets_is_near_the_fid_of_many(generator):
    one, other = two_sets(n=20_000, generator=generator)
    assert quality.fid_infinity(one[:2000], other) == pytest.approx(quality.fid(one, other), rel=0.05)


def test_kid_is_scikit_learns_polynomial_kernel(generator):
    one, other = two_sets(n=60, generator=generator)
    xx, yy, xy = (
        polynomial_kernel(a.double(), b.double(), degree=3, gamma=1 / 8, coef0=1)
        for a, b in ((one, one), (other, other), (one, other))
    )
    n = 60
    expected = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (n * (n - 1)) - 2 * xy.mean()
    assert quality.squared_mmd(one.double(), other.double()).item() == pytest.approx(expected)


def test_kid_is_over_subsets_that_differ(generator):
    """Of few images too: fifty times the same would look like a number without an error."""
    one, other = two_sets(n=360, generator=generator)
    values = quality.kid(one, other)
    assert values.shape == (50,)
    assert values.std() > 0.01
    whole = quality.squared_mmd(one.double(), other.double())
    assert values.mean().item() == pytest.approx(whole.item(), abs=4 * values.std().item() / 50**0.5 + 0.05)


def test_kid_of_one_distribution_is_zero_at_any_n(generator):
    for n in (200, 2000):
        one, other = torch.randn(2, n, 10, generator=generator)
        values = quality.kid(one, other, seed=n)
        assert abs(values.mean().item()) < 0.1
    assert quality.kid(one, other + 1).mean().item() > 1


def by_scikit_learn(fake, real, k=5):
    """Precision, recall, density and coverage, from their definitions."""

    def reach(x):
        return NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, -1]

    distances = np.linalg.norm(fake[:, None] - real[None], axis=-1)
    return {
        "precision": (distances <= reach(real)[None]).any(1).mean(),
        "recall": (distances <= reach(fake)[:, None]).any(0).mean(),
        "density": (distances <= reach(real)[None]).sum() / (k * len(fake)),
        "coverage": (distances.min(0) <= reach(real)).mean(),
    }


def test_neighbourhoods_are_those_of_their_definitions(generator, monkeypatch):
    fake, real = two_sets(n=200, generator=generator)
    expected = by_scikit_learn(fake[:150].numpy(), real.numpy())
    assert quality.neighbourhoods(fake[:150], real) == pytest.approx(expected)
    monkeypatch.setattr(quality, "ROWS", 32)
    assert quality.neighbourhoods(fake[:150], real) == pytest.approx(expected)
    assert quality.neighbourhoods(fake[:150], real, quality.radii(real)) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "size"), [(2000, 4), pytest.param(10_000, 1000, marks=pytest.mark.slow)])
def test_two_sets_of_one_distribution_score_as_theory_says(n, size, generator):
    """One draw of 10,000 in 1,000 dimensions may have a density of .86 or of 1.15; both ways round it is 1 in mean."""
    one, other = torch.randn(2, n, size, generator=generator)
    found, turned = quality.neighbourhoods(one, other), quality.neighbourhoods(other, one)
    # turned round, precision is recall
    assert (found["precision"], found["recall"]) == (turned["recall"], turned["precision"])
    # a sample is as likely as any of the n others to be among an image's five nearest
    assert (found["density"] + turned["density"]) / 2 == pytest.approx(1, abs=0.03)
    # uncovered is an image whose five nearest of all are five of its own set: Naeem et al. 2020
    assert (found["coverage"] + turned["coverage"]) / 2 == pytest.approx(1 - 0.5**5, abs=0.01)
    if size == 1000:  # .477 and .471 in print, of a draw that is not named
        assert (found["precision"] + found["recall"]) / 2 == pytest.approx(0.474, abs=0.01)


def test_too_few_images_have_no_neighbourhood():
    with pytest.raises(InputError, match="5 images: accepted are 6 at least"):
        quality.radii(torch.zeros(5, 3))


def test_memorised_images_keep_precision_and_lose_recall(generator):
    real, other = torch.randn(2, 1000, 4, generator=generator)
    found = quality.neighbourhoods(other[:10].repeat(100, 1), real)
    honest = quality.neighbourhoods(other, real)
    assert found["recall"] < 0.1 < honest["recall"]
    assert found["coverage"] < 0.2 < honest["coverage"]


def test_the_controls_are_what_their_names_say(digits):
    sets = quality.controls(digits.train_images, digits.test_images)
    assert {len(images) for images in sets.values()} == {360}
    assert {images.dtype for images in sets.values()} == {torch.uint8}
    assert sets["black images"].max() == 0
    known = {image.numpy().tobytes() for image in digits.train_images}
    for name in ("training images", "a hundredth of them, copied"):
        assert {image.numpy().tobytes() for image in sets[name]} <= known
    assert len(sets["a hundredth of them, copied"].flatten(1).unique(dim=0)) == 3
    assert len(sets["training images"].flatten(1).unique(dim=0)) == 360
    mean = digits.train_images.double().mean(0)
    assert (sets["the mean image"].double() - mean).abs().max() <= 0.5
    assert sets["noise"].double().mean().item() == pytest.approx(127.5, abs=1)
    assert (
        sets["the test images themselves"]
        .flatten(1)
        .sum(1)
        .sort()
        .values.equal(digits.test_images.flatten(1).sum(1).sort().values)
    )


def test_the_controls_come_in_the_order_of_common_sense(digits):
    """By pixels, as features: even they tell real images from copies, and both from none."""
    sets = quality.controls(digits.train_images, digits.test_images)
    pool = torch.nn.AvgPool2d(7)
    features = {name: pool(images.float() / 255).flatten(1) for name, images in sets.items()}
    found = {name: quality.fid(own, features["the test images themselves"]) for name, own in features.items()}
    assert found.pop("the test images themselves") == pytest.approx(0, abs=1e-6)
    training, copied, *none = found.values()
    assert training < copied / 5 < min(none)
