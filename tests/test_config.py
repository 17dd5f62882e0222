import dataclasses
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaelib.config import (
    ARCHS,
    DATASETS,
    FOREIGN,
    PRESETS,
    InputError,
    TrainingConfig,
    dataset_name,
    expanded,
    parse_noise,
    read_settings,
    warm_up,
)
from vaelib.models import archs

OTHER = dict(
    dataset="kmnist", arch="conv", preset="textbook", latent_dim=3, epochs=2, batch_size=63, lr=0.01, held_out=5,
    schedule="constant", seed=1, k1=2.0, k2=4.0, kl_warmup=3, encoder_widths=(8,), decoder_widths=(9,),
    hidden_widths=(7, 6), blocks=2, activation="silu", norm="batch", output_bias="zero", noise="gaussian:0.3",
    precision="bfloat16", device="cpu", threads=2,
)  # fmt: skip


def test_two_configs_never_share_a_directory():
    # A preset changes other settings too, and an arch what they are by default.
    alone = [pair for pair in OTHER.items() if pair[0] not in ("arch", "preset")]
    changes = [dict(pairs) for n in range(3) for pairs in itertools.combinations(alone, n)]
    paths = [TrainingConfig(**({"arch": "conv"} | change)).run_path for change in changes]
    assert len(set(paths)) == len(changes) > 100


def test_every_setting_that_decides_the_weights_is_in_the_example_above():
    assert set(OTHER) == set(TrainingConfig().settings())


def test_a_name_of_all_settings_fits_a_file_system_and_is_its_own(tmp_path):
    widths = dict(encoder_widths=(1001, 1002), decoder_widths=(1003, 1004), hidden_widths=(2001, 2002, 2003, 2004))
    configs = [
        TrainingConfig(**(OTHER | widths | {"runs_root": str(tmp_path), "noise": "salt-pepper:0.123456789"} | change))
        for change in ({}, {"threads": 3}, {"threads": 4}, {"hidden_widths": (2001, 2002, 2003, 2005)})
    ]
    names = [config.run_name for config in configs]
    assert len(set(names)) == 4
    for name, config in zip(names, configs, strict=True):
        assert name.startswith("conv-d3-s1-textbook-epochs2-")
        assert len(name.encode()) < 255
        assert name == dataclasses.replace(config).run_name
        config.run_path.with_name(f".{name}.next").mkdir(parents=True)  # A renewed run adds this to its name.


def test_where_files_lie_and_what_is_kept_beside_the_weights_does_not_name_a_run():
    others = dict(data_root="x", runs_root="y", name="z", keep_every=3, log_steps=True)
    assert set(others) | set(OTHER) == set(TrainingConfig.__dataclass_fields__)
    config = TrainingConfig(**others)
    assert config.settings() == TrainingConfig().settings()
    assert config.run_name == TrainingConfig().run_name
    assert config.extras() == {"keep_every": 3, "log_steps": True}


@pytest.mark.parametrize("name", ["my-experiment", "a", "A.b_c-9", "a" * 100, "-", "my-classifier"])
def test_a_name_is_the_folder_of_the_run(name):
    config = TrainingConfig(name=name, dataset="digits", epochs=3)
    assert config.run_path == Path("runs/digits") / name
    assert dataclasses.replace(config, seed=1).run_path == config.run_path
    assert config != dataclasses.replace(config, name="")
    assert TrainingConfig.from_stored(config.settings(), "runs", name) == config


def test_a_folder_that_no_run_could_have_been_given_is_no_name():
    kept = TrainingConfig().settings()
    for folder in ("", ".linear-d2-s0.next", "classifier-copy", "linear-d2-s0", "of a friend"):
        assert TrainingConfig.from_stored(kept, "runs", folder).name == ""


def test_close_values_have_names_of_their_own():
    names = {TrainingConfig(lr=lr).run_name for lr in (0.001, 0.0010000001, 0.0010000002)}
    assert len(names) == 3


def test_widths_are_resolved_when_they_are_asked_for():
    """A later default must not change what a stored config means."""
    config = TrainingConfig(arch="conv")
    own = ARCHS["conv"].presets["tuned"]
    assert config.settings()["encoder_widths"] == list(own["encoder_widths"])
    assert config == TrainingConfig(arch="conv", encoder_widths=own["encoder_widths"], lr=own["lr"])
    assert config.run_name == "conv-d2-s0"
    assert TrainingConfig(encoder_widths=[3, 4, 5]).decoder_widths == (5, 4, 3)


