import os
import re

import numpy as np
import pytest
import typer
import yaml
from conftest import ROOT

from vaelib import models
from vaelib.cli.app import app
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
studies:
  ablation:
    settings: {held_out: 200}
    latent_dims: [2]
    evaluation: false
    arms:
      linear: &arms
        tuned: {}
        ReLU: {activation: relu}
      convbn: *arms
  weights:
    latent_dims: [2, 5]
    evaluation: {draws: 7, noises: ["gaussian:0.20"]}
    arms: {linear: {"1, 1": {}, beta 4: {k2: 4}}}
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


def test_each_arm_of_a_study_has_the_same_models(edition):
    assert {name: list(arms) for name, arms in edition.studies.items()} == {
        "ablation": ["linear", "convbn"],
        "weights": ["linear"],
    }
    arms = edition.studies["ablation"]["linear"]
    assert list(arms) == ["tuned", "ReLU"]
    assert {tuple(c.cell_id for c in configs) for configs in arms.values()} == {("linear-d2-s0", "linear-d2-s1")}
    assert [c.activation for c in arms["ReLU"]] == ["relu", "relu"] != [c.activation for c in arms["tuned"]]
    assert {c.held_out for configs in arms.values() for c in configs} == {200}


def test_a_run_of_a_study_that_the_grid_has_is_the_grids(edition):
    one, beta = edition.studies["weights"]["linear"].values()
    assert [c in edition.grid for c in one] == [True, True, False, False], "the grid has no model of five dimensions"
    assert [edition.place(c) for c in one[1:3]] == [
        "runs/digits/linear-d2-s1-epochs1-held_out100",
        "studies/digits/linear-d5-s0-epochs1-held_out100",
    ]
    assert {edition.place(c).split("/")[0] for c in beta} == {"studies"}
    assert len(edition.runs) == len(set(edition.runs.values()))


def test_a_run_of_the_grid_that_shall_keep_more_is_a_run_of_its_own():
    kept = {"arms": {"linear": {"all": {"log_steps": True, "keep_every": 4}}}}
    more = {"settings": {"keep_every": 6}, "arms": {"linear": {"all": {}, "wide": {"encoder_widths": [8]}}}}
    made = Edition(yaml.safe_load(SHORT) | {"studies": {"kept": kept, "more": more}})
    (c,) = made.studies["kept"]["linear"]["all"]
    place = "studies/digits/linear-d5-s0"
    assert made.place(c) == place
    assert made.place(made.studies["more"]["linear"]["all"][0]) == place
    assert not made.runs["runs/digits/linear-d5-s0"].log_steps
    both = made.runs[place]
    assert both.log_steps
    assert not {4, 8, 6, 12} - set(range(0, 13, both.keep_every)), "the epochs that either study asks for"
    assert both.settings() == made.grid[0].settings()


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
    assert list(made.runs) == [f"runs/digits/{made.grid[0].run_name}", f"studies/digits/{made.sized[1].run_name}"]


def test_each_run_has_a_folder_by_what_it_is_for(edition):
    assert {place.split("/")[0]: c.runs_root for place, c in edition.runs.items()} == {
        "runs": "build/tiny/runs",
        "studies": "build/tiny/studies",
    }
    assert all(str(c.run_path) == f"build/tiny/{place}" for place, c in edition.runs.items())
    # the grid, equal and further sizes, the ablation, and of the weights what the grid has not
    assert len(edition.runs) == 12 + 6 + 4 + 8 + 6
    assert edition.classifier == "runs/digits/classifier-s0"
    assert set(edition.runs) - set(edition.evaluated) == set(edition.places("ablation"))


def test_an_edition_may_lie_in_another_folder():
    made = Edition(yaml.safe_load(EDITION), "records/tiny")
    assert list(made.runs) == list(Edition(yaml.safe_load(EDITION)).runs)
    assert {str(c.run_path) for c in made.runs.values()} == {f"records/tiny/{place}" for place in made.runs}


def test_the_records_name_runs_relative_to_where_they_lie(edition):
    files = edition.records()
    assert list(files) == ["studies/ablation.json", "studies/weights.json", "studies/sizes.json"]
    ablation, weights, sizes = files.values()
    assert ablation["linear"]["tuned"] == [f"digits/linear-d2-s{seed}-epochs1-held_out200" for seed in (0, 1)]
    assert weights["linear"]["1, 1"][0] == "../runs/digits/linear-d2-s0-epochs1-held_out100"
    assert sizes["equal"][0][1] == "../runs/digits/conv-d2-s0-epochs1-held_out100"
    named = [path for arms in (*ablation.values(), *weights.values()) for paths in arms.values() for path in paths]
    named += [path for pair in sizes["equal"] for path in pair] + sizes["sized"]
    assert {os.path.normpath(f"studies/{path}") for path in named} <= set(edition.runs)


