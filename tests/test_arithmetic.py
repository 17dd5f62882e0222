import pytest

from vaelib.config import ARCHS, TrainingConfig
from vaelib.models import count_of
from vaelib.results import arithmetic

SHAPE = (8, 8)


def small(arch, *encoder_widths, **settings):
    defaults = dict(preset="textbook", norm="none", blocks=0, latent_dim=2)
    return TrainingConfig(arch=arch, encoder_widths=encoder_widths, **defaults | settings)


def test_the_multiplications_of_a_fully_connected_model_are_the_weights_of_its_layers():
    found = arithmetic(small("linear", 6, 5, latent_dim=3, blocks=1), SHAPE)
    encoder, decoder = 64 * 6 + 6 * 5 + 5 * 6, 3 * 5 + 5 * 5 + 5 * 6 + 6 * 64
    biases = 6 + 5 + 6 + 5 + 5 + 6 + 64
    assert found == {
        "parameters": encoder + decoder + biases,
        "conv_parameters": 0,
        "multiplications": encoder + decoder,
        "conv_multiplications": 0,
    }


def test_a_convolution_multiplies_by_each_weight_at_each_place():
    """One width takes an 8x8 image apart into 2x2 places of 16 channels, and makes 5 channels of them."""
    places, to_five, within, from_five = 4, 16 * 5 * 9, 5 * 5 * 9, 5 * 16 * 9
    connected = (5 * places) * 7 + 7 * 4 + 2 * 7 + 7 * (5 * places)
    found = arithmetic(small("conv", 5, hidden_widths=(7,), blocks=1), SHAPE)
    kernels = to_five + within + from_five
    assert found["multiplications"] == places * kernels + connected
    assert found["conv_multiplications"] == places * kernels
    assert found["conv_parameters"] == kernels + 5 + 5 + 16
    assert found["parameters"] == found["conv_parameters"] + connected + 7 + 4 + 7 + 5 * places


def test_a_strided_convolution_counts_the_zeros_that_it_is_computed_with():
    """Two widths, 3 and 5: the outer layers of 4x4 weights run as 3x3 ones over four channels, at 4x4 places."""
    found = arithmetic(small("conv", 3, 5), SHAPE)
    outer = 16 * (3 * 4 * 9)
    down, up = 4 * (3 * 5 * 16), 4 * (5 * 3 * 16)
    assert found["conv_multiplications"] == outer + down + up + outer
    assert found["conv_parameters"] == 3 * 16 + 3 + 3 * 5 * 16 + 5 + 5 * 3 * 16 + 3 + 3 * 16 + 1


@pytest.mark.parametrize("arch", ARCHS)
def test_any_architecture_is_counted_in_its_parts(arch):
    config = TrainingConfig(arch=arch, latent_dim=10)
    found = arithmetic(config)
    assert found["parameters"] == count_of(config)
    assert 0 <= found["conv_parameters"] < found["parameters"]
    assert 0 <= found["conv_multiplications"] < found["multiplications"]


def test_norms_and_activations_are_not_counted():
    plain, normed = (small("conv", 5, hidden_widths=(7,), norm=norm) for norm in ("none", "layer"))
    assert arithmetic(plain, SHAPE)["multiplications"] == arithmetic(normed, SHAPE)["multiplications"]
