import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from vaelib import InputError, data, latent, models
from vaelib.config import TrainingConfig
from vaelib.latent import density


def codes(n, d, generator):
    return torch.randn(n, d, generator=generator), torch.randn(n, d, generator=generator) - 1


def small(shape=(28, 28)):
    return models.build(TrainingConfig(arch="linear", latent_dim=2, encoder_widths=(8,)), shape).eval()


def mixture(mu, logvar):
    parts = Independent(Normal(mu.double(), (0.5 * logvar.double()).exp()), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(mu), dtype=torch.float64)), parts)


@pytest.mark.parametrize("d", [1, 2, 10])
def test_the_aggregate_posterior_is_the_full_mixture(d, generator):
    mu, logvar = codes(40, d, generator)
    points = 2 * torch.randn(25, d, generator=generator)
    expected = mixture(mu, logvar).log_prob(points.double())
    torch.testing.assert_close(density.aggregate_log_density(mu, logvar, points), expected)


def test_narrow_posteriors_far_out_lose_no_digits(generator):
    """The expanded square is a difference of numbers near 10^6."""
    mu, logvar = 10 + codes(30, 3, generator)[0], torch.full((30, 3), -9.0)
    points = mu + 0.01 * torch.randn(30, 3, generator=generator)
    expected = mixture(mu, logvar).log_prob(points.double())
    torch.testing.assert_close(density.aggregate_log_density(mu, logvar, points), expected, rtol=1e-6, atol=1e-6)


def test_many_points_are_worked_off_in_parts(generator, monkeypatch):
    mu, logvar = codes(40, 2, generator)
    points = torch.randn(25, 2, generator=generator)
    whole = density.aggregate_log_density(mu, logvar, points)
    monkeypatch.setattr(density, "ENTRIES", 100)
    torch.testing.assert_close(density.aggregate_log_density(mu, logvar, points), whole)


def test_the_prior_is_torchs():
    points = torch.randn(20, 4)
    expected = MultivariateNormal(torch.zeros(4).double(), torch.eye(4).double()).log_prob(points.double())
    torch.testing.assert_close(density.prior_log_density(points), expected)


def test_an_encoder_that_answers_with_the_prior_leaves_no_hole(generator):
    mu, logvar = torch.zeros(50, 3), torch.zeros(50, 3)
    ratio = density.log_density_ratio(mu, logvar, torch.randn(100, 3, generator=generator))
    torch.testing.assert_close(ratio, torch.zeros(100).double(), rtol=0, atol=1e-6)


class Halves:
    """Stands for a classifier: class 0, and sure of it, where a picture is dark; undecided where it is bright."""

    def probabilities(self, images):
        bright = (images.flatten(1).mean(1) > 0.5).float()
        first = 1 - 0.5 * bright
        return torch.stack([first, 1 - first], dim=1)


def test_holes_are_where_nothing_was_encoded(digits, monkeypatch):
    """All images encoded to one narrow place at 0: the share of the prior within its reach is known."""
    model = small()
    n, sd = 100, 0.5
    monkeypatch.setattr(model, "encode", lambda *_: (torch.zeros(n, 2), torch.full((n, 2), 2 * math.log(sd))))
    # Pictures are bright beyond the hole's edge only, so that the classifier is 0.5 sure inside, and 1 outside.
    # q/p = exp(-r^2 / 2 (1/sd^2 - 1)) / sd^2 < 1/10
    edge = math.sqrt(2 * math.log(10 / sd**2) / (1 / sd**2 - 1))
    bright = lambda z: (z.norm(dim=1) > edge).float()[:, None, None].expand(-1, 28, 28)  # noqa: E731
    monkeypatch.setattr(model, "decode", bright)
    found = latent.holes(model, digits.test_images, Halves(), count=20_000)
    assert found["holes"] == pytest.approx(math.exp(-(edge**2) / 2), abs=0.01)
    assert (found["inside"], found["outside"]) == (0.5, 1.0)


