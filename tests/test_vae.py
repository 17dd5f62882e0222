import numpy as np
import pytest
import torch
from scipy import stats

from vaelib.config import ARCHS, InputError, TrainingConfig
from vaelib.models import build, vae


def small(latent_dim=3, side=28, arch="linear"):
    return build(TrainingConfig(arch=arch, latent_dim=latent_dim, encoder_widths=(8,)), (side, side)).eval()


@pytest.fixture(scope="module")
def forms():
    """The same 20 images of 12x12 in every form that is taken."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 12, 12), dtype=np.uint8)
    grey = pixels.astype(np.float32) / 255
    return [
        pixels,
        pixels[:, None],
        torch.from_numpy(pixels),
        torch.from_numpy(pixels)[:, None],
        grey,
        grey.astype(np.float64)[:, None],
        torch.from_numpy(grey),
        torch.from_numpy(grey)[:, None].double(),
        torch.from_numpy(grey).requires_grad_(),
    ]


def test_z_is_mu_plus_sigma_eps():
    model = build(TrainingConfig(latent_dim=3))
    x, eps = torch.rand(4, 1, 28, 28), torch.randn(4, 3)
    logits, mu, logvar = model(x, eps)
    torch.testing.assert_close(logits, model.logits(mu + logvar.exp().sqrt() * eps))


def test_a_batch_has_gradients():
    model = build(TrainingConfig(latent_dim=3))
    mu, logvar = model.posterior(torch.rand(4, 1, 28, 28))
    model.logits(mu + logvar).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("arch", ARCHS)
def test_images_are_taken_in_every_form_alike(arch, forms):
    model = small(side=12, arch=arch)
    with torch.no_grad():
        x = torch.from_numpy(forms[1]).float() / 255
        mu, logvar = model.posterior(x)
        pictures = model.logits(mu).sigmoid()[:, 0]
    for images in forms:
        torch.testing.assert_close(model.encode(images), (mu, logvar), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.reconstruct(images), pictures, rtol=1e-4, atol=1e-5)


def test_codes_are_taken_in_every_form_alike(generator):
    model, z = small(), torch.randn(5, 3, generator=generator)
    expected = model.decode(z)
    for codes in (z.double(), z.numpy(), z.numpy().astype(np.float64), z.clone().requires_grad_()):
        assert torch.equal(model.decode(codes), expected)


@pytest.mark.parametrize("images", [np.zeros((2, 28, 28), np.uint8), torch.zeros(2, 1, 8, 8)])
def test_images_of_another_size_are_refused_in_one_line(images):
    model, side = small(side=12), images.shape[-1]
    for function in (model.encode, model.reconstruct):
        with pytest.raises(InputError, match=f"images of {side}x{side} pixels: .* of 12x12") as caught:
            function(images)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("images", [np.zeros((2, 28, 28), int), np.full((2, 28, 28), 7.0), torch.zeros(2, 3, 28, 28)])
def test_what_is_no_set_of_grey_images_is_refused(images):
    with pytest.raises(InputError, match="accepted"):
        small().encode(images)


def test_encoding_a_set_is_encoding_each_image(digits, monkeypatch):
    model, images = small(arch="conv"), digits.test_images[:20]
    monkeypatch.setattr(vae, "BATCH", 7)
    mu, logvar = model.encode(images)
    with torch.no_grad():
        expected = model.posterior(images.float() / 255)
    torch.testing.assert_close((mu, logvar), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.reconstruct(images), torch.cat([model.reconstruct(image) for image in images]))


def test_codes_can_be_learnt_from(digits):
    """A linear probe on mu: codes are ordinary tensors, without gradients of their own."""
    mu, logvar = small().encode(digits.test_images[:50])
    assert not mu.requires_grad
    assert not logvar.requires_grad
    probe = torch.nn.Linear(3, 10)
    loss = torch.nn.functional.cross_entropy(probe(mu), digits.test_labels[:50])
    loss.backward()
    # This is the gradient of softmax regression in closed form.
    error = probe(mu).detach().softmax(1) - torch.nn.functional.one_hot(digits.test_labels[:50], 10)
    torch.testing.assert_close(probe.weight.grad, error.T @ mu / 50)
    mu += 1  # A code may be changed in place.


def test_pictures_can_be_learnt_from(digits):
    pictures = small().reconstruct(digits.test_images[:5])
    scale = torch.ones((), requires_grad=True)
    (scale * pictures).sum().backward()
    torch.testing.assert_close(scale.grad, pictures.sum())


def test_decoding_gives_probabilities():
    model = small()
    z = 5 * torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = 1 / (1 + np.exp(-model.logits(z)[:, 0].numpy()))
    decoded = model.decode(z)
    assert decoded.dtype == torch.float32
    np.testing.assert_allclose(decoded, expected, rtol=1e-5)


def test_decoding_does_not_depend_on_its_batches(monkeypatch):
    model, z = small(), torch.randn(11, 3)
    whole = model.decode(z)
    monkeypatch.setattr(vae, "BATCH", 4)
    torch.testing.assert_close(model.decode(z), whole)


def test_a_reconstruction_is_the_picture_of_the_mean_code(digits):
    model, images = small(), digits.test_images[:6]
    assert torch.equal(model.reconstruct(images), model.decode(model.encode(images)[0]))


def test_samples_are_decoded_standard_normals(monkeypatch):
    model = small(latent_dim=4, side=12)
    seen, logits = [], model.logits
    monkeypatch.setattr(model, "logits", lambda z: (seen.append(z), logits(z))[1])
    images = model.sample(2000, seed=3)
    assert images.shape == (2000, 12, 12)
    codes = torch.cat(seen)
    assert codes.shape == (2000, 4)
    assert stats.kstest(codes.flatten().numpy(), "norm").pvalue > 0.001
    assert torch.equal(images, model.decode(codes))


def test_a_seed_decides_the_samples_and_leaves_the_global_generator_alone():
    model, state = small(), torch.get_rng_state()
    assert torch.equal(model.sample(5, seed=3), model.sample(5, seed=3))
    assert not torch.equal(model.sample(5, seed=3), model.sample(5, seed=4))
    assert torch.equal(model.sample(5), model.sample(5, seed=0))
    assert torch.equal(torch.get_rng_state(), state)
