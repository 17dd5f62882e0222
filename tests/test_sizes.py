import numpy as np
import pytest

from vaelib import sizes
from vaelib.config import ARCHS, DATASETS, InputError, TrainingConfig
from vaelib.models import build, count_parameters, match_parameters


def drawn(arch, rng):
    """A config of that architecture with settings at random."""
    widths = {
        name: rng.integers(1, 20, rng.integers(*ARCHS[arch].widths, endpoint=True))
        for name in ("encoder_widths", "decoder_widths")
    }
    widths["hidden_widths"] = rng.integers(1, 20, rng.integers(0, 3) if ARCHS[arch].hidden else 0)
    others = dict(
        latent_dim=int(rng.integers(1, 9)),
        blocks=int(rng.integers(0, 4)),
        norm=str(rng.choice(["none", "layer", "batch"])),
    )
    return TrainingConfig(arch=arch, **{name: own.tolist() for name, own in widths.items()}, **others)


@pytest.mark.parametrize("arch", sizes.COUNTS)
@pytest.mark.parametrize("side", [8, 28])
def test_a_count_is_that_of_the_built_model(arch, side):
    rng = np.random.default_rng(side)
    for config in [drawn(arch, rng) for _ in range(40)]:
        assert sizes.COUNTS[arch](config, (side, side)) == count_parameters(build(config, (side, side))), config


def test_the_architectures_of_the_published_grid_are_counted_without_building_them():
    assert {"linear", "conv"} <= set(sizes.COUNTS) <= set(ARCHS)


def test_a_config_is_scaled_by_the_count_that_is_given():
    """Of a count that is the first width alone, the width is the budget."""
    config = sizes.scaled_to(123, lambda config: config.encoder_widths[0], "linear", 2, preset="textbook")
    assert config.encoder_widths == (123,)
    with pytest.raises(InputError, match="budget 123: the nearest linear at latent_dim 2 has 7 parameters"):
        sizes.scaled_to(123, lambda config: 7, "linear", 2)


@pytest.mark.parametrize("arch", sizes.COUNTS)
def test_an_architecture_without_a_count_is_built_to_be_counted(arch, monkeypatch):
    expected = match_parameters(arch, 3, 90_000)
    monkeypatch.delitem(sizes.COUNTS, arch)
    assert match_parameters(arch, 3, 90_000) == expected


def test_the_known_sets_have_the_size_that_settings_say(digits):
    assert digits.shape == DATASETS["digits"]