def test_a_class_has_the_moments_of_its_sampled_codes(generator):
    """The law of total variance, against draws from the mixture itself."""
    mu = torch.randn(30, 3, generator=generator) @ torch.randn(3, 3, generator=generator)
    logvar = torch.randn(30, 3, generator=generator) - 1
    labels = torch.arange(30) % 2
    mean, covariance = density.class_gaussian(mu, logvar, labels, 1)
    torch.manual_seed(0)
    drawn = mixture(mu[labels == 1], logvar[labels == 1]).sample((400_000,))
    torch.testing.assert_close(mean, drawn.mean(0), rtol=0, atol=0.02)
    torch.testing.assert_close(covariance, torch.cov(drawn.T), rtol=0.02, atol=0.03)


def test_the_moments_are_numpys_where_nothing_is_uncertain(generator):
    mu = torch.randn(9, 4, generator=generator)
    mean, covariance = density.class_gaussian(mu, torch.full((9, 4), -100.0), torch.zeros(9), 0)
    np.testing.assert_allclose(mean, mu.double().mean(0))
    np.testing.assert_allclose(covariance, np.cov(mu.double().numpy().T, bias=True), atol=1e-12)


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_of_fewer_than_two_images_is_refused(count):
    labels = torch.tensor([1] * 5 + [7] * count)
    with pytest.raises(InputError, match=f"class 7: .* two images at least, here are {count} of it"):
        density.class_gaussian(torch.zeros(len(labels), 2), torch.zeros(len(labels), 2), labels, 7)


def test_draws_have_the_gaussians_moments(generator):
    covariance = torch.tensor([[2.0, -0.6], [-0.6, 0.5]]).double()
    drawn = density.sample_gaussian(torch.tensor([1.0, -3.0]).double(), covariance, 200_000, generator)
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn.mean(0), torch.tensor([1.0, -3.0]), rtol=0, atol=0.02)
    torch.testing.assert_close(torch.cov(drawn.T), covariance.float(), rtol=0, atol=0.03)


def test_classes_are_drawn_in_the_order_asked_for(digits):
    model = small()
    drawn = density.sample_classes(model, digits, [7, 3], 5, seed=1)
    mu, logvar = model.encode(digits.train_images)
    generator = torch.Generator().manual_seed(1)
    for label, own in ((7, drawn[:5]), (3, drawn[5:])):
        moments = density.class_gaussian(mu, logvar, digits.train_labels, label)
        expected = model.decode(density.sample_gaussian(*moments, 5, generator))
        torch.testing.assert_close(own, expected)
    diagonal = density.sample_classes(model, digits, [7], 5, seed=1, diagonal=True)
    assert diagonal.shape == (5, 28, 28)
    assert not torch.equal(diagonal, drawn[:5])


def test_a_class_is_fitted_to_its_first_images(digits):
    """As if the set had no others; a class that has fewer uses all it has, one image is refused."""
    model = small()
    first = torch.cat([(digits.train_labels == label).nonzero()[:30, 0] for label in (7, 3)])
    few = dataclasses.replace(digits, train_images=digits.train_images[first], train_labels=digits.train_labels[first])
    drawn = density.sample_classes(model, digits, [7, 3], 5, seed=1, codes=30)
    torch.testing.assert_close(drawn, density.sample_classes(model, few, [7, 3], 5, seed=1))
    torch.testing.assert_close(density.sample_classes(model, few, [7, 3], 5, seed=1, codes=1000), drawn)
    assert not torch.allclose(drawn, density.sample_classes(model, digits, [7, 3], 5, seed=1))
    with pytest.raises(InputError, match="codes 1: accepted are 2 at least"):
        density.sample_classes(model, digits, [7], 5, seed=1, codes=1)


@pytest.mark.parametrize("label", [-1, 10, 12])
def test_a_class_that_is_not_there_is_refused(digits, label):
    with pytest.raises(InputError, match=f"class {label}: accepted for digits is 0 to 9"):
        density.sample_classes(small(), digits, [label], 5, seed=0)


def test_classes_of_own_images_are_drawn_in_their_size(generator):
    """Three classes of 32x32, and the last one asked for by its number."""
    images = torch.randint(256, (30, 32, 32), generator=generator, dtype=torch.uint8)
    own = data.from_arrays(images, torch.arange(30) % 3, name="own")
    model = small((32, 32))
    assert density.sample_classes(model, own, [2, 0], 4, seed=0).shape == (8, 32, 32)
    with pytest.raises(InputError, match="class 3: accepted for own is 0 to 2"):
        density.sample_classes(model, own, [3], 4, seed=0)
    assert latent.holes(model, own.test_images, Halves(), count=50).keys() == {"holes", "inside", "outside"}