def test_all_images_are_asked_of_ten_dimensions_and_the_first_seed(edition):
    deep = [place for place in edition.evaluated if "all_draws" in edition.depth(place)]
    assert [edition.runs[place].cell_id for place in deep] == ["linear-d10-s0", "conv-d10-s0"]
    assert edition.depth(edition.place(edition.equal[0][0])) == {"draws": 1, "images": 10}


def test_a_run_that_several_parts_ask_for_is_measured_as_deeply_as_the_deepest_asks(edition):
    one, beta = edition.studies["weights"]["linear"].values()
    deepest = {"draws": 7, "images": 10, "noise": ["gaussian:0.2"]}
    assert edition.depth(edition.place(one[0])) == edition.depth(edition.place(beta[0])) == deepest
    few = {"evaluation": {"draws": 5, "noises": ["gaussian:0.1"]}, "arms": {"linear": {"as the grid": {}}}}
    many = {"evaluation": {"draws": 2000, "noises": ["gaussian:0.1", "salt-pepper:0.1"]}, "arms": few["arms"]}
    for studies, draws in (({"few": few}, 1000), ({"few": few, "many": many}, 2000)):
        # Of the grid no number is given, and 1,000 is the command's own.
        made = Edition(yaml.safe_load(SHORT) | {"studies": studies})
        assert made.depth("runs/digits/linear-d5-s0")["draws"] == draws
    assert made.depth("runs/digits/linear-d5-s0")["noise"] == ["gaussian:0.1", "salt-pepper:0.1"]


def test_what_a_study_does_not_say_of_its_evaluation_is_the_editions():
    arms = {"linear": {"relu": {"activation": "relu"}}}
    bare = yaml.safe_load(SHORT)
    for own, parts, expected in [
        ({"draws": 3, "paths": 4}, {}, {"draws": 3, "paths": 4}),
        ({"draws": 3, "all_draws": 9}, {"evaluation": {"paths": 5}}, {"draws": 3, "paths": 5}),
        (False, {"evaluation": {"paths": 5}}, {"paths": 5}),
        (False, {}, None),
        ({"draws": 3}, {"evaluation": False}, None),
    ]:
        made = Edition(bare | {"evaluation": own, "studies": {"x": parts | {"arms": arms}}})
        (place,) = made.places("x")
        assert (made.depth(place) if place in made.evaluated else None) == expected


def test_only_data_set_architectures_dimensions_and_seeds_are_required():
    made = Edition(yaml.safe_load(SHORT))
    assert list(made.runs) == list(made.evaluated) == ["runs/digits/linear-d5-s0"]
    assert made.depth("runs/digits/linear-d5-s0") == {}
    assert (made.equal, made.sized, made.studies) == ([], [], {})
    bare = Edition(yaml.safe_load(SHORT + "evaluation: false\nsettings:\nstudies:\n"))
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


def test_a_study_has_the_editions_dimensions_and_seeds_and_may_have_another_architecture():
    made = Edition(yaml.safe_load(SHORT) | {"studies": {"others": {"arms": {"convbn": {"report 3's network": {}}}}}})
    (configs,) = made.studies["others"]["convbn"].values()
    assert [c.cell_id for c in configs] == ["convbn-d5-s0"]


def test_two_studies_share_a_run():
    wide = {"arms": {"linear": {"wide": {"encoder_widths": [900]}}}}
    made = Edition(yaml.safe_load(SHORT) | {"studies": {"one": wide, "other": wide}})
    assert list(made.runs) == ["runs/digits/linear-d5-s0", "studies/digits/linear-d5-s0-encoder_widths900"]
    assert made.places("one") == made.places("other")


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
    values = {"latent_dim": 2, "encoder_widths": [8, 4], "hidden_widths": [], "lr": 0.001, "noise": "", "renew": True}
    assert options(values) == [
        "--latent-dim=2",
        "--encoder-widths=8,4",
        "--hidden-widths=",
        "--lr=0.001",
        "--noise=",
        "--renew",
    ]
    assert options({"noise": ["gaussian:0.1", "salt-pepper:0.1"]}) == [
        "--noise=gaussian:0.1",
        "--noise=salt-pepper:0.1",
    ]


def test_the_options_of_an_evaluation_are_those_of_the_command(edition):
    """All that an edition may ask for, read as the command line reads it."""
    asked = dict(draws=2, images=3, resamplings=4, paths=5, class_draws=6, embedded=7, noises=["gaussian:0.1"])
    made = Edition(yaml.safe_load(SHORT) | {"latent_dims": [10], "evaluation": asked | {"all_draws": 8}})
    command = typer.main.get_command(app).commands["evaluate"]
    given = command.make_context("evaluate", ["RUN", *options(made.depth("runs/digits/linear-d10-s0"))]).params
    asked["noise"] = asked.pop("noises")
    assert {name: given[name] for name in given.keys() & asked.keys()} == asked
    assert given["all_draws"] == 8


