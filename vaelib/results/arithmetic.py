"""How much a model computes for one image, and which share of its weights and of its arithmetic is convolution."""

import torch
from torch.nn.modules.conv import _ConvNd

from vaelib.config import TrainingConfig
from vaelib.models import build, count_parameters


def arithmetic(config: TrainingConfig, shape: tuple[int, int] = (28, 28)) -> dict[str, int]:
    """What the config's model has, and what it computes to encode and decode one image of that shape (h, w).

    multiplications are the multiply-adds of matrix products and convolutions, beside which activations and norms are
    little; conv_parameters and conv_multiplications are the part that convolutions have of parameters and of
    multiplications. What is counted is what is computed: layers.Halve and layers.Double multiply by some zeros.
    Nothing is allocated and no weights are needed.
    """
    from torch.utils.flop_counter import FlopCounterMode  # a quarter of a second to import: only where it is used

    with torch.device("meta"):
        model = build(config, shape).eval()  # In training a batch norm refuses a single image.
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            mu, _ = model.posterior(torch.empty(1, 1, *shape))
            model.logits(mu)
    operations = counter.get_flop_counts()["Global"]
    convolutions = [layer for layer in model.modules() if isinstance(layer, _ConvNd)]
    return {
        "parameters": count_parameters(model),
        "conv_parameters": sum(map(count_parameters, convolutions)),
        # A multiply-add is two operations to the counter.
        "multiplications": sum(operations.values()) // 2,
        "conv_multiplications": operations.get(torch.ops.aten.convolution, 0) // 2,
    }
