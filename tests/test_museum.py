"""The page of mistakes makes each of them, and the lines beside them are right."""

import ast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from test_notebooks import code_cells
from torch.distributions import Normal, kl_divergence

from vaelib import data, training

PATH = ROOT / "notebooks" / "museum.ipynb"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The names that the page has defined at its end, and under "said" what its cells show last."""
    root = str(tmp_path_factory.mktemp("museum") / "runs")
    training.train_classifier("digits", epochs=3, runs_root=root)
    given, *cells = code_cells(PATH)
    names = {}
    exec(given.source, names)
    names |= dict(dataset="digits", runs_root=root)
    shown = []
    for cell in cells:
        *body, last = ast.parse(cell.source).body
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(body, []), PATH.name, "exec"), names)
            shown.append(eval(compile(ast.Expression(last.value), PATH.name, "eval"), names))
        else:
            exec(compile(cell.source, PATH.name, "exec"), names)
    return names | {"said": [each.data for each in shown if type(each).__name__ == "Markdown"]}


def kl(model, images):
    """The mean KL to the prior by another library, nats."""
    mu, logvar = model.encode(images)
    return kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1).mean().item()


def cost(model, z, x):
    """The cross-entropy of images x decoded from z, by PyTorch's own function, nats (N,)."""
    with torch.no_grad():
        return F.binary_cross_entropy_with_logits(model.logits(z), x, reduction="none").sum((1, 2, 3))


def test_a_mean_over_pixels_and_a_sum_over_images_make_the_kl_78_400_times_as_heavy(page):
    ratios = {}
    for name, line in page["lines"].items():
        bce, divergence = torch.ones(100, 1, 28, 28, requires_grad=True), torch.ones(100, 10, requires_grad=True)
        line(bce, divergence).backward()
        ratios[name] = divergence.grad[0, 0].item() / bce.grad[0, 0, 0, 0].item()
    assert ratios == pytest.approx({"right": 1, "wrong": 78_400})
    assert "78,400 times" in page["said"][0]


def test_a_mean_over_pixels_collapses_the_model(page):
    trained, scored = page["trained"], page["scored"]
    assert kl(trained["wrong"], scored) < 0.5 < kl(trained["right"], scored)
    apart = {name: trained[name].reconstruct(scored).std(0).max().item() for name in ("right", "wrong")}
    assert apart["wrong"] < 0.01
    assert apart["right"] > 0.1
    # The mean image is the best of pictures that are all the same.
    assert page["costs"]["wrong"]["recon"] == pytest.approx(page["anchors"]["collapse_nats"], rel=0.05)


def test_sigma_for_its_logarithm_prints_less_than_the_model_costs(page):
    printed, true = page["printed"], page["true"]
    assert printed["right"] == pytest.approx(true["right"])
    assert np.mean(printed["wrong"][-20:]) < np.mean(true["wrong"][-20:]) - 1
    spreads = [(0.5 * page["trained"][f"sigma, {name}"].encode(page["scored"])[1]).exp().mean() for name in printed]
    assert spreads[1] < 0.5 * spreads[0]


def test_normalised_images_have_a_loss_below_the_entropy_of_the_pixels(page):
    assert min(page["printed"]["wrong"] + page["printed"]["right"]) > page["anchors"]["floor_nats"]
    assert page["printed"]["wrong, normalised"][-1] < 0


def test_layers_without_an_activation_are_one_affine_map(page):
    z = torch.randn(300, 10, generator=torch.Generator().manual_seed(1))
    share = torch.rand(150, 1, generator=torch.Generator().manual_seed(2))
    found = {}
    for name, model in page["decoders"].items():
        with torch.no_grad():
            logits = model.logits(z).flatten(1)
            mixed = model.logits(share * z[:150] + (1 - share) * z[150:]).flatten(1)
        straight = torch.allclose(mixed, share * logits[:150] + (1 - share) * logits[150:], atol=1e-4)
        found[name] = np.linalg.matrix_rank(logits.double().numpy(), rtol=1e-5) <= 11, straight
    assert found == {"right": (False, False), "wrong": (True, True)}


def test_a_fresh_decoder_costs_what_coins_cost(page):
    x, restored = data.as_float(page["scored"]), page["restored"]
    costs = {name: cost(model, model.encode(x)[0], x).mean().item() for name, model in restored.items()}
    assert costs["wrong"] == pytest.approx(784 * np.log(2), rel=0.1)
    assert page["tosses"]["wrong"] == pytest.approx(784 * np.log(2), rel=0.1)
    assert page["tosses"]["right"] == page["costs"]["right"]["recon"]
    with pytest.raises(RuntimeError, match="Missing key"):
        restored["wrong"].load_state_dict(page["only_encoder"])


def test_noise_is_near_on_the_wrong_scale_and_far_on_the_right_one(page):
    right, wrong = page["distances"]["right"], page["distances"]["wrong"]
    assert right["training images"] < right["samples, right loss"] < right["noise"]
    assert wrong["noise"] < right["training images"]
    assert page["rates"][255] < page["rates"][1] - 0.3


def test_arms_that_are_never_given_their_weight_are_equal_to_the_bit(page):
    one, each, passed = ([page["curves"][kind, weight] for weight in page["weights"]] for kind in page["kinds"])
    assert one == [one[0]] * 4
    assert each[0] == one[0] == passed[1]  # the same seed, and a weight of 1
    assert len({tuple(curve) for curve in each}) == 4
    finals = [page["ends"][page["kinds"][2], weight][1] for weight in page["weights"]]
    assert finals == sorted(finals, reverse=True)
    assert finals[0] > 1.5 * finals[-1]


def test_the_decoded_mean_is_cheaper_than_the_bound(page):
    model, x = page["trained"]["right"], data.as_float(page["few"])
    mu, logvar = model.encode(x)
    divergence = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
    assert page["wrong"].numpy() == pytest.approx((cost(model, mu, x) + divergence).numpy(), rel=1e-4)
    draws = torch.randn(30, *mu.shape, generator=torch.Generator().manual_seed(3))
    bound = np.mean([(cost(model, mu + (0.5 * logvar).exp() * eps, x) + divergence).mean().item() for eps in draws])
    assert page["wrong"].mean().item() < bound - 1
    assert page["bounds"][1] == pytest.approx(bound, abs=1)
    assert page["bounds"][1] > page["bounds"][10] > page["bounds"][100]


def test_the_exercises_factor_turns_the_gradient_back(page):
    assert page["cosines"]["corrected"] == pytest.approx(1, abs=1e-6)
    assert page["cosines"]["mistaken"] < 0.9


def test_every_sentence_has_its_numbers(page):
    assert len(page["said"]) == 8
    for sentence in page["said"]:
        assert sum(character.isdigit() for character in sentence) > 5
        assert "nan" not in sentence
    assert list(page["kept_table"].columns) == ["mistake", "what to print", "wrong", "right"]
    assert page["kept_table"].mistake.str[0].tolist() == list("1234567")
