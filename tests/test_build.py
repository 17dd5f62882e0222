import pytest
import torch

from vaelib.config import ARCHS, PRESETS, InputError, TrainingConfig
from vaelib.models import build, count_parameters, match_parameters, parameter_table


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("latent_dim", [2, 50])
@pytest.mark.parametrize("budget", [88_645, 404_244, 1_000_000])
def test_a_parameter_budget_is_met_within_two_percent(arch, latent_dim, budget):
    config = match_parameters(arch, latent_dim, budget)
    assert abs(count_parameters(build(config)) - budget) <= 0.02 * budget
    assert (config.arch, config.latent_dim) == (arch, latent_dim)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("side", [8, 64])
def test_a_budget_is_met_at_the_images_own_size(arch, side):
    config = match_parameters(arch, 3, 300_000, (side, side))
    assert abs(count_parameters(build(config, (side, side))) - 300_000) <= 6_000
    assert abs(count_parameters(build(config)) - 300_000) > 6_000


def test_a_matched_model_keeps_the_settings_asked_for():
    config = match_parameters("linear", 2, 50_000, preset="textbook", seed=3)
    assert (config.preset, config.seed, len(config.encoder_widths)) == ("textbook", 3, 1)


def test_a_budget_near_the_widest_is_met():
    assert match_parameters("linear", 2, 40_000_000).encoder_widths[0] > 4096


@pytest.mark.parametrize("budget", [10, 10**12])
def test_a_budget_out_of_reach_is_refused(budget):
    with pytest.raises(InputError, match=f"budget {budget:,}"):
        match_parameters("linear", 2, budget)


@pytest.mark.parametrize("arch", ARCHS)
def test_parameter_table_sums_to_the_count(arch):
    model = build(TrainingConfig(arch=arch, latent_dim=3))
    assert sum(row[2] for row in parameter_table(model)) == count_parameters(model)


def test_what_is_frozen_is_not_counted():
    model = build(TrainingConfig(encoder_widths=(8,)))
    frozen = model.encoder[1].requires_grad_(False)
    whole = sum(p.numel() for p in model.parameters())
    assert count_parameters(model) == whole - frozen.weight.numel() - frozen.bias.numel()
    assert "encoder.1" not in [row[0] for row in parameter_table(model)]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_output_starts_at_the_mean_pixel_where_that_is_asked_for(arch, preset):
    model = build(TrainingConfig(arch=arch, preset=preset, output_bias="mean"), pixel_mean=0.13)
    bias = list(model.decoder.parameters())[-1]
    assert bias.ndim == 1
    torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, 0.13))


def test_a_model_knows_its_latent_dim_and_shape():
    model = build(TrainingConfig(latent_dim=5, encoder_widths=(8,)), (12, 12))
    assert (model.latent_dim, model.shape) == (5, (12, 12))


def test_a_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    first, same, other = (build(TrainingConfig(arch="conv", seed=seed)).encoder[1].weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
