import numpy as np
import pytest
import torch
from scipy import stats

from vaelib import InputError, data, latent, models
from vaelib.config import TrainingConfig


def test_encoding_a_set_is_encoding_each_image(digits, monkeypatch):
    model = models.build(TrainingConfig(arch="conv", latent_dim=3)).eval()
    monkeypatch.setattr(latent, "BATCH", 7)
    mu, logvar = latent.encode(model, digits.test_images[:20])
    with torch.no_grad():
        expected = model.encode(data.as_float(digits.test_images[:20]))
    torch.testing.assert_close((mu, logvar), expected, rtol=1e-4, atol=1e-5)


def test_decoding_gives_probabilities():
    model = models.build(TrainingConfig(arch="linear", latent_dim=3, encoder_widths=(8,))).eval()
    z = 5 * torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = 1 / (1 + np.exp(-model.decode(z)[:, 0].numpy()))
    np.testing.assert_allclose(latent.decode(model, z), expected, rtol=1e-5)


def test_prior_samples_are_decoded_standard_normals():
    model = models.build(TrainingConfig(arch="linear", latent_dim=4, encoder_widths=(8,))).eval()
    codes = []
    model.decode, decode = lambda z: (codes.append(z), decode(z))[1], model.decode
    images = latent.sample_prior(model, 4, 2000, seed=3)
    assert images.shape == (2000, 28, 28)
    assert stats.kstest(torch.cat(codes).flatten().numpy(), "norm").pvalue > 0.001
    assert torch.equal(latent.sample_prior(model, 4, 5, seed=3), latent.sample_prior(model, 4, 5, seed=3))
    assert not torch.equal(latent.sample_prior(model, 4, 5, seed=3), latent.sample_prior(model, 4, 5, seed=4))


def test_a_latent_map_is_read_like_a_figure():
    """z1 grows to the right and z2 upwards."""
    model = models.build(TrainingConfig(arch="linear", latent_dim=2, encoder_widths=(8,))).eval()
    grid = latent.latent_map(model, steps=5, extent=2.0)
    assert grid.shape == (5, 5, 28, 28)
    for row, column, z in ((0, 0, (-2, 2)), (0, 4, (2, 2)), (4, 0, (-2, -2)), (2, 3, (1, 0))):
        torch.testing.assert_close(grid[row, column], latent.decode(model, torch.tensor([z], dtype=torch.float))[0])


@pytest.mark.parametrize("arch", ["linear", "conv", "convbn"])
def test_only_two_dimensions_have_a_map(arch):
    with pytest.raises(InputError, match="needs latent_dim 2, this model has 3"):
        latent.latent_map(models.build(TrainingConfig(arch=arch, latent_dim=3)).eval())


@pytest.mark.parametrize("steps", [1, 2, 15])
def test_a_quantile_map_has_scipys_quantiles(steps):
    places = latent.places(steps, extent=None)
    np.testing.assert_allclose(places, stats.norm.ppf((np.arange(steps) + 0.5) / steps), atol=1e-12)
    # each place stands for the same share of the prior
    edges = stats.norm.ppf(np.arange(steps + 1) / steps)
    assert ((edges[:-1] < places) & (places < edges[1:])).all()


def test_a_quantile_map_decodes_its_places():
    model = models.build(TrainingConfig(arch="linear", latent_dim=2, encoder_widths=(8,))).eval()
    grid, places = latent.latent_map(model, 4, extent=None), torch.from_numpy(latent.places(4, None)).float()
    for row, column in ((0, 0), (1, 3), (3, 2)):
        z = torch.stack([places[column], places[3 - row]])[None]
        torch.testing.assert_close(grid[row, column], latent.decode(model, z)[0])


def test_kl_by_dimension_is_torchs(generator):
    mu, logvar = torch.randn(2, 40, 3, generator=generator)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mu, (0.5 * logvar).exp()), normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(latent.kl_by_dimension(mu, logvar), expected)


def test_traversals_move_one_dimension_and_leave_the_others(generator):
    model = models.build(TrainingConfig(arch="linear", latent_dim=4, encoder_widths=(8,))).eval()
    z, values = torch.randn(4, generator=generator), torch.tensor([-3.0, 0.5, 2.0])
    pictures = latent.traversals(model, z, [2, 0], values)
    assert pictures.shape == (2, 3, 28, 28)
    moved = z.clone()
    moved[0] = 0.5
    torch.testing.assert_close(pictures[1, 1], latent.decode(model, moved[None])[0])


def test_the_dearest_dimensions_come_first(digits):
    model = models.build(TrainingConfig(arch="linear", latent_dim=6, encoder_widths=(8,))).eval()
    kl = latent.kl_by_dimension(*latent.encode(model, digits.test_images))
    pictures, names = latent.dearest_traversals(model, digits.test_images, 3, torch.linspace(-2, 2, 5), most=4)
    assert pictures.shape == (4, 5, 28, 28)
    order = np.argsort(-kl.numpy())[:4]
    assert [name.split(":")[0] for name in names] == [f"$z_{{{j + 1}}}$" for j in order]
    mu = latent.encode(model, digits.test_images[3:4])[0][0].clone()
    mu[order[0]] = -2.0
    np.testing.assert_allclose(pictures[0, 0], latent.decode(model, mu[None])[0], rtol=1e-4)


def test_the_dearest_reconstructions_of_a_class(digits):
    model = models.build(TrainingConfig(arch="linear", latent_dim=3, encoder_widths=(8,))).eval()
    gallery = latent.dearest(model, digits.test_images, digits.test_labels, count=2)
    assert gallery.shape == (10, 4, 28, 28)
    x, p = digits.test_images[:, 0].double() / 255, latent.reconstruct(model, digits.test_images).double()
    divergence = torch.distributions.kl_divergence(torch.distributions.Bernoulli(x), torch.distributions.Bernoulli(p))
    cost = divergence.flatten(1).sum(1)
    own = (digits.test_labels == 7).nonzero()[:, 0]
    worst = own[cost[own].argsort(descending=True)[:2]]
    np.testing.assert_allclose(gallery[7, ::2], x[worst])
    np.testing.assert_allclose(gallery[7, 1::2], p[worst], rtol=1e-5)


def test_the_centre_names_what_is_decoded_there():
    class Sevens:
        def probabilities(self, images):
            return torch.tensor([0.1] * 7 + [0.25, 0.05, 0.0]).expand(len(images), -1)

    model = models.build(TrainingConfig(arch="linear", latent_dim=3, encoder_widths=(8,))).eval()
    assert latent.centre(model, 3, Sevens()) == "7 (25%)"
