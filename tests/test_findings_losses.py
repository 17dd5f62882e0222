import numpy as np
import pandas as pd
import pytest
from test_findings_finding import interval_of, table, wide

from vaelib.results import findings
from vaelib.results.findings import DEPENDS, FAILS, HOLDS, OPEN

L2, L10, L50, C2, C10, C50 = ((arch, d) for arch in ("linear", "conv") for d in (2, 10, 50))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({L2: 135, L10: 90, L50: 77}, HOLDS),  # Exactly a tenth from 150 and from 70.
        ({L2: 134.9, L10: 90, L50: 77}, DEPENDS),
        ({L2: 150, L10: 90, L50: 77.1}, DEPENDS),
        ({L2: 150, L10: 70, L50: 71}, DEPENDS),
        ({L2: 150, L10: 160, L50: 170}, FAILS),
        ({L2: 150, L10: wide(70), L50: 70}, OPEN),
        ({L2: 150, L10: 90}, OPEN),  # It falls, but d = 50 was not measured.
        ({L2: 120, L10: 90}, DEPENDS),
        ({L2: 150, L50: 70, C2: 150, C10: 90}, HOLDS),  # The other architecture has steps of its own.
        ({L2: 150, L50: 70, C2: 70, C50: 90}, DEPENDS),
        ({L2: 150}, OPEN),
    ],
)
def test_reconstruction_falls_where_each_step_does(values, verdict):
    assert findings.reconstruction_falls(table(recon_nats=values)).verdict == verdict


def test_reconstruction_is_told_at_its_ends():
    first, last = [151.0, 149, 152], [90.0, 92, 91]
    said = findings.reconstruction_falls(table(recon_nats={C2: first, C10: 110, C50: last})).sentence
    (before, span), (after, other) = interval_of(first), interval_of(last)
    assert f"from {before} nats {span} at d = 2 to {after} nats {other} at d = 50; it falls at both steps." in said
    assert "A report has 70 nats at d = 50, more than a tenth away." in said
    assert said.startswith("In the convolutional models")
    assert said.endswith("n = 3 seeds.")


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({L2: 140, L10: 100, L50: 99.4}, HOLDS),
        ({L2: 140, L10: 100, L50: 99.5}, DEPENDS),  # Half a nat counts as none.
        ({L2: 140, L10: 139.8, L50: 141}, FAILS),
        ({L2: 140, L10: 100, L50: wide(99)}, OPEN),
        ({L2: 140}, OPEN),
    ],
)
def test_dimensions_help_where_a_step_lowers_the_loss_by_more_than_half_a_nat(values, verdict):
    found = findings.where_it_stops_helping(table(negative_elbo_nats=values))
    assert found.verdict == verdict


def test_a_step_that_does_not_help_is_named_with_its_change():
    before, after = np.array([100.0, 101, 99]), np.array([100.1, 100.8, 99.3])
    said = findings.where_it_stops_helping(table(negative_elbo_nats={L2: 140, L10: before, L50: after})).sentence
    mean, span = interval_of(after - before, sign=True)
    assert f"falls at 1 of 2 steps (not decided at 1); from d = 10 to d = 50 it changes by {mean} nats {span}." in said


def test_the_architectures_of_the_grid_are_compared_at_each_dimension():
    def verdict(two, ten):
        return findings.lowest_negative_elbo(
            table(negative_elbo_nats={L2: 140, C2: 140 + two, L10: 100, C10: ten if np.ndim(ten) else 100 + ten})
        ).verdict

    assert verdict(-1, -1) == HOLDS
    assert verdict(-1, -0.5) == DEPENDS
    assert verdict(1, 0) == FAILS
    assert verdict(-1, wide(99)) == OPEN


def test_the_lowest_loss_is_told_of_one_architecture_too():
    values = [95.0, 96, 95.5]
    found = findings.lowest_negative_elbo(table(negative_elbo_nats={C2: 140, C50: values}))
    assert found.verdict == OPEN
    mean, span = interval_of(values)
    assert found.sentence.startswith(f"The lowest negative ELBO is {mean} nats {span}, of the convolutional model at d")


