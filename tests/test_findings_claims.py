"""What all findings share: they decide nothing, and say why, where their tables have not enough."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest

from vaelib.results import findings
from vaelib.results.findings import OPEN, VERDICTS, Evidence, Finding, decided

CASES = [(arch, d) for arch in ("linear", "conv") for d in (2, 10, 50)]
NAMES = list("0123456789")
SHARES = (
    "classifier_arc_sure", "classifier_blended_even", "classifier_blended_sure", "classifier_hits_diagonal",
    "classifier_hits_full", "classifier_holes", "classifier_holes_inside", "classifier_holes_outside",
    "classifier_kept", "classifier_prior_precision", "classifier_prior_sure", "classifier_real_precision",
    "classifier_straight_even", "classifier_straight_sure", "knn", "pca_knn", "purity", "sharpness_prior",
    "tsne_purity", "tsne_trustworthiness",
)  # fmt: skip
LARGER = (
    "classifier_blended_nearest", "classifier_mixture_fid", "classifier_prior_fid", "classifier_real_fid",
    "classifier_straight_changes", "classifier_straight_nearest", "inception_prior_fid", "active_units", "gap_nats",
    "kl_nats", "marginal_kl_nats", "mutual_information_nats", "negative_bound_nats", "negative_elbo_nats",
    "recon_at_mean_nats", "recon_nats", "seconds",
)  # fmt: skip
CHAPTERS = (
    "grid", "bound", "rate", "dimensions", "start", "equal", "ablation", "weights", "map", "classes", "embeddings",
    "evolution", "samples", "interpolation", "confusion", "noise",
)  # fmt: skip


def runs(seed=0):
    """Three seeds of each architecture and dimension, with measures that mean nothing."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"arch": arch, "latent_dim": d, "seed": s} for arch, d in CASES for s in range(3))
    measures = {name: rng.uniform(0.2, 0.9, len(table)) for name in SHARES}
    measures |= {name: rng.uniform(5, 100, len(table)) for name in LARGER}
    return table.assign(**measures)


def by_class(seed=0):
    rng, rows = np.random.default_rng(seed), runs()[["arch", "latent_dim", "seed"]]
    vectors = {name: [rng.random(10) for _ in range(len(rows))] for name in ("centre", "length", "hits_full")}
    matrices = {name: [rng.random((10, 10)) for _ in range(len(rows))] for name in ("overlap", "reconstruction")}
    return rows.assign(names=[NAMES] * len(rows), **vectors, **matrices)


def repeated(column, values, **measures):
    """The runs of ten dimensions, once for each value of a column."""
    rng, own = np.random.default_rng(1), runs().query("latent_dim == 10")
    rows = pd.concat([own.assign(**{column: value}) for value in values], ignore_index=True)
    return rows.assign(**{name: rng.uniform(low, high, len(rows)) for name, (low, high) in measures.items()})


