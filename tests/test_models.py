import itertools

import pytest
import torch

from vaelib import InputError, layers, models
from vaelib.config import TrainingConfig
from vaelib.settings import ARCHS, PRESETS


def built(arch="linear", latent_dim=2, **settings):
    return models.build(TrainingConfig(arch=arch, latent_dim=latent_dim, **settings))


def dense(sizes):
    return sum((before + 1) * after for before, after in itertools.pairwise(sizes))


@pytest.mark.parametrize("d", [2, 10, 50])
def test_linear_parameters_follow_the_formula(d):
    model = built("linear", d, encoder_widths=(512, 256), decoder_widths=(128,), blocks=2, norm="layer")
    norms = 2 * (512 + 256 + 128) + 2 * 2 * 128  # two for each width, the same again for each residual layer
    residual = 2 * dense([128, 128])
    expected = dense([784, 512, 256, 2 * d]) + dense([d, 128, 784]) + norms + residual
    assert models.count_parameters(model) == expected


def test_the_textbook_linear_model_has_its_known_size():
    """784-400-20 of pytorch/examples."""
    assert models.count_parameters(built("linear", 20, preset="textbook")) == 652_824


@pytest.mark.parametrize("d", [2, 10, 50])
def test_textbook_conv_parameters_follow_the_formula(d):
    a, b, features = 32, 64, 64 * 7 * 7
    encoder = (16 + 1) * a + (16 * a + 1) * b + dense([features, 2 * d])
    decoder = dense([d, features]) + 16 * b * a + a + 16 * a + 1
    assert models.count_parameters(built("conv", d, preset="textbook")) == encoder + decoder


@pytest.mark.parametrize("d", [2, 10, 50])
def test_conv_of_patches_parameters_follow_the_formula(d):
    c, features = 24, 24 * 7 * 7
    encoder = (16 * 9 + 1) * c + dense([features, 80, 40, 2 * d]) + 2 * (c + 80 + 40)
    decoder = dense([d, 40, 80, features]) + (9 * c + 1) * 16 + 2 * (c + 80 + 40)
    residual = 3 * ((9 * c + 1) * c + 2 * c)
    model = built("conv", d, encoder_widths=[c], hidden_widths=[80, 40], blocks=3, norm="layer")
    assert models.count_parameters(model) == encoder + decoder + residual


@pytest.mark.parametrize("arch", ARCHS)
def test_residual_layers_begin_as_the_identity(arch):
    """With residual layers a decoder starts as without: the same function, if the other weights are the same."""
    plain, deep = built(arch, 3, blocks=0).eval(), built(arch, 3, blocks=2).eval()
    kept = [layer for layer in deep.decoder if not isinstance(layer, layers.Residual)]
    assert len(kept) == len(deep.decoder) - 2
    for layer, twin in zip(kept, plain.decoder, strict=True):
        layer.load_state_dict(twin.state_dict())
    z = torch.randn(4, 3)
    with torch.no_grad():
        torch.testing.assert_close(deep.decode(z), plain.decode(z))


def test_convbn_parameters_follow_the_formula():
    d, a, b, features = 5, 32, 64, 64 * 7 * 7
    encoder = (9 + 1) * a + 2 * a + (9 * a + 1) * b + 2 * b + dense([features, 256, 2 * d]) + 2 * 256
    decoder = dense([d, 256, features]) + 2 * 256 + 2 * b + 16 * b * a + a + 2 * a + 16 * a + 1
    assert models.count_parameters(built("convbn", d)) == encoder + decoder


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("arch", ["linear", "conv"])
def test_a_cell_of_the_grid_stays_below_a_million_and_a_half_parameters(arch, preset):
    assert models.count_parameters(built(arch, 50, preset=preset)) < 1_500_000


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("latent_dim", [2, 50])
@pytest.mark.parametrize("budget", [88_645, 404_244, 1_000_000])
def test_a_parameter_budget_is_met_within_two_percent(arch, latent_dim, budget):
    config = models.match_parameters(arch, latent_dim, budget)
    assert abs(models.count_parameters(models.build(config)) - budget) <= 0.02 * budget
    assert (config.arch, config.latent_dim) == (arch, latent_dim)