@pytest.mark.parametrize("arch", ARCHS)
def test_an_architecture_has_all_that_is_asked_of_it(arch):
    own = ARCHS[arch]
    left_to_presets = {field.name for field in dataclasses.fields(TrainingConfig) if field.default is None}
    assert tuple(own.presets) == PRESETS
    for preset in own.presets.values():
        assert set(preset) == left_to_presets - {"decoder_widths"}
    assert callable(getattr(archs, arch))


def test_no_two_architectures_look_alike():
    for mark in ("colour", "marker"):
        assert len({getattr(own, mark) for own in ARCHS.values()}) == len(ARCHS)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fills_in_what_is_not_given_and_is_named(preset, arch):
    config, own = TrainingConfig(arch=arch, preset=preset), ARCHS[arch].presets[preset]
    assert {name: getattr(config, name) for name in own} == own
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
        ("dataset", "cifar"), ("dataset", ""), ("dataset", 3), ("arch", "resnet"), ("latent_dim", 0),
        ("latent_dim", 10_000), ("latent_dim", 2.5), ("latent_dim", True), ("latent_dim", "0"), ("latent_dim", None),
        ("latent_dim", 10**400), ("k1", 10**400), ("encoder_widths", [10**400]), ("encoder_widths", "9" * 400),
        ("epochs", 0), ("batch_size", -1), ("lr", 0), ("lr", float("nan")), ("lr", "nan"), ("lr", "1e-9"),
        ("k1", 0), ("k1", -1), ("k1", float("nan")), ("k2", -0.1), ("k2", float("inf")), ("k2", "inf"), ("seed", -1),
        ("encoder_widths", [0]), ("encoder_widths", 9000), ("encoder_widths", [8, True]), ("decoder_widths", [1] * 9),
        ("decoder_widths", "1,2,3,4,5,6,7,8,9"), ("noise", "salt:0.1"), ("noise", "salt-pepper:2"), ("noise", 0.1),
        ("noise", "gaussian"), ("noise", "gaussian:nan"), ("schedule", "onecycle"), ("schedule", "onecycle:1"),
        ("schedule", "step"), ("precision", "float16"), ("device", "tpu"), ("threads", 0), ("preset", "best"),
        ("name", "a b"), ("name", "a/b"), ("name", ".a"), ("name", ".."), ("name", "classifier-s1"), ("name", "ä"),
        ("name", "a\n"), ("name", "a" * 101), ("name", 3), ("name", None), ("keep_every", -1), ("keep_every", True),
        ("log_steps", 1), ("log_steps", "yes"), ("log_steps", None), ("log_steps", [True]),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_what_is_accepted(name, value):
    with pytest.raises(InputError, match=rf"{name} .*accepted") as caught:
        TrainingConfig(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("latent_dim", "two", "a whole number, 1 to 4,096"),
        ("latent_dim", "2.5", "a whole number, 1 to 4,096"),
        ("epochs", [1], "a whole number, 1 to 100,000"),
        ("lr", "fast", "a number, 1e-08 to 10"),
        ("lr", True, "a number, 1e-08 to 10"),
        ("encoder_widths", "8,x", "a whole number, 1 to 8,192"),
        ("encoder_widths", {"first": 8}, r"a list of at most 8 widths, such as 512,256 or \[512, 256\]"),
        ("noise", 3, "text"),
        ("log_steps", "on", "true or false"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_the_kind(name, value, kind):
    with pytest.raises(InputError, match=f"accepted is {kind}"):
        TrainingConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "1e-3", 0.001),
        ("lr", " 0.5 ", 0.5),
        ("k1", "2", 2.0),
        ("epochs", "7", 7),
        ("encoder_widths", "8,4", (8, 4)),
        ("encoder_widths", "[8]", (8,)),
        ("encoder_widths", "[8, 4]", (8, 4)),
        ("encoder_widths", "(8, 4,)", (8, 4)),
        ("encoder_widths", ["8", "4"], (8, 4)),
        ("encoder_widths", "512", (512,)),
        ("encoder_widths", 512, (512,)),
        ("hidden_widths", "[]", ()),
        ("hidden_widths", "", ()),
        ("keep_every", "5", 5),
        ("log_steps", "true", True),
        ("log_steps", "False", False),
        ("log_steps", False, False),
    ],
)
def test_text_is_read_as_the_value_that_it_is(name, text, value):
    found = getattr(TrainingConfig(**{name: text}), name)
    assert found == value
    assert type(found) is type(value)
    assert all(type(width) is int for width in (found if isinstance(found, tuple) else ()))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            dict(arch="conv", encoder_widths=[8, 16, 32]),
            r"encoder_widths \[8, 16, 32\]: accepted is 1 to 2 widths for conv",
        ),
        (dict(arch="conv", decoder_widths=[]), r"decoder_widths \[\]: accepted is 1 to 2 widths"),
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