EQUAL = pd.DataFrame(
    {"arch": "conv", "measure": measure, "latent_dim": d, "difference": -1.0, "low": -2.0, "high": 0.1}
    | {"over": "seeds", "n": 3}
    for measure in ("negative_elbo_nats", "classifier_prior_fid")
    for d in (2, 10, 50)
)
COSTS = pd.DataFrame(
    {"arch": arch, "change": change, "latent_dim": 10, "n": 3, "cost_nats": 1.0, "low": 0.5, "high": 1.5}
    for arch in ("linear", "conv")
    for change in ("the textbook model", "ReLU")
)
SIZED = repeated("parameters", (50, 100), negative_elbo_nats=(90, 95), seconds=(50, 60), multiplications=(50, 60))
WEIGHTS = repeated(
    "k2", (0.5, 1.0, 4.0), negative_elbo_nats=(90, 95), classifier_prior_fid=(20, 30), classifier_mixture_fid=(20, 30),
    active_units=(5, 10), kl_nats=(5, 20), sharpness_recon=(0.01, 0.02),
).assign(k1=1.0)  # fmt: skip
EVEN = repeated("k1", (0.5, 1.0, 2.0), negative_elbo_nats=(90, 95)).assign(k2=lambda own: own.k1)
WARM = repeated("kl_warmup", (0, 5), negative_elbo_nats=(90, 95), active_units=(5, 10)).assign(k1=1.0, k2=1.0)
HISTORIES = repeated("epoch", range(1, 7), kl=(5, 20), overlap=(0.1, 0.4))
STEPS = repeated("step", range(30), kl=(5, 20))
LEVEL = "salt-pepper:0.1"
NOISE = pd.concat(
    repeated("trained", ("", LEVEL), error=(0.01, 0.02), median_error=(0.01, 0.02), accuracy=(0.8, 0.9),
             median_accuracy=(0.8, 0.9)).assign(noise=noise)
    for noise in ("none", LEVEL)
)  # fmt: skip
# Of each finding the columns that it needs, of the tables in the place of its arguments.
NEEDS = {
    findings.reconstruction_falls: [(runs(), "recon_nats")],
    findings.where_it_stops_helping: [(runs(), "negative_elbo_nats")],
    findings.lowest_negative_elbo: [(runs(), "negative_elbo_nats")],
    findings.gap_of_the_bound: [(runs(), "gap_nats negative_elbo_nats negative_bound_nats")],
    findings.mean_code_is_no_bound: [(runs(), "recon_nats recon_at_mean_nats")],
    findings.lower_kl: [(runs(), "kl_nats marginal_kl_nats mutual_information_nats")],
    findings.kl_is_information: [(runs(), "kl_nats mutual_information_nats")],
    findings.unused_dimensions: [(runs(), "active_units")],
    findings.most_dimensions_over_ten: [(runs(), "negative_elbo_nats kl_nats recon_nats")],
    findings.further_dimensions_do_no_harm: [(runs(), "negative_elbo_nats active_units")],
    findings.more_dimensions_take_no_longer: [(runs(), "seconds")],
    findings.kl_rises: [(HISTORIES, "epoch kl"), (STEPS, "step kl")],
    findings.conv_beats_linear: [(EQUAL, ""), (SIZED, "negative_elbo_nats parameters seconds")],
    findings.equal_time: [(SIZED, "negative_elbo_nats parameters seconds")],
    findings.equal_arithmetic: [(SIZED, "negative_elbo_nats parameters multiplications")],
    findings.half_the_parameters: [(SIZED, "negative_elbo_nats parameters")],
    findings.choices_that_pay: [(COSTS, "")],
    findings.all_choices_together: [(COSTS, "")],
    findings.equal_weights_are_best: [(WEIGHTS, "k1 k2 negative_elbo_nats classifier_prior_fid")],
    findings.best_beta_of_the_mixture: [(WEIGHTS, "k1 k2 classifier_mixture_fid")],
    findings.larger_beta_blurs: [(WEIGHTS, "k1 k2 sharpness_recon")],
    findings.only_the_ratio_counts: [(EVEN, "k1 k2 negative_elbo_nats")],
    findings.large_beta_collapses: [(WEIGHTS, "k1 k2 active_units kl_nats")],
    findings.warm_up_helps: [(WARM, "k1 k2 kl_warmup active_units negative_elbo_nats")],
    findings.eight_at_the_centre: [(by_class(), "names centre")],
    findings.edge_and_mistakes: [(by_class(), "names length reconstruction")],
    findings.four_and_nine_overlap: [(by_class(), "names overlap")],
    findings.class_is_gaussian: [
        (runs(), "classifier_hits_full classifier_hits_diagonal"), (by_class(), "hits_full"),
    ],
    findings.ten_clusters: [(runs(), "purity tsne_purity tsne_trustworthiness classifier_straight_changes")],
    findings.codes_against_components: [(runs(), "knn pca_knn")],
    findings.holes_are_unsure: [(runs(), "classifier_holes classifier_holes_inside classifier_holes_outside")],
    findings.four_and_nine_part: [(HISTORIES, "epoch overlap")],
    findings.mixture_beats_prior: [(runs(), "classifier_prior_fid classifier_mixture_fid classifier_real_fid")],
    findings.likelihood_against_fid: [(runs(), "negative_bound_nats classifier_prior_fid")],
    findings.blur_counts_as_precise: [(runs(), "classifier_prior_precision classifier_real_precision")],
    findings.sharper_not_more_plausible: [
        (runs(), "sharpness_prior classifier_prior_sure classifier_prior_precision"),
    ],
    findings.fid_of_the_architectures: [(EQUAL, ""), (runs(), "inception_prior_fid")],
    findings.plausible_paths: [(runs(), "classifier_straight_sure classifier_arc_sure")],
    findings.decoded_paths_beat_blending: [(
        runs(), "classifier_straight_sure classifier_straight_nearest classifier_straight_even "
        "classifier_blended_sure classifier_blended_nearest classifier_blended_even",
    )],
    findings.arc_against_straight: [(runs(), "classifier_straight_sure classifier_arc_sure")],
    findings.labels_are_kept: [(runs(), "classifier_kept")],
    findings.noise_helps: [(NOISE, "trained noise error")],
    findings.better_than_a_median: [(NOISE, "trained noise error median_error accuracy median_accuracy")],
}  # fmt: skip


