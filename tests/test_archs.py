import itertools

import pytest
import torch
from torch.distributions import Bernoulli, Independent

from vaelib.config import ARCHS, PRESETS, TrainingConfig
from vaelib.models import build, count_parameters, layers, log_likelihood

SIDES = [8, 28, 32, 64]


def built(arch="linear", latent_dim=2, side=28, **settings):
    return build(TrainingConfig(arch=arch, latent_dim=latent_dim, **settings), (side, side))


def dense(sizes):
    """Parameters of fully connected layers of these sizes: a weight for each pair, a bias for each output."""
    return sum((before + 1) * after for before, after in itertools.pairwise(sizes))


@pytest.mark.parametrize("d", [2, 50])
@pytest.mark.parametrize("side", SIDES)
def test_linear_parameters_follow_the_formula(side, d):
    model = built("linear", d, side, encoder_widths=(512, 256), decoder_widths=(128,), blocks=2, norm="layer")
    norms = 2 * (512 + 256 + 128) + 2 * 2 * 128  # two for each width, the same again for each residual layer
    residual = 2 * dense([128, 128])
    expected = dense([side**2, 512, 256, 2 * d]) + dense([d, 128, side**2]) + norms + residual
    assert count_parameters(model) == expected


def test_the_textbook_linear_model_has_its_known_size():
    """784-400-20 of pytorch/examples."""
    assert count_parameters(built("linear", 20, preset="textbook")) == 652_824


@pytest.mark.parametrize("d", [2, 50])
@pytest.mark.parametrize("side", SIDES)
def test_textbook_conv_parameters_follow_the_formula(side, d):
    a, b = 32, 64
    features = b * (side // 4) ** 2
    encoder = (16 + 1) * a + (16 * a + 1) * b + dense([features, 2 * d])
    decoder = dense([d, features]) + 16 * b * a + a + 16 * a + 1
    assert count_parameters(built("conv", d, side, preset="textbook")) == encoder + decoder


@pytest.mark.parametrize("d", [2, 50])
@pytest.mark.parametrize("side", SIDES)
def test_conv_of_patches_parameters_follow_the_formula(side, d):
    c = 24
    features = c * (side // 4) ** 2
    encoder = (16 * 9 + 1) * c + dense([features, 80, 40, 2 * d]) + 2 * (c + 80 + 40)
    decoder = dense([d, 40, 80, features]) + (9 * c + 1) * 16 + 2 * (c + 80 + 40)
    residual = 3 * ((9 * c + 1) * c + 2 * c)
    model = built("conv", d, side, encoder_widths=[c], hidden_widths=[80, 40], blocks=3, norm="layer")
    assert count_parameters(model) == encoder + decoder + residual


@pytest.mark.parametrize("side", SIDES)
def test_convbn_parameters_follow_the_formula(side):
    d, a, b = 5, 32, 64
    features = b * (side // 4) ** 2
    encoder = (9 + 1) * a + 2 * a + (9 * a + 1) * b + 2 * b + dense([features, 256, 2 * d]) + 2 * 256
    decoder = dense([d, 256, features]) + 2 * 256 + 2 * b + 16 * b * a + a + 2 * a + 16 * a + 1
    assert count_parameters(built("convbn", d, side)) == encoder + decoder


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("arch", ["linear", "conv"])
def test_a_cell_of_the_grid_stays_below_a_million_and_a_half_parameters(arch, preset):
    assert count_parameters(built(arch, 50, preset=preset)) < 1_500_000


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("widths", [None, (24,), (24, 8)])
@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_shapes_hold_at_a_last_partial_batch(arch, widths, norm):
    model = built(arch, 4, encoder_widths=widths, norm=norm, blocks=1).eval()
    for batch in (8, 3, 1):
        logits, mu, logvar = model(torch.rand(batch, 1, 28, 28), torch.randn(batch, 4))
        assert logits.shape == (batch, 1, 28, 28)
        assert mu.shape == logvar.shape == (batch, 4)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("widths", [(8,), (8, 4)])
@pytest.mark.parametrize("side", [8, 32, 64])
def test_images_of_any_accepted_size_have_a_likelihood(arch, widths, side, generator):
    model = built(arch, 3, side, encoder_widths=widths, hidden_widths=() if arch == "linear" else (16,)).eval()
    x = (torch.rand(4, 1, side, side, generator=generator) < 0.3).float()
    logits, mu, logvar = model(x, torch.randn(4, 3, generator=generator))
    assert (logits.shape, mu.shape, logvar.shape) == (x.shape, (4, 3), (4, 3))
    expected = Independent(Bernoulli(logits=logits), 3).log_prob(x)
    torch.testing.assert_close(log_likelihood(logits, x), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("arch", ARCHS)
def test_residual_layers_begin_as_the_identity(arch):
    """With residual layers a decoder starts as without: the same function, if the other weights are the same."""
    plain, deep = built(arch, 3, blocks=0).eval(), built(arch, 3, blocks=2).eval()
    kept = [layer for layer in deep.decoder if not isinstance(layer, layers.Residual)]
    assert len(kept) == len(deep.decoder) - 2
    for layer, twin in zip(kept, plain.decoder, strict=True):
        layer.load_state_dict(twin.state_dict())
    z = torch.randn(4, 3)
    torch.testing.assert_close(deep.decode(z), plain.decode(z))


@pytest.mark.parametrize("preset", PRESETS)
def test_no_layout_changes_in_a_backward_pass(preset, generator):
    """A gradient in another layout than its activation has a backward pass several times slower."""
    model = built("conv", 3, preset=preset)
    seen = []

    def watch(module, inputs, output):
        if output.ndim == 4 and output.shape[1] > 1 and output.requires_grad:
            output.register_hook(lambda gradient: seen.append((output.stride(), gradient.stride())))

    for module in model.modules():
        if not list(module.children()) and not isinstance(module, torch.nn.PixelUnshuffle):
            module.register_forward_hook(watch)
    logits, mu, _ = model(torch.rand(8, 1, 28, 28, generator=generator), torch.zeros(8, 3))
    (logits.square().sum() + mu.square().sum()).backward()
    # The gradient of the last convolution comes through the shuffle to the image, where there is one channel.
    assert len(seen) >= 6
    assert all(forward == backward for forward, backward in seen[1:])


@pytest.mark.parametrize("arch", ARCHS)
def test_the_decoder_is_not_one_affine_map(arch):
    model = built(arch, 3).eval()
    a, b = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        middle = (model.logits(a) + model.logits(b)) / 2
        assert not torch.allclose(model.logits((a + b) / 2), middle, atol=1e-4)
