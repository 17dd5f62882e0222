import pytest
import yaml
from conftest import ROOT

from vaelib import InputError, models
from workflow.edition import Edition

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


@pytest.fixture(scope="module")
def edition():
    return Edition(yaml.safe_load(EDITION))


def test_the_grid_has_a_config_for_each_cell_and_seed(edition):
    assert [c.cell_id for c in edition.grid[:4]] == ["linear-d2-s0", "linear-d2-s1", "linear-d3-s0", "linear-d3-s1"]
    assert len(edition.grid) == 2 * 3 * 2
    assert {(c.epochs, c.held_out, c.dataset) for c in edition.grid} == {(1, 100, "digits")}


def test_each_line_of_the_ablation_has_the_same_cells(edition):
    lines = edition.ablation["linear"]
    assert list(lines) == ["tuned", "the textbook cell", "ReLU"]
    assert {tuple(c.cell_id for c in configs) for configs in lines.values()} == {("linear-d2-s0", "linear-d2-s1")}
    assert [c.activation for c in lines["ReLU"]] == ["relu", "relu"] != [c.activation for c in lines["tuned"]]
    assert {c.held_out for configs in lines.values() for c in configs} == {200}


def test_equal_models_are_equal_within_two_per_cent(edition):
    def count(c):
        return models.count_parameters(models.build(c))

    for linear, conv in zip(edition.equal, edition.convs, strict=True):
        assert (linear.arch, linear.latent_dim, linear.seed) == ("linear", conv.latent_dim, conv.seed)
        assert count(linear) == pytest.approx(count(conv), rel=0.02)
    assert [(c.arch, c.seed) for c in edition.sized] == [("linear", 0), ("linear", 1), ("conv", 0), ("conv", 1)]
    assert [count(c) for c in edition.sized] == pytest.approx([40_000] * 4, rel=0.02)


def test_all_images_are_asked_of_ten_dimensions_and_the_first_seed(edition):
    deep = [c.cell_id for c in edition.grid if "all_draws" in edition.depth(c)]
    assert deep == ["linear-d10-s0", "conv-d10-s0"]
    assert edition.depth(edition.grid[0]) == {"draws": 1, "images": 10}


@pytest.mark.parametrize("name", ["quick", "full"])
def test_the_editions_of_the_project_are_accepted(name):
    made = Edition(yaml.safe_load((ROOT / "editions" / f"{name}.yaml").read_text()))
    assert made.name == name


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("seeds: [0, 1]", "seeds: [0, 1]\nz_dims: [2]"), "z_dims"),
        (("seeds: [0, 1]", "seeds: 0"), "seeds 0: accepted is a list"),
        (("seeds: [0, 1]", "seeds: []"), "seeds []: accepted is a list"),
        (("latent_dims: [2, 3, 10]", "latent_dims: [2, 3, 0]"), "latent_dim 0: accepted is 1 to 4,096"),
        (
            ("latent_dims: [2, 3, 10]", "latent_dims: [2, 5]"),
            "latent_dims [2, 5]: the chapters on the latent space need 2 and 3",
        ),
        (
            ("archs: [linear, conv]", "archs: [linear]"),
            "archs ['linear']: the chapter on equal size needs linear and conv",
        ),
        (
            ("classifier: {epochs: 1}", "classifier: {lr: 1}"),
            "classifier {'lr': 1}: accepted are any of batch_size, epochs",
        ),
        (("{draws: 1,", "{draw: 1,"), "accepted are any of all_draws, draws, images, resamplings"),
        (("parameters: [40_000]", "params: []"), "accepted are the keys latent_dim, parameters"),
        (("parameters: [40_000]", "parameters: [10]"), "budget 10: the nearest linear at latent_dim 3 has"),
        (("{epochs: 1,", "{epoch: 1,"), "unknown setting 'epoch'"),
        (("{epochs: 1,", "{seed: 1,"), "seed, which the edition itself decides"),
        (("{activation: relu}", "{activation: tanh}"), "activation 'tanh': accepted is one of relu"),
        (("  changes:", "  change:"), "accepted are the keys changes, latent_dims, seeds, settings"),
        (("  seeds: [0, 1]", "  seeds: [0]"), "an interval needs two at least"),
    ],
)
def test_an_edition_that_means_nothing_is_refused(change, expected):
    assert change[0] in EDITION
    with pytest.raises(InputError) as caught:
        Edition(yaml.safe_load(EDITION.replace(*change, 1)))
    assert expected in str(caught.value)
