import dataclasses
import itertools
import subprocess
import sys

import pytest

from vaelib import InputError
from vaelib.config import TrainingConfig, read_toml
from vaelib.settings import ARCHS, PRESETS, parse_noise

OTHER = dict(
    dataset="kmnist", arch="conv", preset="textbook", latent_dim=3, epochs=2, batch_size=63, lr=0.01, held_out=5,
    schedule="constant", seed=1, k1=2.0, k2=4.0, encoder_widths=(8,), decoder_widths=(9,), hidden_widths=(7, 6),
    blocks=2, activation="silu", norm="batch", output_bias="zero", noise="gaussian:0.3",
    precision="bfloat16", device="cpu", threads=2,
)  # fmt: skip


def test_two_configs_never_share_a_directory():
    # a preset changes other settings too, and an arch what they are by default
    alone = [pair for pair in OTHER.items() if pair[0] not in ("arch", "preset")]
    changes = [dict(pairs) for n in range(3) for pairs in itertools.combinations(alone, n)]
    paths = [TrainingConfig(**({"arch": "conv"} | change)).run_path for change in changes]
    assert len(set(paths)) == len(changes) > 100


def test_every_setting_that_decides_the_weights_is_in_the_example_above():
    assert set(OTHER) == set(TrainingConfig().settings())


def test_where_files_lie_does_not_name_a_run():
    assert TrainingConfig(data_root="x").settings() == TrainingConfig().settings()


def test_close_values_have_names_of_their_own():
    names = {TrainingConfig(lr=lr).run_name for lr in (0.001, 0.0010000001, 0.0010000002)}
    assert len(names) == 3


def test_widths_are_resolved_when_they_are_asked_for():
    """A later default must not change what a stored config means."""
    config = TrainingConfig(arch="conv")
    own = PRESETS["tuned"]["conv"]
    assert config.settings()["encoder_widths"] == list(own["encoder_widths"])
    assert config == TrainingConfig(arch="conv", encoder_widths=own["encoder_widths"], lr=own["lr"])
    assert config.run_name == "conv-d2-s0"
    assert TrainingConfig(encoder_widths=[3, 4, 5]).decoder_widths == (5, 4, 3)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fills_in_what_is_not_given_and_is_named(preset, arch):
    config = TrainingConfig(arch=arch, preset=preset)
    assert {name: getattr(config, name) for name in PRESETS[preset][arch]} == PRESETS[preset][arch]
    assert config.run_name == f"{arch}-d2-s0" + ("" if preset == "tuned" else "-textbook")
    assert TrainingConfig(arch=arch, preset=preset, lr=0.5).run_name.endswith("-lr0.5")


def test_a_value_of_another_preset_is_named():
    config = TrainingConfig(arch="conv", norm="none", hidden_widths=[])
    assert config.run_name == "conv-d2-s0-hidden_widthsnone-normnone"
    assert config != TrainingConfig(arch="conv", norm="none")


def test_the_measured_split_follows_what_is_held_out():
    assert TrainingConfig().measured == "test"
    assert TrainingConfig(held_out=10).measured == "validation"


def test_a_noise_has_one_spelling_and_a_name_without_a_colon():
    config = TrainingConfig(noise="salt-pepper: 0.10")
    assert config.noise == "salt-pepper:0.1"
    assert config.run_name == "linear-d2-s0-noisesalt-pepper0.1"


def test_a_cell_is_named_once():
    config = TrainingConfig(arch="conv", latent_dim=10)
    assert config.cell_id == config.run_name == "conv-d10-s0"
    assert str(TrainingConfig(epochs=3, encoder_widths=[512, 8]).run_path) == (
        "runs/mnist/linear-d2-s0-epochs3-encoder_widths512.8"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dataset", "cifar"), ("arch", "resnet"), ("latent_dim", 0), ("latent_dim", 10_000), ("latent_dim", 2.5),
        ("latent_dim", "2"), ("latent_dim", True),
        ("latent_dim", 10**400), ("k1", 10**400), ("encoder_widths", [10**400]),
        ("epochs", 0), ("batch_size", -1), ("lr", 0), ("lr", float("nan")),
        ("k1", 0), ("k1", -1), ("k1", float("nan")), ("k2", -0.1), ("k2", float("inf")), ("seed", -1),
        ("encoder_widths", [0]), ("encoder_widths", "512"), ("decoder_widths", [1] * 9), ("noise", "salt:0.1"),
        ("noise", "salt-pepper:2"), ("noise", "gaussian"), ("noise", "gaussian:nan"), ("precision", "float16"),
        ("device", "tpu"), ("threads", 0),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_what_is_accepted(name, value):
    with pytest.raises(InputError, match=rf"{name} .*accepted") as caught:
        TrainingConfig(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            dict(arch="conv", encoder_widths=[8, 16, 32]),
            r"encoder_widths \[8, 16, 32\]: accepted is one width .* for conv",
        ),
        (dict(arch="conv", decoder_widths=[]), r"decoder_widths \[\]: accepted is one width"),
        (dict(encoder_widths=[]), r"encoder_widths \[\]: accepted is 1 to 8 widths for linear"),
        (dict(hidden_widths=[5]), r"hidden_widths \[5\]: linear has none, give encoder_widths"),
    ],
)
def test_values_that_do_not_go_together_are_refused(settings, said):
    with pytest.raises(InputError, match=said):
        TrainingConfig(**settings)


def test_an_unknown_key_is_refused():
    with pytest.raises(InputError, match=r"'z_dim'.*latent_dim"):
        TrainingConfig.from_mapping({"z_dim": 2})


def test_whole_numbers_serve_as_floats_and_lists_as_widths():
    config = TrainingConfig(k1=2, encoder_widths=[8, 4])
    assert config.k1 == 2.0
    assert isinstance(config.k1, float)
    assert config.encoder_widths == (8, 4)


def test_settings_survive_json():
    config = TrainingConfig(**OTHER)
    assert TrainingConfig.from_mapping(config.settings()) == config


def test_a_toml_file_gives_settings(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('arch = "conv"\nencoder_widths = [8, 16]\nk2 = 4\n')
    assert TrainingConfig.from_mapping(read_toml(file)).encoder_widths == (8, 16)
    file.write_text("arch = ")
    with pytest.raises(InputError, match="no TOML"):
        read_toml(file)


def test_a_notebook_with_an_unknown_parameter_is_refused():
    with pytest.raises(InputError, match=r"unknown parameter 'latent_dims': accepted are dataset, arch, preset"):
        TrainingConfig.from_notebook({"epochs": 2, "latent_dims": 5, "In": [], "Out": {}, "_": 3, "len": len})


def test_a_readers_own_names_are_let_be_once_the_config_is_there():
    before = {"epochs": 2, "TrainingConfig": TrainingConfig}
    config = TrainingConfig.from_notebook(before)
    assert TrainingConfig.from_notebook(before | {"config": config, "mine": 5, "epochs": 3}).epochs == 3


def test_noise_is_a_kind_and_a_level():
    assert parse_noise("salt-pepper:0.1") == ("salt-pepper", 0.1)


def test_every_setting_has_help_and_a_default_in_its_range():
    for field in dataclasses.fields(TrainingConfig):
        assert field.metadata["help"]
        assert field.default is None or getattr(TrainingConfig(), field.name) == field.default


def test_settings_are_checked_without_importing_torch():
    program = "import sys, vaelib.config, vaelib.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
