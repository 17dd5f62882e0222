import os

import numpy as np
import pytest
import yaml
from conftest import ROOT

from vaelib import models
from vaelib.config import InputError
from workflow.edition import Edition, options

EDITION = """
edition: tiny
dataset: digits
archs: [linear, conv]
latent_dims: [2, 3, 10]
seeds: [0, 1]
settings: {epochs: 1, held_out: 100}
classifier: {epochs: 1}
evaluation: {draws: 1, images: 10, all_draws: 20}
sizes: {latent_dim: 3, parameters: [40_000]}
ablation:
  settings: {held_out: 200}
  latent_dims: [2]
  seeds: [0, 1]
  changes: {linear: {ReLU: {activation: relu}}}
"""
SHORT = """
edition: short
dataset: digits
archs: [linear]
latent_dims: [5]
seeds: [0]
"""


@pytest.fixture(scope="module")
def edition():
    return Edition(yaml.safe_load(EDITION))


def test_the_grid_has_a_config_for_each_model_and_seed(edition):
    assert [c.cell_id for c in edition.grid[:4]] == ["linear-d2-s0", "linear-d2-s1", "linear-d3-s0", "linear-d3-s1"]
    assert len(edition.grid) == 2 * 3 * 2
    assert {(c.epochs, c.held_out, c.dataset) for c in edition.grid} == {(1, 100, "digits")}


def test_each_line_of_the_ablation_has_the_same_models(edition):
    lines = edition.ablation["linear"]
    assert list(lines) == ["tuned", "the textbook model", "ReLU"]
    assert {tuple(c.cell_id for c in configs) for configs in lines.values()} == {("linear-d2-s0", "linear-d2-s1")}
    assert [c.activation for c in lines["ReLU"]] == ["relu", "relu"] != [c.activation for c in lines["tuned"]]
    assert {c.held_out for configs in lines.values() for c in configs} == {200}


def count(c):
    return models.count_parameters(models.build(c))


def test_equal_models_are_equal_within_two_per_cent(edition):
    assert [other for _, other in edition.equal] == [c for c in edition.grid if c.arch == "conv"]
    for linear, conv in edition.equal:
        assert (linear.arch, linear.latent_dim, linear.seed) == ("linear", conv.latent_dim, conv.seed)
        assert count(linear) == pytest.approx(count(conv), rel=0.02)
    assert [(c.arch, c.seed) for c in edition.sized] == [("linear", 0), ("linear", 1), ("conv", 0), ("conv", 1)]
    assert [count(c) for c in edition.sized] == pytest.approx([40_000] * 4, rel=0.02)


def test_the_first_architecture_is_matched_to_each_other_one():
    made = Edition(yaml.safe_load(SHORT.replace("[linear]", "[convbn, linear, conv]")))
    assert [(matched.arch, other.arch) for matched, other in made.equal] == [("convbn", "linear"), ("convbn", "conv")]
    for matched, other in made.equal:
        assert count(matched) == pytest.approx(count(other), rel=0.02)


def test_a_matched_model_that_the_grid_has_is_the_grids():
    size = count(Edition(yaml.safe_load(SHORT)).grid[0])
    made = Edition(yaml.safe_load(SHORT) | {"sizes": {"latent_dim": 5, "parameters": [size, 100_000]}})
    assert made.sized[0] is made.grid[0]
    assert list(made.runs) == [f"runs/digits/{made.grid[0].run_name}", f"sized/digits/{made.sized[1].run_name}"]


def test_each_run_has_a_folder_by_what_it_is_for(edition):
    assert {place.split("/")[0]: c.runs_root for place, c in edition.runs.items()} == {
        "runs": "build/tiny/runs",
        "sized": "build/tiny/sized",
        "ablation": "build/tiny/ablation",
    }
    assert all(str(c.run_path) == f"build/tiny/{place}" for place, c in edition.runs.items())
    assert len(edition.runs) == 12 + 6 + 4 + 6
    assert edition.classifier == "runs/digits/classifier-s0"
    assert list(edition.evaluated) == [place for place in edition.runs if not place.startswith("ablation")]