@pytest.mark.parametrize(
    ("elbo", "bound", "verdict", "words"),
    [
        ({L2: 100, C2: 99}, {L2: 98, C2: 98.5}, HOLDS, "change places."),
        ({L2: 100, C2: 99}, {L2: 98, C2: 97}, FAILS, "the order of the models stays"),
        ({L2: 100, C2: 99}, {L2: wide(98), C2: 98.5}, OPEN, "which the seeds do not show"),
        ({L2: 100}, {L2: 98}, OPEN, "two models or more"),
    ],
)
def test_the_gap_decides_where_taking_it_off_changes_the_order(elbo, bound, verdict, words):
    rows = table(negative_elbo_nats=elbo, negative_bound_nats=bound)
    found = findings.gap_of_the_bound(rows.assign(gap_nats=rows.negative_elbo_nats - rows.negative_bound_nats))
    assert found.verdict == verdict
    assert words in found.sentence


@pytest.mark.parametrize(
    ("at_mean", "verdict"),
    [
        ({L2: 88, C2: 89}, HOLDS),
        ({L2: 88, C2: 90}, DEPENDS),
        ({L2: 91, C2: 90}, FAILS),
        ({L2: wide(89), C2: 88}, OPEN),
    ],
)
def test_a_mean_code_flatters_where_it_costs_less(at_mean, verdict):
    found = findings.mean_code_is_no_bound(table(recon_nats={L2: 90, C2: 90}, recon_at_mean_nats=at_mean))
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("kl", "marginal", "verdict"),
    [
        ({L2: 6, C2: 7}, {L2: 1, C2: 0.5}, HOLDS),
        ({L2: 6, C2: 7}, {L2: 0.5, C2: 1}, DEPENDS),
        ({L2: 7, C2: 6}, {L2: 0.5, C2: 1}, FAILS),
        ({L2: wide(6), C2: 7}, {L2: 1, C2: 0.5}, OPEN),
        ({L2: 6}, {L2: 1}, OPEN),
    ],
)
def test_the_two_claims_of_the_kl_are_decided_together(kl, marginal, verdict):
    rows = table(kl_nats=kl, marginal_kl_nats=marginal, mutual_information_nats=dict.fromkeys(kl, 6))
    assert findings.lower_kl(rows, 9.2).verdict == verdict


def test_a_code_that_names_each_image_measures_no_marginal_kl():
    def found(information):
        return findings.lower_kl(
            table(
                kl_nats={L2: 6, C2: 7},
                marginal_kl_nats={L2: 1, C2: 0.5},
                mutual_information_nats={L2: information, C2: information},
            ),
            9.0,
        )

    assert found(8.4).verdict == HOLDS
    assert found(8.5).verdict == OPEN
    assert "At d = 2 there are too few images" in found(8.5).sentence


@pytest.mark.parametrize(
    ("information", "verdict"),
    [
        ({L2: 9.5, C2: 9.1}, HOLDS),
        ({L2: 9.5, C2: 9.0}, DEPENDS),
        ({L2: 5, C2: 8}, FAILS),
        ({L2: wide(9), C2: 9.5}, OPEN),
    ],
)
def test_the_kl_is_information_where_nine_tenths_are(information, verdict):
    rows = table(kl_nats={L2: 10, C2: 10}, mutual_information_nats=information)
    assert findings.kl_is_information(rows).verdict == verdict
    assert findings.kl_is_information(rows, 4).verdict == OPEN


def test_the_share_of_information_is_told():
    information = np.array([8.0, 8.4, 8.8])
    rows = table(kl_nats={L2: 10, L10: 20}, mutual_information_nats={L2: information, L10: 9.2})
    said = findings.kl_is_information(rows, 9.21).sentence
    mean, span = interval_of(10 * information, 1)
    assert f"is {mean} % {span} in the fully connected model at d = 2." in said
    assert "At d = 10 there are too few images" in said