def tables(needs):
    """The tables of a finding with no more than what it needs."""
    return [own[["arch", "latent_dim", "seed", *names.split()]] if names else own for own, names in needs]


def by_name(function):
    return getattr(function, "__name__", "")


each_finding = pytest.mark.parametrize(("find", "needs"), NEEDS.items(), ids=by_name)


def require_readable(found):
    """A sentence that can be read aloud: full stops, no number that is not there, no two prepositions in a row."""
    assert isinstance(found, Finding)
    assert found.verdict in VERDICTS
    assert re.match(r"[A-Z0-9].*\.$", found.sentence, re.DOTALL)
    assert not re.search(r"\bnan\b|\bNone\b|inf\b|  |\.\.|by from|np\.|n = 0", found.sentence)


def test_every_finding_is_tried():
    public = {value for value in vars(findings).values() if hasattr(value, "__wrapped__")}
    assert public - {findings.report_at_equal_seconds} == set(NEEDS)


@each_finding
def test_a_finding_can_be_read(find, needs):
    require_readable(find(*tables(needs)))
    found = find(*[None for _ in needs])
    for text in (found.claim, found.criterion):
        assert text.endswith(".")
        assert not re.search(r"[`_]|results\.|\bNone\b", text)
    assert found.where.split("-")[0] in CHAPTERS


@each_finding
def test_a_finding_without_its_runs_is_not_decided(find, needs):
    for nothing in ([None for _ in needs], [own[:0] for own in tables(needs)]):
        found = find(*nothing)
        require_readable(found)
        assert found.verdict == OPEN


@each_finding
def test_a_finding_without_one_of_its_measures_is_not_decided(find, needs):
    for place, (own, names) in enumerate(needs):
        for name in names.split():
            given = tables(needs)
            given[place] = own.drop(columns=name) if names.startswith(name) else own.assign(**{name: np.nan})
            found = find(*given)
            require_readable(found)
            if place == 0:
                assert found.verdict == OPEN
                assert "ot decided: these runs have no measured" in found.sentence


@each_finding
def test_a_finding_of_two_seeds_is_not_decided(find, needs):
    few = [own[own.seed < 2] if "seed" in own else own.assign(n=2) for own in tables(needs)]
    found = find(*few)
    require_readable(found)
    assert found.verdict == OPEN
    assert re.search(r"Fewer than 3 seeds decide nothing|ot decided|decides nothing", found.sentence)


@each_finding
def test_a_finding_of_one_seed_has_its_numbers_and_decides_nothing(find, needs):
    few = [own[own.seed < 1] if "seed" in own else own.assign(n=1, low=np.nan, high=np.nan) for own in tables(needs)]
    found = find(*few)
    require_readable(found)
    assert found.verdict == OPEN
    assert re.search(r"\d", found.sentence)


@each_finding
def test_a_finding_does_not_depend_on_the_order_of_runs(find, needs):
    reversed_seeds = [
        own.sort_values("seed", ascending=False, kind="stable") if "seed" in own else own for own in tables(needs)
    ]
    found, other = find(*tables(needs)), find(*reversed_seeds)
    assert (found.verdict, found.sentence) == (other.verdict, other.sentence)