def test_the_records_name_runs_relative_to_where_they_lie(edition):
    lines, sizes = edition.records().values()
    assert {f"ablation/{path}" for paths in lines["linear"].values() for path in paths} <= set(edition.runs)
    assert lines["linear"]["tuned"] == [f"digits/linear-d2-s{seed}-epochs1-held_out200" for seed in (0, 1)]
    assert {place for pair in sizes["equal"] for place in pair} | set(sizes["sized"]) <= set(edition.runs)
    assert sizes["equal"][0][1] == "runs/digits/conv-d2-s0-epochs1-held_out100"


def test_all_images_are_asked_of_ten_dimensions_and_the_first_seed(edition):
    deep = [c.cell_id for c in edition.grid if "all_draws" in edition.depth(c)]
    assert deep == ["linear-d10-s0", "conv-d10-s0"]
    assert edition.depth(edition.grid[0]) == {"draws": 1, "images": 10}


def test_only_data_set_architectures_dimensions_and_seeds_are_required():
    made = Edition(yaml.safe_load(SHORT))
    assert list(made.runs) == list(made.evaluated) == ["runs/digits/linear-d5-s0"]
    assert made.depth(made.grid[0]) == {}
    assert (made.equal, made.sized, made.ablation) == ([], [], {})
    bare = Edition(yaml.safe_load(SHORT + "evaluation: false\nsettings:\nablation:\n"))
    assert bare.runs.keys() == made.runs.keys()
    assert not bare.evaluated


@pytest.mark.parametrize("archs", ["[linear]", "[linear, conv]"])
def test_an_edition_of_a_known_set_is_read_without_torch(archs):
    text = SHORT.replace("[linear]", archs)
    code = f"import sys, yaml; from workflow.edition import Edition; Edition(yaml.safe_load({text!r}))"
    assert os.system(f'cd "{ROOT}" && "{os.sys.executable}" -c "{code}; sys.exit(\'torch\' in sys.modules)"') == 0


def test_no_edition_at_all_is_answered_with_an_example():
    with pytest.raises(InputError, match=r"^edition is missing, see editions/quick\.yaml$"):
        Edition({})


def test_numbers_that_yaml_reads_as_text_are_numbers():
    made = Edition(yaml.safe_load(SHORT + "settings: {lr: 1e-3, epochs: '2'}"))
    assert (made.grid[0].lr, made.grid[0].epochs) == (0.001, 2)


def test_an_architecture_without_changes_has_the_two_presets_alone():
    made = Edition(yaml.safe_load(EDITION.replace("{ReLU: {activation: relu}}", "")))
    assert {arch: list(changes) for arch, changes in made.ablation.items()} == {
        "linear": ["tuned", "the textbook model"]
    }


def test_the_ablation_may_name_architectures_that_the_grid_has_not():
    made = Edition(yaml.safe_load(EDITION.replace("changes: {linear:", "changes: {convbn:")))
    assert {c.arch for c in made.ablated} == {"convbn"}


def test_own_images_have_a_name_a_shape_and_a_mark_that_a_change_changes(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (60, 12, 12), dtype=np.uint8)
    path = tmp_path / "hats.npz"
    np.savez(path, images=x, labels=np.arange(60) % 3)
    values = yaml.safe_load(SHORT.replace("[linear]", "[linear, conv]")) | {"dataset": str(path)}
    made = Edition(values)
    assert made.shape == (12, 12)
    assert next(iter(made.runs)) == "runs/hats/linear-d5-s0"
    assert made.classifier == "runs/hats/classifier-s0"
    matched, other = (models.count_parameters(models.build(c, (12, 12))) for c in made.equal[0])
    assert matched == pytest.approx(other, rel=0.02)
    before = made.images()
    assert before == Edition(values).images() != ""
    os.utime(path, (1, 1))
    assert Edition(values).images() != before
    assert Edition(yaml.safe_load(SHORT)).images() == ""


