import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from vaelib import objective
from vaelib.config import TrainingConfig


def test_kl_equals_torch_distributions(generator):
    mu, logvar = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    q = Independent(Normal(mu, (0.5 * logvar).exp()), 1)
    p = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    torch.testing.assert_close(objective.kl_to_prior(mu, logvar), kl_divergence(q, p))


def test_kl_is_zero_at_the_prior():
    assert objective.kl_to_prior(torch.zeros(3, 4), torch.zeros(3, 4)).tolist() == [0, 0, 0]


def test_likelihood_equals_torch_distributions_on_binary_images(generator):
    logits = 3 * torch.randn(4, 1, 28, 28, generator=generator, dtype=torch.float64)
    x = (torch.rand(logits.shape, generator=generator) < 0.3).double()
    expected = Independent(Bernoulli(logits=logits), 3).log_prob(x)
    torch.testing.assert_close(objective.log_likelihood(logits, x), expected)


def test_likelihood_of_rounded_logits_is_not_rounded_itself(generator):
    """A decoder in bfloat16 returns logits of three digits; their likelihood keeps all of float32's."""
    logits = (5 * torch.randn(4, 1, 28, 28, generator=generator)).bfloat16()
    x = torch.rand(logits.shape, generator=generator)
    found, expected = objective.log_likelihood(logits, x), objective.log_likelihood(logits.double(), x.double())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


def test_grey_likelihood_is_the_mean_over_binarised_images(generator):
    """E over b ~ Bernoulli(x) of log p(b|z), of which each pixel has two cases, summed exactly."""
    logits = torch.randn(2, 1, 28, 28, generator=generator, dtype=torch.float64)
    x = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    pixel = Bernoulli(logits=logits)
    on, off = pixel.log_prob(torch.ones_like(x)), pixel.log_prob(torch.zeros_like(x))
    torch.testing.assert_close(objective.log_likelihood(logits, x), (x * on + (1 - x) * off).flatten(1).sum(1))


def test_likelihood_is_finite_at_extreme_logits():
    x = torch.tensor([0.0, 1.0]).repeat(392).reshape(1, 1, 28, 28)
    assert objective.log_likelihood(1e4 * (2 * x - 1), x).item() == 0
    assert objective.log_likelihood(1e4 * (1 - 2 * x), x).item() == pytest.approx(-784e4)


def test_no_reconstruction_costs_less_than_the_pixel_entropy(generator):
    x = torch.rand(6, 1, 28, 28, generator=generator, dtype=torch.float64)
    best = -objective.log_likelihood(torch.logit(x), x)
    torch.testing.assert_close(objective.pixel_entropy(x), best)
    other = -objective.log_likelihood(torch.logit(x) + 0.1, x)
    assert (other > best).all()


def test_pixel_entropy_of_black_and_white_is_zero():
    assert objective.pixel_entropy(torch.tensor([0.0, 1.0]).repeat(392).reshape(1, 1, 28, 28)).item() == 0


def test_mean_image_cost_is_the_likelihood_of_a_constant_decoder(generator):
    x = torch.rand(6, 1, 28, 28, generator=generator, dtype=torch.float64)
    mean = x.mean(0)
    expected = -Independent(Bernoulli(probs=mean, validate_args=False), 3).log_prob(x)
    torch.testing.assert_close(objective.mean_image_cost(x, mean), expected)


def test_an_untrained_half_grey_decoder_costs_784_log_2():
    x = torch.rand(3, 1, 28, 28)
    cost = -objective.log_likelihood(torch.zeros_like(x), x)
    torch.testing.assert_close(cost, torch.full((3,), 784 * math.log(2)))


@pytest.mark.parametrize("copies", [1, 3])
def test_effective_beta_is_k2_over_k1_at_any_batch_size(copies, generator):
    """The gradient's ratio between the two terms, measured, is what the config states."""
    config = TrainingConfig(k1=0.5, k2=2.0)
    recon = torch.rand(4, generator=generator).repeat(copies).requires_grad_()
    kl = torch.rand(4, generator=generator).repeat(copies).requires_grad_()
    objective.weighted_loss(recon, kl, config.k1, config.k2).backward()
    ratio = kl.grad.sum() / recon.grad.sum()
    assert ratio.item() == pytest.approx(config.effective_beta) == 4.0


@pytest.mark.parametrize(("k1", "k2"), [(1.0, 1.0), (2.0, 0.5), (1.0, 0.0)])
def test_the_backward_pass_is_that_of_the_loss(k1, k2, generator):
    results = []
    for closed in (False, True):
        x = torch.rand(5, 1, 28, 28, generator=generator.manual_seed(0))
        logits, mu, logvar = (
            torch.randn(shape, generator=generator, requires_grad=True) for shape in ((5, 1, 28, 28), (5, 3), (5, 3))
        )
        if closed:
            objective.backward(logits, mu, logvar, x, k1, k2)
        else:
            recon, kl = -objective.log_likelihood(logits, x), objective.kl_to_prior(mu, logvar)
            objective.weighted_loss(recon, kl, k1, k2).backward()
        results.append([logits.grad, mu.grad, logvar.grad])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