@pytest.mark.parametrize(
    ("active", "verdict"),
    [
        ({L10: 10, L50: 12, C50: 16}, HOLDS),
        ({L50: 50, C50: 16}, DEPENDS),
        ({L50: 50, C50: 50}, FAILS),
        ({L50: [50, 49, 50], C50: 16}, OPEN),
    ],
)
def test_dimensions_are_unused_where_fewer_are_active(active, verdict):
    assert findings.unused_dimensions(table(active_units=active)).verdict == verdict


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [
        ({L10: 97, L50: 96, C10: 95, C50: 94}, HOLDS),
        ({L10: 97, L50: 96, C10: 95, C50: 94.5}, DEPENDS),
        ({L10: 97, L50: 97}, FAILS),
        ({L10: 97, L50: wide(96)}, OPEN),
        ({L2: 97, L10: 96}, OPEN),
        ({L2: 97, L50: 96}, OPEN),
        ({L10: 97, L50: 96, C2: 95}, HOLDS),
    ],
)
def test_more_than_ten_dimensions_help_where_the_loss_falls(loss, verdict):
    rows = table(negative_elbo_nats=loss, kl_nats=dict.fromkeys(loss, 20))
    found = findings.most_dimensions_over_ten(rows.assign(recon_nats=rows.negative_elbo_nats - rows.kl_nats))
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [
        ({L2: 97, L10: 96, L50: 96.5, C10: 95, C50: 90}, HOLDS),  # Lower is no harm, and half a nat is none.
        ({L10: 96, L50: 96.6, C10: 95, C50: 95}, DEPENDS),
        ({L10: 96, L50: 97}, FAILS),
        ({L10: 96, L50: wide(96)}, OPEN),
        ({L2: 96, L10: 96}, OPEN),
        ({L2: 96, L50: 96}, OPEN),
    ],
)
def test_further_dimensions_harm_where_they_cost_more_than_half_a_nat(loss, verdict):
    rows = table(negative_elbo_nats=loss, active_units=dict.fromkeys(loss, 12))
    assert findings.further_dimensions_do_no_harm(rows).verdict == verdict


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        ({L10: 60, L50: 61, C10: 80, C50: 80}, HOLDS),
        ({L10: 60, L50: 61, C10: 80, C50: 90}, DEPENDS),
        ({L10: 60, L50: 70}, FAILS),
        ({L10: 60, L50: [50, 60, 80]}, OPEN),
        ({L10: 60}, OPEN),
    ],
)
def test_dimensions_cost_time_where_a_tenth_is_added(seconds, verdict):
    assert findings.more_dimensions_take_no_longer(table(seconds=seconds)).verdict == verdict


def test_times_are_told_as_a_ratio():
    said = findings.more_dimensions_take_no_longer(table(seconds={L10: [60, 50, 70], L50: [90, 75, 105]})).sentence
    assert "takes 1.50 (1.50 to 1.50) times as long as with ten." in said


EPOCHS, BATCHES = np.arange(1, 16), np.arange(60)
FALLING, FLAT = 30 * np.exp(-BATCHES / 10) + 3, np.full(60, 10.0)


def histories(*paths, column="kl", over="epoch"):
    """Runs of one architecture, a path of three seeds each, by its number as latent_dim."""
    return pd.DataFrame(
        {"arch": "linear", "latent_dim": d, "seed": seed, over: i + 1, column: value}
        for d, path in enumerate(paths)
        for seed in range(3)
        for i, value in enumerate(path[seed] if np.ndim(path) == 2 else path)
    )


@pytest.mark.parametrize(
    ("paths", "starts", "verdict"),
    [
        ([EPOCHS], [FALLING], HOLDS),
        ([EPOCHS], [FLAT], DEPENDS),
        ([-EPOCHS], [FALLING], DEPENDS),
        ([-EPOCHS], [FLAT], FAILS),
        ([EPOCHS, -EPOCHS], [FALLING], DEPENDS),
        ([[EPOCHS, -EPOCHS, EPOCHS]], [FALLING], OPEN),
        ([EPOCHS], [], OPEN),
        ([EPOCHS], [FALLING[:19]], OPEN),  # There are not twenty batches to average over.
        ([EPOCHS[:3]], [FALLING], OPEN),
        ([np.ones(15)], [FALLING], OPEN),  # A KL that stays has no rank correlation.
    ],
)
def test_the_kl_rises_where_its_epochs_do_after_a_fall(paths, starts, verdict):
    steps = histories(*starts, over="step") if starts else None
    assert findings.kl_rises(histories(*paths), steps).verdict == verdict


def test_the_trend_of_the_kl_is_kendalls_tau():
    swapped = [2, 1, 3, 4, 5, 6]  # One of the 15 pairs is out of order: (14 - 1) / 15.
    said = findings.kl_rises(histories(swapped), histories(FALLING, over="step")).sentence
    assert "Kendall's tau is +0.87 (+0.87 to +0.87) in the fully connected model at d = 0" in said
    assert "in all 3 runs" in said