def test_a_known_set_of_another_size_is_counted_at_its_own(monkeypatch, clothes):
    """As one that is added to the known sets: its name, and how it is read."""
    splits = (clothes.train_images, clothes.train_labels, clothes.test_images, clothes.test_labels)
    for module in ("vaelib.config", "vaelib.data.sets", "workflow.edition"):
        monkeypatch.setattr(f"{module}.DATASETS", {"mnist": (28, 28), "clothes": (12, 12)})
    monkeypatch.setattr("vaelib.data.mnist.read", lambda name, root: (*splits, clothes.class_names))
    values = yaml.safe_load(SHORT.replace("[linear]", "[linear, conv]")) | {"dataset": "clothes"}
    made = Edition(values)
    assert made.shape == (12, 12)
    matched, other = (models.count_parameters(models.build(c, (12, 12))) for c in made.equal[0])
    assert matched == pytest.approx(other, rel=0.02)


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist", "kmnist"])
def test_sets_in_mnists_format_are_counted_without_their_files(dataset, monkeypatch):
    monkeypatch.setattr("vaelib.data.mnist.read", lambda name, root: pytest.fail("read"))
    assert Edition(yaml.safe_load(SHORT) | {"dataset": dataset}).shape == (28, 28)


def test_the_digits_are_counted_at_the_size_that_they_are_read_in(digits):
    assert Edition(yaml.safe_load(SHORT)).shape == digits.shape == (28, 28)


def test_settings_are_options_of_a_command():
    assert options({"latent_dim": 2, "encoder_widths": [8, 4], "lr": 0.001, "noise": ""}) == [
        "--latent-dim=2",
        "--encoder-widths=8,4",
        "--lr=0.001",
        "--noise=",
    ]


