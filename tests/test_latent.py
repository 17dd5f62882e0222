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
