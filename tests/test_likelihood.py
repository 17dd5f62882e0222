import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from vaelib import InputError, data, models
from vaelib.config import TrainingConfig
from vaelib.evaluation import likelihood
from vaelib.latent import aggregate_log_density
from vaelib.models import objective

PIXELS = 6


class LinearGaussian:
    """z ~ N(0, I), x = Wz + b + noise: p(x) is known; and an encoder that is near the posterior, not at it."""

    def __init__(self, d, generator):
        self.w = torch.randn(PIXELS, d, generator=generator)
        self.b = torch.randn(PIXELS, generator=generator)
        self.covariance = torch.linalg.inv(torch.eye(d) + self.w.T @ self.w)

    def posterior(self, x):
        mu = (x - self.b) @ self.w @ self.covariance
        return 1.1 * mu, (1.3 * self.covariance.diag()).log().expand_as(mu)

    def logits(self, z):
        return z @ self.w.T + self.b

    def log_likelihood(self, decoded, x):
        return Independent(Normal(decoded, 1.0), 1).log_prob(x)

    def log_p(self, x):
        return MultivariateNormal(self.b, self.w @ self.w.T + torch.eye(PIXELS)).log_prob(x)


@pytest.fixture
def linear_gaussian(generator):
    model = LinearGaussian(2, generator)
    z = torch.randn(300, 2, generator=generator)
    return model, model.logits(z) + torch.randn(300, PIXELS, generator=generator)


def test_the_bound_reaches_the_exact_likelihood(linear_gaussian, generator):
    model, x = linear_gaussian
    weights = likelihood.log_weights(model, x, 2000, generator, model.log_likelihood)
    bounds = likelihood.importance_bounds(weights, (1, 10, 100, 2000))
    exact = model.log_p(x).mean().item()
    means = [bounds[k].mean().item() for k in (1, 10, 100, 2000)]
    assert means == sorted(means)
    assert means[0] < exact - 0.1  # The encoder is not the posterior, so that there is a gap to close.
    assert means[-1] == pytest.approx(exact, abs=0.01)


def test_of_one_draw_the_bound_is_the_elbo(linear_gaussian, generator):
    """E_q[log p(x|z)] - KL in closed form: the encoder's posterior is Gaussian, the decoder linear."""
    model, x = linear_gaussian
    mu, logvar = model.posterior(x)
    spread = (model.w.square() @ logvar.exp().T).T  # of each pixel of the decoded mean
    expected = model.log_likelihood(model.logits(mu), x) - 0.5 * spread.sum(1) - objective.kl_to_prior(mu, logvar)
    weights = likelihood.log_weights(model, x, 4000, generator, model.log_likelihood)
    found = likelihood.importance_bounds(weights, [1])[1]
    assert found.mean().item() == pytest.approx(expected.mean().item(), abs=0.02)


def test_bounds_rise_with_k_for_every_image(generator):
    weights = 5 * torch.randn(1000, 40, generator=generator, dtype=torch.float64)
    bounds = likelihood.importance_bounds(weights, (1, 10, 100, 1000))
    for low, high in ((1, 10), (10, 100), (100, 1000)):
        assert (bounds[low] <= bounds[high]).all()
    torch.testing.assert_close(bounds[1], weights.mean(0))
    torch.testing.assert_close(bounds[1000], weights.exp().mean(0).log())


def test_effective_samples_lie_between_one_and_all():
    equal, alone = torch.zeros(50, 1), torch.cat([torch.zeros(1, 1), torch.full((49, 1), -100.0)])
    torch.testing.assert_close(likelihood.effective_samples(torch.cat([equal, alone], 1)), torch.tensor([50.0, 1.0]))


@pytest.mark.parametrize("k", [0, 3, 20])
def test_a_k_that_leaves_draws_over_is_refused(k):
    with pytest.raises(InputError, match="divisor of the 10 draws"):
        likelihood.importance_bounds(torch.zeros(10, 2), [k])


def test_a_vaes_first_bound_is_its_elbo(digits, generator):
    model = models.build(TrainingConfig(dataset="digits", latent_dim=3)).eval()
    x = digits.test_images[:40]
    recon, kl = objective.elbo_terms(model, x.repeat(50, 1, 1, 1), generator)
    bounds, effective = likelihood.bounded(model, x, [1, 50], generator)
    elbo = -(recon + kl).mean().item()
    assert bounds[1].mean().item() == pytest.approx(elbo, abs=0.15)
    assert bounds[50].shape == effective.shape == (40,)