@pytest.mark.parametrize("name", ["quick", "mnist", "full"])
def test_the_editions_of_the_project_are_accepted(name):
    made = Edition(yaml.safe_load((ROOT / "editions" / f"{name}.yaml").read_text()))
    assert made.name == name
    assert {c.arch for c in made.grid} == {"linear", "conv"}
    assert bool(made.equal) == bool(made.ablation) == (name != "mnist")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("seeds: [0, 1]", "seeds: [0, 1]\nz_dims: [2]"), "unknown key 'z_dims', accepted are edition, dataset, archs"),
        (("dataset: digits", ""), "dataset is missing, see editions/quick.yaml"),
        (("edition: tiny", "edition: tiny 2"), "edition 'tiny 2': accepted are 1 to 40 lower-case letters"),
        (("edition: tiny", "edition: ../tiny"), "edition '../tiny': accepted are"),
        (("edition: tiny", "edition: -tiny"), "edition '-tiny': accepted are"),
        (("edition: tiny", 'edition: "tiny\\n"'), r"edition 'tiny\n': accepted are"),
        (("edition: tiny", f"edition: {'x' * 41}"), "accepted are 1 to 40 lower-case letters"),
        (("dataset: digits", "dataset: [digits]"), "dataset ['digits']: accepted is a valid string"),
        (("dataset: digits", "dataset: letters"), "dataset 'letters': accepted is one of mnist,"),
        (("dataset: digits", "dataset: /no/such/folder"), "dataset '/no/such/folder': accepted is one of mnist,"),
        (("seeds: [0, 1]", "seeds: 0"), "seeds 0: accepted is a list, such as [0, 1, 2]"),
        (("seeds: [0, 1]", "seeds: []"), "seeds []: accepted is a list"),
        (("seeds: [0, 1]", "seeds: [0, 0]"), "seeds [0, 0]: 0 stands there twice"),
        (("seeds: [0, 1]", "seeds: [0, -1]"), "seeds.1 -1: accepted is a whole number, 0 to 2,147,483,647"),
        (("seeds: [0, 1]", "seeds: [yes]"), "seeds.0 True: accepted is a whole number"),
        (("latent_dims: [2, 3, 10]", "latent_dims: [2, 3, 0]"), "latent_dims.2 0: accepted is a whole number, 1 to 4,"),
        (("latent_dims: [2, 3, 10]", "latent_dims: [2, 2]"), "latent_dims [2, 2]: 2 stands there twice"),
        (("[linear, conv]", "[linear, cov]"), "archs.1 'cov': accepted is one of linear, conv, convbn"),
        (("[linear, conv]", "[linear, linear]"), "archs ['linear', 'linear']: 'linear' stands there twice"),
        (("classifier: {epochs: 1}", "classifier: {lr: 1}"), "unknown key 'lr', accepted are epochs, batch_size"),
        (("classifier: {epochs: 1}", "classifier: 3"), "classifier 3: accepted are pairs with the keys epochs, batch"),
        (("{draws: 1,", "{draw: 1,"), "unknown key 'draw', accepted are draws, images, all_draws, resamplings"),
        (("{draws: 1,", "{draws: 0,"), "evaluation.draws 0: accepted is a whole number, 1 to 100,000"),
        (("parameters: [40_000]", "params: []"), "unknown key 'params', accepted are latent_dim, parameters"),
        (("parameters: [40_000]", "parameters: [10]"), "sizes: budget 10: the nearest linear at latent_dim 3 has"),
        (("parameters: [40_000]", "parameters: [9000, 9000]"), "9000 stands there twice"),
        (("sizes:", "equal: maybe\nsizes:"), "equal 'maybe': accepted is a valid boolean"),
        (("[linear, conv]", "[linear]\nequal: true"), "equal True: accepted is false where archs ['linear'] names one"),
        (("{epochs: 1,", "{epoch: 1,"), "unknown setting 'epoch', accepted are preset, epochs"),
        (("{epochs: 1,", "{seed: 1,"), "seed is what the edition itself decides"),
        (("{epochs: 1,", "{runs_root: x,"), "runs_root is what the edition itself decides"),
        (("{epochs: 1,", "{lr: fast,"), "lr 'fast': accepted is a number"),
        (("settings: {epochs: 1, held_out: 100}", "settings: 3"), "settings 3: accepted are pairs"),
        (("{activation: relu}", "{activation: tanh}"), "ablation, linear, ReLU: activation 'tanh': accepted is one of"),
        (
            ("{activation: relu}", "{activation: gelu}"),
            "ablation, linear, ReLU: {'activation': 'gelu'}: accepted is what",
        ),
        (("{activation: relu}", "{data_root: x}"), "data_root is what the edition itself decides"),
        (("{activation: relu}", "relu"), "ablation.changes.linear.ReLU 'relu': accepted are pairs"),
        (
            ("{ReLU:", "{<b>ReLU:"),
            "ablation.changes.linear.<b>ReLU '<b>ReLU': accepted are 1 to 40 characters without <",
        ),
        (("{ReLU:", '{"a\\tb":'), "accepted are characters that can be printed"),
        (("{ReLU:", f"{{{'x' * 41}:"), "accepted are 1 to 40 characters"),
        (("{ReLU:", "{tuned:"), "tuned and the textbook model are lines of every ablation"),
        (("changes: {linear:", "changes: {linea:"), "'linea': accepted is one of linear, conv, convbn"),
        (
            ("settings: {held_out: 200}", "settings: {held_out: 0}"),
            "ablation, linear, tuned: held_out 0: accepted is 1",
        ),
        (("  changes:", "  change:"), "unknown key 'change', accepted are settings, latent_dims, seeds, changes"),
        (("  seeds: [0, 1]", "  seeds: [0]"), "ablation.seeds [0]: accepted is a list of 2 or more"),
    ],
)
def test_an_edition_that_means_nothing_is_refused_in_one_line(change, expected):
    assert change[0] in EDITION
    with pytest.raises(InputError) as caught:
        Edition(yaml.safe_load(EDITION.replace(*change, 1)))
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("together", [1, 2, 3, 4, 100])
def test_groups_hold_every_run_once_and_none_is_too_large(together):
    values = dict(edition="tiny", dataset="digits", archs=["linear"], latent_dims=[2, 3, 5], seeds=[0, 1])
    made = Edition(values | {"together": together})
    groups = list(made.groups.values())
    assert sorted(place for places in groups for place in places) == sorted(made.runs)
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    assert len(groups) == -(-6 // together)
    if together == 1:
        assert list(made.groups) == list(made.runs)