def test_a_run_that_is_older_than_a_setting_was_trained_with_what_was_done_then(monkeypatch):
    """A setting that says what was done before it gives that; another its default. Neither is left to a preset."""
    kept = TrainingConfig(**OTHER).settings()
    del kept["threads"], kept["blocks"]
    blocks = TrainingConfig.__dataclass_fields__["blocks"]
    monkeypatch.setattr(blocks, "metadata", blocks.metadata | {"before": 0})
    config = TrainingConfig.from_stored(kept, "there")
    assert config == TrainingConfig(**(OTHER | {"threads": 1, "blocks": 0, "runs_root": "there"}))
    assert TrainingConfig(arch="conv").blocks == 1


def test_a_setting_that_a_run_has_and_the_code_has_not_is_refused():
    with pytest.raises(InputError, match="'warm_restarts'"):
        TrainingConfig.from_stored(TrainingConfig().settings() | {"warm_restarts": 3}, "runs")


def test_a_toml_file_gives_settings(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('arch = "conv"\nencoder_widths = [8, 16]\nk2 = 4\nlog_steps = true\n')
    config = TrainingConfig.from_mapping(read_settings(file))
    assert (config.encoder_widths, config.log_steps) == ((8, 16), True)
    file.write_text("arch = ")
    with pytest.raises(InputError, match="no TOML"):
        read_settings(file)


def test_a_toml_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "config.toml").write_bytes(b'\xef\xbb\xbfarch = "conv"\r\n')
    assert read_settings(tmp_path / "config.toml") == {"arch": "conv"}


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (b"[VAE]\nlatent_dim = 20\nbatch_size = 50\nepochs = 100\n; comment", (20, 50, 100)),
        (b"\xef\xbb\xbf[VAE]\r\nlatent-dim: 20\r\nbatch-size=50 ; images\r\n# x\r\nEpochs = 100 #\r\n", (20, 50, 100)),
        (b"[model]\nlatent_dim = 20\n\n[training]\nbatch_size = 50\nepochs = 100\n", (20, 50, 100)),
        (b"[DEFAULT]\nlatent_dim = 20\n[other]\nbatch_size = 50\nepochs = 100\n", (20, 50, 100)),
    ],
)  # fmt: skip
def test_an_ini_file_gives_settings(content, settings, tmp_path):
    (tmp_path / "config.INI").write_bytes(content)
    config = TrainingConfig.from_mapping(read_settings(tmp_path / "config.INI"))
    assert (config.latent_dim, config.batch_size, config.epochs) == settings


def test_values_of_an_ini_file_are_read_as_on_the_command_line(tmp_path):
    file = tmp_path / "config.ini"
    file.write_text("[x]\nencoder_widths = 8,16\nlr = 1e-3\nlog_steps = True\nruns_root = 50%/runs\nnoise =\n")
    config = TrainingConfig.from_mapping(read_settings(file))
    assert (config.encoder_widths, config.lr, config.log_steps) == ((8, 16), 0.001, True)
    assert (config.runs_root, config.noise) == ("50%/runs", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"epochs = 3\n", r"line 1 stands in no section: accepted is one below a line such as \[VAE\]"),
        (b"", r"has no section: accepted are keys and values below a line"),
        (b"; epochs = 3\n", r"has no section"),
        (b"[x]\nepochs = 3\nlr = 1\nepochs = 4\n", r"line 4 gives epochs again: accepted is each key once"),
        (b"[x]\nbatch_size = 3\nbatch-size = 4\n", r"\[x\] gives batch_size again"),
        (b"[x]\nepochs = 3\n[y]\nepochs = 3\n", r"\[y\] gives epochs again"),
        (b"[x]\nepochs = 3\n[x]\nlr = 1\n", r"line 3 begins \[x\] again: accepted is each section once"),
        (b"[x]\nepochs\n", r"line 2 reads 'epochs.*': accepted is a key, =, and its value"),
        (b"[x]\narch = caf\xe9\n", r"is no file of text in UTF-8"),
    ],
)
def test_what_is_no_ini_file_is_one_line_that_says_where(content, said, tmp_path):
    (tmp_path / "config.ini").write_bytes(content)
    with pytest.raises(InputError, match=rf"config\.ini:? {said}") as caught:
        read_settings(tmp_path / "config.ini")
    assert "\n" not in str(caught.value)


