import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from vaelib import data
from vaelib.config import TrainingConfig
from vaelib.models import build, objective


def test_kl_equals_torch_distributions(generator):
    mu, logvar = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    q = Independent(Normal(mu, (0.5 * logvar).exp()), 1)
    p = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    torch.testing.assert_close(objective.kl_to_prior(mu, logvar), kl_divergence(q, p))


def test_kl_is_zero_at_the_prior():
    assert objective.kl_to_prior(torch.zeros(3, 4), torch.zeros(3, 4)).tolist() == [0, 0, 0]


def test_kl_by_dimension_is_torchs(generator):
    mu, logvar = torch.randn(2, 40, 3, generator=generator)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(objective.kl_by_dimension(mu, logvar), expected)
    torch.testing.assert_close(expected.sum(), objective.kl_to_prior(mu, logvar).mean())


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


def gradients(k1, k2, copies=1):
    """Those of logits, mu and logvar by backward, with what it was given."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(5, 1, 28, 28, generator=generator).repeat(copies, 1, 1, 1)
    outputs = [torch.randn(5, *shape, generator=generator) for shape in ((1, 28, 28), (3,), (3,))]
    outputs = [output.repeat(copies, *[1] * (output.ndim - 1)).requires_grad_() for output in outputs]
    objective.backward(*outputs, x, k1, k2)
    return x, outputs


@pytest.mark.parametrize("copies", [1, 3])
def test_effective_beta_is_k2_over_k1_at_any_batch_size(copies):
    """The gradient's ratio between the two terms, measured, is what the config states."""
    config = TrainingConfig(k1=0.5, k2=2.0)
    _, (logits, mu, logvar) = gradients(config.k1, config.k2, copies)
    _, plain = gradients(1.0, 1.0, copies)
    ratios = [own.grad.abs().sum() / of.grad.abs().sum() for own, of in zip((logits, mu, logvar), plain, strict=True)]
    assert (ratios[1] / ratios[0]).item() == pytest.approx(config.effective_beta) == 4.0
    assert ratios[2].item() == pytest.approx(ratios[1].item())


@pytest.mark.parametrize(("k1", "k2"), [(1.0, 1.0), (2.0, 0.5), (1.0, 0.0)])
def test_the_backward_pass_is_that_of_the_loss(k1, k2):
    """Against autograd of k1 recon + k2 kl, averaged over images, as torch.distributions has the two."""
    x, outputs = gradients(k1, k2)
    logits, mu, logvar = twins = [output.detach().clone().requires_grad_() for output in outputs]
    recon = -Bernoulli(logits=logits, validate_args=False).log_prob(x).sum((1, 2, 3))
    kl = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
    (k1 * recon + k2 * kl).mean().backward()
    for ours, theirs in zip(outputs, twins, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


def terms_by_hand(model, images, seed):
    """recon and kl of each image by torch.distributions, from the same eps."""
    with torch.no_grad():
        x = images.float() / 255
        mu, logvar = model.posterior(x)
        q = Independent(Normal(mu, (logvar / 2).exp()), 1)
        eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed))
        pixels = Bernoulli(logits=model.logits(mu + q.base_dist.stddev * eps), validate_args=False)
        prior = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
        return -Independent(pixels, 3).log_prob(x), kl_divergence(q, prior)


def test_the_terms_of_each_image_equal_torch_distributions(digits, monkeypatch):
    model = build(TrainingConfig(latent_dim=3, encoder_widths=(16,))).eval()
    images = digits.test_images[:20]
    expected = terms_by_hand(model, images, 4)
    for batch in (500, 7):
        monkeypatch.setattr(objective, "BATCH", batch)
        found = objective.elbo_terms(model, images, torch.Generator().manual_seed(4))
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == torch.float64
            assert not ours.requires_grad
            torch.testing.assert_close(ours.float(), theirs, rtol=1e-5, atol=1e-4)


def test_the_terms_draw_anew_from_their_generator(digits, generator):
    model = build(TrainingConfig(latent_dim=3, encoder_widths=(16,))).eval()
    (first, kl), (second, same) = (objective.elbo_terms(model, digits.test_images[:5], generator) for _ in "12")
    assert torch.equal(kl, same)
    assert (first != second).all()


def test_the_anchors_are_a_perfect_and_a_constant_reconstruction(digits):
    """By torch.distributions: the entropy of the test pixels, and the training images' mean decoded for all."""
    found = objective.anchors(digits)
    x, train = (images.double() / 255 for images in (digits.test_images, digits.train_images))
    assert found["floor_nats"] == pytest.approx(Bernoulli(x).entropy().flatten(1).sum(1).mean().item(), rel=1e-5)
    mean = train.mean(0).clamp(1 / 1437, 1 - 1 / 1437)
    constant = Independent(Bernoulli(mean, validate_args=False), 3)
    assert found["collapse_nats"] == pytest.approx(-constant.log_prob(x).mean().item(), rel=1e-5)
    assert found["floor_nats"] < found["collapse_nats"]


def test_a_pixel_that_no_training_image_lights_costs_no_infinity():
    train, test = (np.zeros((count, 8, 8), np.uint8) for count in (20, 4))
    train[:, :2], test[:, 5] = 255, 255
    images = data.from_arrays(train, np.arange(20) % 2, test, np.arange(4) % 2)
    # Of 64 pixels, 16 are lit in training alone and 8 in the test images alone; the rest stay black in both.
    certain, unlikely = -math.log(1 - 1 / 20), -math.log(1 / 20)
    assert objective.anchors(images) == pytest.approx(
        {"floor_nats": 0, "collapse_nats": 16 * unlikely + 8 * unlikely + 40 * certain}, abs=1e-4
    )