def test_draws_decoded_in_bfloat16_say_the_same_in_the_mean(finished_run, digits):
    model, x = finished_run.model(), digits.test_images
    exact, _ = likelihood.bounded(model, x, [10, 100], torch.Generator().manual_seed(0))
    rounded, _ = likelihood.bounded(model, x, [10, 100], torch.Generator().manual_seed(0), bfloat16=True)
    for k in (10, 100):
        assert not rounded[k].equal(exact[k])
        assert abs((rounded[k] - exact[k]).mean().item()) < 0.02


def test_images_are_bounded_in_batches(digits, generator, monkeypatch):
    """A decoder that ignores z, an encoder that answers with the prior: every bound is log p(x) itself."""
    model = models.build(TrainingConfig(dataset="digits", latent_dim=1)).eval()
    with torch.no_grad():
        for layer in (model.encoder[-1], model.decoder[0]):
            layer.weight.zero_()
            layer.bias.zero_()
    monkeypatch.setattr(likelihood, "BATCH", 7)
    x = digits.test_images[:30]
    bounds, effective = likelihood.bounded(model, x, [1, 10], generator)
    expected = objective.log_likelihood(model.logits(torch.zeros(30, 1)), data.as_float(x)).double()
    for k in (1, 10):
        torch.testing.assert_close(bounds[k], expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(effective, torch.full((30,), 10.0).double())


def test_units_are_active_where_the_mean_code_varies(generator):
    mu = torch.randn(5000, 4, generator=generator) * torch.tensor([1.0, 0.2, 0.05, 0.0])
    assert likelihood.active_units(mu).tolist() == [True, True, False, False]
    assert mu[:, 1].var().item() == pytest.approx(0.04, rel=0.1)  # The threshold is 0.01.


def test_the_variance_of_codes_is_numpys_and_that_of_one_code_is_zero(generator):
    mu = torch.randn(20, 3, generator=generator)
    np.testing.assert_allclose(likelihood.variances(mu), np.var(mu.double().numpy(), axis=0, ddof=1))
    assert likelihood.variances(mu[:1]).tolist() == [0, 0, 0]
    assert not likelihood.active_units(mu[:1]).any()


def test_the_two_parts_of_the_kl_sum_to_it(generator):
    mu, logvar = torch.randn(500, 2, generator=generator), torch.full((500, 2), -3.0)
    terms = likelihood.aggregate_terms(mu, logvar, generator)
    total = (terms["mutual_information"] + terms["marginal_kl"]).mean().item()
    assert total == pytest.approx(objective.kl_to_prior(mu, logvar).mean().item(), rel=0.03)


def test_codes_that_tell_images_apart_carry_log_n(generator):
    mu = torch.arange(200.0)[:, None] * 10
    terms = likelihood.aggregate_terms(mu, torch.zeros(200, 1), generator)
    assert terms["mutual_information"].mean().item() == pytest.approx(math.log(200), abs=1e-6)


def test_an_encoder_that_ignores_its_image_tells_nothing(generator):
    terms = likelihood.aggregate_terms(torch.zeros(100, 3), torch.zeros(100, 3), generator)
    for term in terms.values():
        assert term.abs().max().item() < 1e-6


def test_mutual_information_of_gaussian_codes_is_its_closed_form(generator):
    """mu ~ N(0, s^2) and z = mu + N(0, v): half log(1 + s^2 / v) a dimension."""
    mu = torch.randn(3000, 1, generator=generator)
    terms = likelihood.aggregate_terms(mu, torch.full((3000, 1), math.log(0.25)), generator)
    assert terms["mutual_information"].mean().item() == pytest.approx(0.5 * math.log(1 + 1 / 0.25), abs=0.05)
    aggregate = aggregate_log_density(mu, torch.full((3000, 1), math.log(0.25)), torch.zeros(1, 1))
    assert aggregate.item() == pytest.approx(Normal(0.0, math.sqrt(1.25)).log_prob(torch.tensor(0.0)).item(), abs=0.05)


def test_bits_are_nats_over_log_two_and_pixels():
    assert likelihood.bits_per_pixel(784 * math.log(2), 784) == pytest.approx(1)
    np.testing.assert_allclose(likelihood.bits_per_pixel(torch.full((2,), 784 * math.log(2)), 1568), [0.5, 0.5])