def test_a_mixture_has_the_moments_of_the_codes_and_mixes_its_components(generator):
    """Two far groups of codes, each with the spread of its q(z|x)."""
    mu = torch.cat([torch.full((400, 2), -4.0), torch.full((400, 2), 4.0)])
    mixed = density.fit_mixture(mu, torch.zeros(800, 2), components=2)
    fitted = mixed.gaussians
    assert fitted.means_[:, 0].round() == pytest.approx([-4, 4]) or fitted.means_[:, 0].round() == pytest.approx(
        [4, -4]
    )
    np.testing.assert_allclose(fitted.covariances_, [np.eye(2)] * 2, atol=0.25)
    draws = density.sample_mixture(mixed, 1000, seed=1)
    assert draws.dtype == torch.float32
    assert draws.mean().item() == pytest.approx(0, abs=0.4)
    assert 0.3 < (draws[:50, 0] > 0).float().mean() < 0.7
    assert draws.equal(density.sample_mixture(mixed, 1000, seed=1))
    assert not draws.equal(density.sample_mixture(mixed, 1000, seed=2))


@pytest.mark.parametrize("count", [2, 9])
def test_a_mixture_has_no_more_components_than_images(count, generator):
    mu = 5 * torch.randn(count, 3, generator=generator)
    mixed = density.fit_mixture(mu, torch.full((count, 3), -20.0))
    fitted = mixed.gaussians
    assert fitted.n_components == count
    # Each component lies at one of the codes.
    np.testing.assert_allclose(fitted.means_[fitted.means_[:, 0].argsort()], mu[mu[:, 0].argsort()], atol=0.01)
    assert density.sample_mixture(mixed, 5, seed=0).shape == (5, 3)


def test_an_unused_dimension_of_a_mixture_is_the_prior(generator):
    """The middle one of three dimensions has the prior's own mean and spread for every image."""
    mu = 3 * torch.randn(500, 3, generator=generator)
    mu[:, 1] = 0
    logvar = torch.tensor([-2.0, 0, -2]).expand(500, 3)
    mixed = density.fit_mixture(mu, logvar)
    assert mixed.used.tolist() == [True, False, True]
    assert mixed.gaussians.means_.shape == (10, 2)
    draws = density.sample_mixture(mixed, 20_000, seed=0)
    assert stats.kstest(draws[:, 1].numpy(), "norm").pvalue > 0.01
    codes = mu + (0.5 * logvar).exp() * torch.randn(500, 3, generator=generator)
    own = [0, 2]
    np.testing.assert_allclose(np.cov(draws[:, own].T.numpy()), np.cov(codes[:, own].T.numpy()), atol=0.6)
    assert np.abs(np.corrcoef(draws.T.numpy())[1, own]).max() < 0.03


def test_of_a_collapsed_model_a_mixture_has_the_dimension_that_says_most():
    mu = torch.zeros(40, 3)
    mu[:20, 2] = 0.01
    mixed = density.fit_mixture(mu, torch.zeros(40, 3), components=1)
    assert mixed.used.tolist() == [False, False, True]
    assert density.sample_mixture(mixed, 8, seed=0).shape == (8, 3)


def test_a_mixture_of_one_image_is_refused():
    with pytest.raises(InputError, match="a mixture of the codes of 1 image: accepted are two images at least"):
        density.fit_mixture(torch.zeros(1, 2), torch.zeros(1, 2))


def test_classes_are_drawn_as_often_as_asked(generator):
    labels = torch.tensor([0] * 50 + [1] * 50)
    mu = torch.where(labels[:, None] == 0, -20.0, 20.0) + torch.randn(100, 1, generator=generator)
    draws = density.class_draws(mu, torch.zeros(100, 1), labels, {0: 7, 1: 3}, seed=0)
    assert (draws[:, 0] < 0).tolist() == [True] * 7 + [False] * 3