def test_the_studies_that_the_guides_show_are_accepted():
    shown = re.findall(r"^studies:\n(?: .*\n)+", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    shown += re.findall(r"`(studies: \{.*?\})`", (ROOT / "README.md").read_text("utf-8"))
    found = [Edition(yaml.safe_load(SHORT) | yaml.safe_load(text)).studies for text in shown]
    assert [list(studies) for studies in found] == [["weights"], ["betas"]]
    for arms in (found[0]["weights"]["linear"], found[0]["weights"]["conv"], found[1]["betas"]["linear"]):
        assert [configs[0].effective_beta for configs in arms.values()] == [1, 4]


@pytest.mark.parametrize("name", ["quick", "mnist", "full"])
def test_the_editions_of_the_project_are_accepted(name):
    made = Edition(yaml.safe_load((ROOT / "editions" / f"{name}.yaml").read_text()))
    assert made.name == name
    assert {c.arch for c in made.grid} == {"linear", "conv"}
    assert bool(made.equal) == bool(made.studies) == (name != "mnist")
    for place in made.evaluated:
        made.depth(place)


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
        (
            ("{draws: 1,", "{draw: 1,"),
            "unknown key 'draw', accepted are draws, images, resamplings, paths, class_draws",
        ),
        (("{draws: 1,", "{draws: 0,"), "evaluation.draws 0: accepted is a whole number, 1 to 100,000"),
        (("{draws: 1,", "{noises: [snow],"), "evaluation.noises.0 'snow': accepted are salt-pepper:P and gaussian:SD"),
        (("{draws: 1,", "{noises: gaussian:0.1,"), "evaluation.noises 'gaussian:0.1': accepted is a list, such as"),
        (("{draws: 7,", "{all_draws: 7,"), "studies.weights.evaluation {'all_draws': 7"),
        (("{draws: 7,", "{draws: many,"), "studies.weights.evaluation.draws 'many': accepted is a whole number"),
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
        (
            ("{activation: relu}", "{activation: tanh}"),
            "studies.ablation.arms.linear.ReLU: activation 'tanh': accepted is one of",
        ),
        (
            ("{activation: relu}", "{activation: gelu}"),
            "studies.ablation.arms.linear.ReLU {'activation': 'gelu'}: accepted is what changes the model, ",
        ),
        (("beta 4: {k2: 4}", "beta 4: {log_steps: true}"), "accepted is what changes the model, which '1, 1' has"),
        (("{activation: relu}", "{data_root: x}"), "data_root is what the edition itself decides"),
        (("{activation: relu}", "relu"), "studies.ablation.arms.linear.ReLU 'relu': accepted are pairs"),
        (("ReLU:", "<b>ReLU:"), "arms.linear.<b>ReLU '<b>ReLU': accepted are 1 to 40 characters without <"),
        (("ReLU:", '"a\\tb":'), "accepted are characters that can be printed"),
        (("ReLU:", f"{'x' * 41}:"), "accepted are 1 to 40 characters"),
        (("ReLU:", "1:"), "studies.ablation.arms.linear.1 1: accepted are 1 to 40 characters"),
        (("linear: &arms", "linea: &arms"), "studies.ablation.arms.linea 'linea': accepted is one of linear, conv"),
        (("convbn: *arms", "convbn:"), "studies.ablation.arms.convbn None: accepted are pairs, one at least"),
        (("arms: {linear: {", "arms: {} # {linear: {"), "studies.weights.arms {}: accepted are pairs, one at least"),
        (
            ("    arms: {linear", "    changes: {linear"),
            "unknown key 'changes', accepted are latent_dims, seeds, settings",
        ),
        (("    arms: {linear", "    # {linear"), "arms is missing, see editions/quick.yaml"),
        (("latent_dims: [2, 5]", "latent_dims: [0]"), "studies.weights.latent_dims.0 0: accepted is a whole number"),
        (("latent_dims: [2, 5]", "seeds: []"), "studies.weights.seeds []: accepted is a list"),
        (("  weights:", "  sizes:"), "studies.sizes 'sizes': accepted are 1 to 40 lower-case letters"),
        (("  weights:", "  ../weights:"), "studies.../weights '../weights': accepted are 1 to 40 lower-case letters"),
        (("studies:", "ablation: {}\nstudies:"), "unknown key 'ablation', accepted are edition, dataset, archs"),
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
