import pytest
import torch

from vaelib.config import TrainingConfig
from vaelib.models import layers


@pytest.mark.parametrize(
    ("layer", "plain", "shape"),
    [
        (layers.Halve(5), torch.nn.Conv2d.forward, (3, 1, 28, 28)),
        (layers.Halve(5), torch.nn.Conv2d.forward, (3, 1, 8, 8)),
        (layers.Double(5), torch.nn.ConvTranspose2d.forward, (3, 5, 14, 14)),
        (layers.Double(5), torch.nn.ConvTranspose2d.forward, (3, 5, 32, 32)),
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


@pytest.mark.parametrize("side", [2, 7, 16])
def test_the_map_of_a_vector_is_its_inverse_and_copies_nothing(side, generator):
    h = torch.randn(2, 6 * side**2, generator=generator)
    x = layers.ToMap(6)(h)
    assert x.shape == (2, 6, side, side)
    assert x.is_contiguous(memory_format=torch.channels_last)
    back = layers.FromMap()(x)
    assert torch.equal(back, h)
    assert back.data_ptr() == h.data_ptr()


def test_nothing_follows_the_last_fully_connected_layer():
    stack = layers.dense(TrainingConfig(norm="batch", activation="silu"), 12, 8, 4)
    assert [type(layer).__name__ for layer in stack] == ["Linear", "BatchNorm1d", "SiLU", "Linear"]
    assert [(layer.in_features, layer.out_features) for layer in (stack[0], stack[-1])] == [(12, 8), (8, 4)]


def test_the_group_norm_of_a_map_is_layer_norm_over_channels_and_places(generator):
    norm, _ = layers.between(TrainingConfig(norm="layer"), 6, dims=2)
    x = torch.randn(3, 6, 4, 4, generator=generator)
    torch.testing.assert_close(norm(x), torch.nn.functional.layer_norm(x, x.shape[1:]))