def test_a_matched_model_keeps_the_settings_asked_for():
    config = models.match_parameters("linear", 2, 50_000, preset="textbook", seed=3)
    assert (config.preset, config.seed, len(config.encoder_widths)) == ("textbook", 3, 1)


def test_a_budget_near_the_widest_is_met():
    assert models.match_parameters("linear", 2, 40_000_000).encoder_widths[0] > 4096


@pytest.mark.parametrize("budget", [10, 10**12])
def test_a_budget_out_of_reach_is_refused(budget):
    with pytest.raises(InputError, match=f"budget {budget:,}"):
        models.match_parameters("linear", 2, budget)


@pytest.mark.parametrize("arch", ARCHS)
def test_parameter_table_sums_to_the_count(arch):
    model = built(arch, 3)
    assert sum(row[2] for row in models.parameter_table(model)) == models.count_parameters(model)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("widths", [None, (24,), (24, 8)])
@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_shapes_hold_at_a_last_partial_batch(arch, widths, norm):
    model = built(arch, 4, encoder_widths=widths, norm=norm, blocks=1).eval()
    for batch in (8, 3, 1):
        logits, mu, logvar = model(torch.rand(batch, 1, 28, 28), torch.randn(batch, 4))
        assert logits.shape == (batch, 1, 28, 28)
        assert mu.shape == logvar.shape == (batch, 4)


@pytest.mark.parametrize(
    ("layer", "plain", "shape"),
    [
        (layers.Halve(5), torch.nn.Conv2d.forward, (3, 1, 28, 28)),
        (layers.Double(5), torch.nn.ConvTranspose2d.forward, (3, 5, 14, 14)),
    ],
)
def test_a_layer_in_another_form_is_the_same_function_of_the_same_weights(layer, plain, shape, generator):
    results = []
    for forward in (layer.forward, lambda x: plain(layer, x)):
        x = torch.randn(shape, generator=generator.manual_seed(0)).requires_grad_()
        y = forward(x)
        weights = torch.randn(y.shape, generator=generator.manual_seed(1))
        results.append([y, *torch.autograd.grad((y * weights).sum(), [x, layer.weight, layer.bias])])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_map_of_a_vector_is_its_inverse_and_copies_nothing(generator):
    h = torch.randn(2, 6 * 49, generator=generator)
    x = layers.ToMap(6)(h)
    assert x.shape == (2, 6, 7, 7)
    assert x.is_contiguous(memory_format=torch.channels_last)
    back = layers.FromMap()(x)
    assert torch.equal(back, h)
    assert back.data_ptr() == h.data_ptr()


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
    # the gradient of the last convolution comes through the shuffle to the image, where there is one channel
    assert len(seen) >= 6
    assert all(forward == backward for forward, backward in seen[1:])


@pytest.mark.parametrize("arch", ARCHS)
def test_the_decoder_is_not_one_affine_map(arch):
    decode = built(arch, 3).eval().decode
    a, b = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    middle = (decode(a) + decode(b)) / 2
    assert not torch.allclose(decode((a + b) / 2), middle, atol=1e-4)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_output_starts_at_the_mean_pixel_where_that_is_asked_for(arch, preset):
    model = models.build(TrainingConfig(arch=arch, preset=preset, output_bias="mean"), pixel_mean=0.13)
    bias = list(model.decoder.parameters())[-1]
    assert bias.ndim == 1
    torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, 0.13))


def test_z_is_mu_plus_sigma_eps():
    model = built("linear", 3)
    x, eps = torch.rand(4, 1, 28, 28), torch.randn(4, 3)
    logits, mu, logvar = model(x, eps)
    torch.testing.assert_close(logits, model.decode(mu + logvar.exp().sqrt() * eps))


def test_a_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, same, other = (built("conv", 2, seed=seed).encoder[1].weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