def test_a_value_that_runs_on_in_an_ini_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "config.ini").write_text("[x]\nepochs = 3\n  batch_size = 4\n")
    with pytest.raises(InputError, match=r"epochs '3.*batch_size = 4'") as caught:
        TrainingConfig.from_mapping(read_settings(tmp_path / "config.ini"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("foreign", "ours"), FOREIGN.items())
def test_a_name_of_other_programs_is_answered_with_ours(foreign, ours):
    assert ours in TrainingConfig.__dataclass_fields__
    with pytest.raises(InputError, match=f"unknown setting '{foreign}', which is {ours} here: accepted are dataset, "):
        TrainingConfig.from_mapping({foreign: "3"})


def test_a_notebook_with_an_unknown_parameter_is_refused():
    namespace = {"epochs": 2, "latent_dims": 5, "_": 3, "len": len}
    accepted = r"unknown parameter 'latent_dims': accepted are dataset, arch, preset"
    with pytest.raises(InputError, match=accepted):
        TrainingConfig.from_notebook(namespace)
    cells = ["", "epochs = 1", "epochs = 2\nlatent_dims = 5", "config = TrainingConfig.from_notebook(globals())"]
    with pytest.raises(InputError, match=accepted):
        TrainingConfig.from_notebook(namespace | {"In": cells, "Out": {}})


def test_a_name_that_no_cell_assigns_is_let_be():
    """IPython runs a user's startup files in the notebook's namespace."""
    cells = [
        "",
        "%matplotlib inline\nx = 3",
        "epochs = 2  # passes",
        "config = TrainingConfig.from_notebook(globals())",
    ]
    namespace = {"epochs": 2, "DATA": "/data", "seed": 4, "In": cells, "Out": {}}
    config = TrainingConfig.from_notebook(namespace)
    assert config.epochs == 2
    with pytest.raises(InputError, match="'DATA'"):
        TrainingConfig.from_notebook(namespace | {"In": [*cells[:-1], "DATA = 5", cells[-1]]})


def test_a_readers_own_names_are_let_be_once_the_config_is_there():
    before = {"epochs": 2, "TrainingConfig": TrainingConfig}
    config = TrainingConfig.from_notebook(before)
    assert TrainingConfig.from_notebook(before | {"config": config, "mine": 5, "epochs": 3}).epochs == 3


def test_noise_is_a_kind_and_a_level():
    assert parse_noise("salt-pepper:0.1") == ("salt-pepper", 0.1)


def test_a_schedule_is_constant_or_has_a_share_of_steps_in_which_it_rises():
    assert (warm_up("constant"), warm_up("onecycle:0.3")) == (None, 0.3)


def test_every_setting_has_help_and_a_default_in_its_range():
    for field in dataclasses.fields(TrainingConfig):
        assert field.metadata["help"]
        assert field.default is None or getattr(TrainingConfig(), field.name) == field.default


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        *zip(DATASETS, DATASETS, strict=True),
        ("./pictures", "pictures"),
        ("/a/b/pictures/", "pictures"),
        ("pictures.npz", "pictures"),
        ("/a/pictures.v2", "pictures.v2"),
        ("../my pictures (new).npz", "my-pictures-new"),
        ("/", "images"),
    ],
)
def test_a_folder_of_runs_is_named_by_the_last_part_of_a_path(dataset, name):
    assert dataset_name(dataset) == name
    assert dataset_name(name) == name


def test_a_path_of_images_is_kept_with_a_slash(tmp_path, monkeypatch):
    """So that images in a folder called mnist are not taken for MNIST."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "mnist").mkdir()
    for given, kept in {
        "pictures": "./pictures",
        "pictures/": "./pictures",
        "./pictures": "./pictures",
        "./mnist": "./mnist",
        "mnist": "mnist",
        "a/../b//pictures": "b/pictures",
        "../pictures.npz": "../pictures.npz",
        "./gone": "./gone",
        "/a/gone": "/a/gone",
    }.items():
        config = TrainingConfig(dataset=given)
        assert config.dataset == kept
        # What is kept is read again as it is, in whatever folder.
        assert TrainingConfig.from_stored(config.settings(), "runs").dataset == kept
    assert TrainingConfig(dataset="pictures").run_path == Path("runs/pictures/linear-d2-s0")
    with pytest.raises(InputError, match=r"dataset 'gone': accepted is one of mnist, .* or the path of a folder"):
        TrainingConfig(dataset="gone")


def test_a_tilde_is_the_home_folder_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = TrainingConfig(dataset="~/pictures", data_root="~/data", runs_root="~/runs")
    assert config.dataset == f"{tmp_path}/pictures"
    assert config.data_root == f"{tmp_path}/data"
    assert config.run_path == tmp_path / "runs" / "pictures" / "linear-d2-s0"
    assert expanded("~") == os.path.expanduser("~") == str(tmp_path)
    assert expanded("") == ""


def test_settings_are_checked_without_importing_torch():
    program = "import sys, vaelib.config, vaelib.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
