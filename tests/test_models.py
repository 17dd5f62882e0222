import itertools
import math

import pytest
import torch

from vaelib import InputError, models
from vaelib.config import ARCHS


def dense(sizes):
    return sum((before + 1) * after for before, after in itertools.pairwise(sizes))


@pytest.mark.parametrize("d", [2, 10, 50])
def test_linear_parameters_follow_the_formula(d):
    model = models.build("linear", d, (512, 256), (128,))
    assert models.count_parameters(model) == dense([784, 512, 256, 2 * d]) + dense([d, 128, 784])


def test_the_textbook_linear_model_has_its_known_size():
    """784-400-20 of pytorch/examples."""
    assert models.count_parameters(models.build("linear", 20)) == 652_824


@pytest.mark.parametrize("d", [2, 10, 50])
def test_conv_parameters_follow_the_formula(d):
    a, b, features = 8, 32, 32 * 7 * 7
    encoder = (16 + 1) * a + (16 * a + 1) * b + dense([features, 128, 2 * d])
    decoder = dense([d, 128, features]) + 16 * b * a + a + (9 * a + 1) * 4
    assert models.count_parameters(models.build("conv", d)) == encoder + decoder


def test_convbn_parameters_follow_the_formula():
    d, a, b, features = 5, 32, 64, 64 * 7 * 7
    encoder = (9 + 1) * a + 2 * a + (9 * a + 1) * b + 2 * b + dense([features, 256, 2 * d])
    decoder = dense([d, 256, features]) + 2 * b + 16 * b * a + a + 2 * a + (9 * a + 1) * 4
    assert models.count_parameters(models.build("convbn", d)) == encoder + decoder


@pytest.mark.parametrize("arch", ARCHS)
def test_parameter_table_sums_to_the_count(arch):
    model = models.build(arch, 3)
    assert sum(row[2] for row in models.parameter_table(model)) == models.count_parameters(model)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("widths", [(), (24,), (24, 8)])
def test_shapes_hold_at_a_last_partial_batch(arch, widths):
    model = models.build(arch, 4, widths).eval()
    for batch in (8, 3, 1):
        logits, mu, logvar = model(torch.rand(batch, 1, 28, 28), torch.randn(batch, 4))
        assert logits.shape == (batch, 1, 28, 28)
        assert mu.shape == logvar.shape == (batch, 4)


def test_the_sub_pixel_layer_can_do_what_a_transposed_convolution_does(generator):
    """Each of the four phases of a k4 s2 p1 transposed convolution is a 3x3 convolution with some zeros."""
    transposed = torch.nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1)
    convolution, shuffle = models.to_image(8)
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.bias[:] = transposed.bias
        for row, column in itertools.product((0, 1), repeat=2):
            rows, columns = ((slice(0, 2), (3, 1)) if phase == 0 else (slice(1, 3), (2, 0)) for phase in (row, column))
            taps = transposed.weight[:, 0][:, list(rows[1])][:, :, list(columns[1])]
            convolution.weight[2 * row + column, :, rows[0], columns[0]] = taps
    x = torch.randn(3, 8, 14, 14, generator=generator)
    torch.testing.assert_close(shuffle(convolution(x)), transposed(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_decoder_is_not_one_affine_map(arch):
    decode = models.build(arch, 3).eval().decode
    a, b = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    middle = (decode(a) + decode(b)) / 2
    assert not torch.allclose(decode((a + b) / 2), middle, atol=1e-4)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_output_starts_at_the_mean_pixel(arch):
    model = models.build(arch, 3, pixel_mean=0.13)
    bias = list(model.decoder.parameters())[-1]
    assert bias.ndim == 1
    torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, 0.13))


def test_z_is_mu_plus_sigma_eps():
    model = models.build("linear", 3)
    x, eps = torch.rand(4, 1, 28, 28), torch.randn(4, 3)
    logits, mu, logvar = model(x, eps)
    torch.testing.assert_close(logits, model.decode(mu + logvar.exp().sqrt() * eps))


def test_a_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, same, other = (models.build("conv", 2, seed=seed).encoder[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_arch_is_refused():
    with pytest.raises(InputError, match=r"'resnet'.*linear, conv, convbn"):
        models.build("resnet", 2)


def test_the_mean_pixel_is_a_probability():
    assert math.isclose(models.build("linear", 2).decoder[-2].bias.sigmoid().mean().item(), 0.5)