@each_finding
@pytest.mark.parametrize(
    "changed",
    [
        lambda own: own[own.arch == "conv"],
        lambda own: own.assign(arch="convbn"),
        lambda own: own[own.latent_dim == 10],
        lambda own: own[(own.arch == "conv") | (own.get("seed", 0) == 0)],
        lambda own: own.assign(seed=own.seed + 3 * (own.arch == "conv")) if "seed" in own else own,
    ],
    ids=["one architecture", "another", "one dimension", "one seed of an arm", "no seed shared"],
)
def test_a_finding_of_fewer_models_can_be_read(find, needs, changed):
    require_readable(find(*[changed(own) for own in tables(needs)]))


@each_finding
def test_a_finding_of_tables_with_holes_can_be_read(find, needs):
    rng = np.random.default_rng(3)
    given = tables(needs)
    for place, (own, names) in zip(range(len(given)), needs, strict=True):
        for name in names.split():
            given[place] = given[place].assign(**{name: own[name].where(rng.random(len(own)) > 0.3)})
    require_readable(find(*given))


def test_other_names_of_classes_decide_nothing_of_digits():
    clothes = by_class().assign(names=[list("abcdefghij")] * 18)
    for find in (findings.eight_at_the_centre, findings.edge_and_mistakes, findings.four_and_nine_overlap):
        found = find(clothes)
        assert (found.verdict, "these images have no class" in found.sentence) == (OPEN, True)


def test_the_claims_are_fifteen_in_their_order():
    found = decided(Evidence())
    assert {one.verdict for one in found} == {OPEN}
    begins = (
        "The reconstruction falls", "Convolutional models are better", "A convolutional model needs",
        "Fully connected models", "The KL rises", "More latent dimensions make", "A path between", "The 8",
        "In two dimensions", "4 and 9", "The codes of a class", "Latent space", "Equal weights", "Training on salt",
        "Samples have a FID",
    )  # fmt: skip
    assert [one.claim.startswith(begin) for one, begin in zip(found, begins, strict=True)] == [True] * 15


def test_the_claims_are_decided_by_their_own_tables():
    grid, classes = runs(), by_class()
    evidence = Evidence(grid, classes, HISTORIES, STEPS, EQUAL, SIZED, WEIGHTS, NOISE, 9.2)
    assert decided(evidence) == [
        findings.reconstruction_falls(grid),
        findings.conv_beats_linear(EQUAL, SIZED),
        findings.half_the_parameters(SIZED),
        findings.lower_kl(grid, 9.2),
        findings.kl_rises(HISTORIES, STEPS),
        findings.sharper_not_more_plausible(grid),
        findings.plausible_paths(grid),
        findings.eight_at_the_centre(classes),
        findings.edge_and_mistakes(classes),
        findings.four_and_nine_overlap(classes),
        findings.class_is_gaussian(grid, classes),
        findings.ten_clusters(grid),
        findings.equal_weights_are_best(WEIGHTS),
        findings.noise_helps(NOISE),
        findings.fid_of_the_architectures(EQUAL, grid),
    ]


def test_a_claim_is_explained_with_who_made_it_and_what_decides_it():
    claims = decided(Evidence())
    texts = findings.explained(claims).split("\n\n---\n\n")
    assert len(texts) == 15
    for number, (text, claim, maker) in enumerate(zip(texts, claims, findings.MADE_BY, strict=True), start=1):
        assert text.startswith(f"**{number}. {claim.claim}** ({maker})")
        assert "*Not decided.* Not decided: " not in text
        assert f"{{ref}}`where it is seen <{claim.where}>`" in text
        assert text.endswith(f"Decided by: {claim.criterion}")


def test_findings_take_tables_first():
    """A chapter calls each with its table, or with None where the edition has none."""
    for find in NEEDS:
        first = next(iter(inspect.signature(find).parameters.values()))
        assert first.default is inspect.Parameter.empty
