import numpy as np
import pandas as pd
import pytest
from test_findings_choices import equal
from test_findings_finding import interval_of, table, wide

from vaelib.results import findings
from vaelib.results.findings import DEPENDS, FAILS, HOLDS, OPEN

L2, L10, L50, C2, C10, C50 = ((arch, d) for arch in ("linear", "conv") for d in (2, 10, 50))


def known(cases, value):
    return dict.fromkeys(cases, value)


@pytest.mark.parametrize(
    ("mixture", "verdict"),
    [
        ({L2: 29, C2: 20}, HOLDS),
        ({L2: 30, C2: 20}, DEPENDS),
        ({L2: 30, C2: 31}, FAILS),
        ({L2: wide(30), C2: 20}, OPEN),
    ],
)
def test_a_mixture_is_better_where_its_fid_is_lower(mixture, verdict):
    rows = table(
        classifier_mixture_fid=mixture, classifier_prior_fid=known(mixture, 30), classifier_real_fid=known(mixture, 1.1)
    )
    assert findings.mixture_beats_prior(rows).verdict == verdict


def test_the_gain_of_a_mixture_is_told():
    fids = np.array([20.0, 22, 19])
    rows = table(classifier_mixture_fid={L2: fids}, classifier_prior_fid={L2: 30}, classifier_real_fid={L2: 1.14})
    (gain, span), (fid, other) = interval_of(fids - 30, 1, sign=True), interval_of(fids, 1)
    said = findings.mixture_beats_prior(rows).sentence
    assert f"The difference is {gain} {span} in the fully connected model at d = 2." in said
    assert f"The lowest FID is {fid} {other}, of the fully connected model at d = 2; as many training images" in said


@pytest.mark.parametrize(
    ("bounds", "fids", "verdict"),
    [
        ({L2: 134, C10: 91}, {L2: 60, C10: 30}, HOLDS),
        ({L2: 134, C10: 91}, {L2: 30, C10: 60}, FAILS),
        ({L2: 134, C10: 91}, {L2: 30, C10: wide(31)}, OPEN),
        ({L2: wide(92), C10: 91}, {L2: 30, C10: 60}, OPEN),  # Which has the better likelihood is not shown.
        ({L2: 134}, {L2: 60}, OPEN),
    ],
)
def test_likelihood_and_fid_agree_where_one_model_is_best_by_both(bounds, fids, verdict):
    rows = table(negative_bound_nats=bounds, classifier_prior_fid=fids)
    assert findings.likelihood_against_fid(rows).verdict == verdict


@pytest.mark.parametrize(
    ("precision", "verdict"),
    [
        ({L2: 0.8, C2: 0.7}, HOLDS),
        ({L2: 0.9, C2: 0.7}, DEPENDS),
        ({L2: 0.9, C2: 0.84}, FAILS),
        ({L2: wide(0.8), C2: 0.8}, OPEN),
    ],
)
def test_samples_are_less_precise_where_their_precision_is_lower(precision, verdict):
    rows = table(classifier_prior_precision=precision, classifier_real_precision=known(precision, 0.84))
    found = findings.blur_counts_as_precise(rows)
    assert found.verdict == verdict
    assert "that of training images is 84.0 %." in found.sentence
    assert ("It is no lower in" in found.sentence) == (verdict in (DEPENDS, FAILS))


def samples(sharp=0.02, sure=0.8, precision=0.6, arch="linear"):
    """Models of two dimensions, whose samples are of sharpness 0.01, sure by 0.9 and precise by 0.8, and of fifty."""
    few, many = (arch, 2), (arch, 50)
    return table(
        sharpness_prior={few: 0.01, many: sharp},
        classifier_prior_sure={few: 0.9, many: sure},
        classifier_prior_precision={few: 0.8, many: precision},
    )


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (samples(), HOLDS),
        (samples(sure=0.9), HOLDS),  # It stays, and so does not rise.
        (samples(precision=0.9), DEPENDS),
        (samples(sharp=0.01, sure=0.95, precision=0.9), FAILS),
        (samples(sure=wide(0.9)), OPEN),
        (samples().query("latent_dim == 2"), OPEN),
        (pd.concat([samples(), samples(arch="conv").query("latent_dim == 2")]), HOLDS),
    ],
)
def test_samples_are_sharper_and_no_more_plausible(rows, verdict):
    assert findings.sharper_not_more_plausible(rows).verdict == verdict


def test_the_change_of_sharpness_is_told_as_a_share():
    sharp = np.array([0.016, 0.017, 0.015])
    mean, span = interval_of(100 * (sharp - 0.01) / 0.01, 0, sign=True)
    assert (
        f"changes by {mean} % {span}, the classifier's" in findings.sharper_not_more_plausible(samples(sharp)).sentence
    )


@pytest.mark.parametrize(
    ("fids", "verdict"),
    [
        ({L2: 90, L50: 25.7, C50: 23.8}, HOLDS),
        ({L50: 25.7, C50: 26}, DEPENDS),
        ({L50: 25.8, C50: 23.7}, FAILS),
        ({L50: [24, 25, 27]}, OPEN),
        ({}, OPEN),
    ],
)
def test_the_reported_fid_is_reached_within_one(fids, verdict):
    assert findings.fid_of_the_architectures(None, table(inception_prior_fid=fids)).verdict == verdict


def test_the_architectures_are_compared_by_fid_without_inception():
    found = findings.fid_of_the_architectures(equal({2: -3, 10: 1}, "classifier_prior_fid", spread=0.5))
    assert found.verdict == OPEN
    assert "have the lower FID at d = 2." in found.sentence
    assert "between -3.0 (-3.5 to -2.5) at d = 2 and +1.0 (+0.5 to +1.5) at d = 10." in found.sentence
    without = findings.fid_of_the_architectures(None)
    assert (without.verdict, "not compared" in without.sentence) == (OPEN, True)


def paths(straight, arc, arch="linear"):
    two, ten = (arch, 2), (arch, 10)
    return table(classifier_straight_sure={two: 0.9, ten: straight}, classifier_arc_sure={two: 0.9, ten: arc})


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (paths(0.8, 0.85), HOLDS),
        (paths(0.8, 0.9), DEPENDS),
        (pd.concat([paths(0.8, 0.8), paths(0.95, 0.95, "conv")]), DEPENDS),
        (paths(0.95, 0.9), FAILS),
        (paths(wide(0.8), 0.8), OPEN),
        (paths(0.8, 0.8).query("latent_dim == 2"), OPEN),
    ],
)
def test_paths_are_less_plausible_where_the_classifier_is_less_sure(rows, verdict):
    assert findings.plausible_paths(rows).verdict == verdict


def test_the_change_along_paths_is_told():
    straight = np.array([0.8, 0.82, 0.79])
    mean, span = interval_of(100 * (straight - 0.9), 1, sign=True)
    said = findings.plausible_paths(paths(straight, 0.9)).sentence
    assert (
        f"by {mean} percentage points {span} on straight paths and 0.0 percentage points (0.0 to 0.0) on arcs." in said
    )


def blends(sure, near):
    columns = {"straight_sure": sure, "straight_nearest": near, "straight_even": known(sure, 0.5)}
    columns |= {"blended_sure": known(sure, 0.8), "blended_nearest": known(sure, 6), "blended_even": known(sure, 0.6)}
    return table(**{f"classifier_{name}": values for name, values in columns.items()})


@pytest.mark.parametrize(
    ("sure", "near", "verdict"),
    [
        ({L2: 0.9, C2: 0.85}, {L2: 4, C2: 5}, HOLDS),
        ({L2: 0.9, C2: 0.8}, {L2: 4, C2: 5}, DEPENDS),
        ({L2: 0.9}, {L2: 6}, DEPENDS),
        ({L2: 0.7}, {L2: 6}, FAILS),
        ({L2: wide(0.9)}, {L2: 4}, OPEN),
    ],
)
def test_decoded_paths_are_better_where_they_are_surer_and_nearer(sure, near, verdict):
    found = findings.decoded_paths_beat_blending(blends(sure, near))
    assert found.verdict == verdict
    assert "against 80.0 % of the blend." in found.sentence
    assert "against 6.00." in found.sentence


@pytest.mark.parametrize(
    ("arc", "verdict"),
    [
        ({L2: 0.95, C2: 0.92}, HOLDS),
        ({L2: 0.95, C2: 0.9}, DEPENDS),
        ({L2: 0.8}, FAILS),
        ({L2: wide(0.95)}, OPEN),
    ],
)
def test_an_arc_is_better_where_the_classifier_is_surer(arc, verdict):
    rows = table(classifier_arc_sure=arc, classifier_straight_sure=known(arc, 0.9))
    assert findings.arc_against_straight(rows).verdict == verdict


@pytest.mark.parametrize(
    ("kept", "verdict"),
    [
        ({L2: 0.96, C2: 0.99}, HOLDS),
        ({L2: 0.95, C2: 0.99}, DEPENDS),
        ({L2: 0.8, C2: 0.95}, FAILS),
        ({L2: [0.9, 0.96, 1.0]}, OPEN),
    ],
)
def test_labels_are_kept_where_more_than_nineteen_in_twenty_are(kept, verdict):
    assert findings.labels_are_kept(table(classifier_kept=kept)).verdict == verdict


def test_the_share_of_kept_labels_is_told():
    kept = [0.93, 0.94, 0.935]
    mean, span = interval_of(100 * np.array(kept), 1)
    said = findings.labels_are_kept(table(classifier_kept={L2: 0.7, C10: kept})).sentence
    assert f"and {mean} % {span} in the convolutional model at d = 10." in said


LEVEL = "salt-pepper:0.1"


def restored(on_noise, on_clean, arch="linear", **others):
    """Runs trained on clean images, of error 0.02 on noise and 0.01 without, and runs trained on noise."""
    errors = {("", LEVEL): 0.02, ("", "none"): 0.01, (LEVEL, LEVEL): on_noise, (LEVEL, "none"): on_clean}
    tables = [
        table(error={(arch, 10): error}).assign(trained=trained, noise=noise, **others)
        for (trained, noise), error in errors.items()
    ]
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        (restored(0.01, 0.009), HOLDS),
        (restored(0.01, 0.01), DEPENDS),
        (restored(0.02, 0.009), FAILS),
        (restored(0.01, wide(0.01)), OPEN),
        (restored(wide(0.01), 0.009), OPEN),
        (pd.concat([restored(0.01, 0.009), restored(0.03, 0.009, "conv")]), DEPENDS),
        (restored(0.01, 0.009).query("trained == ''"), OPEN),
        (restored(0.01, 0.009).query("noise == 'none'"), OPEN),
    ],
)
def test_noise_helps_where_the_error_is_lower_with_and_without(rows, verdict):
    assert findings.noise_helps(rows).verdict == verdict


def test_the_change_of_the_error_is_told_as_a_share():
    errors = np.array([0.012, 0.01, 0.011])
    mean, span = interval_of(100 * (errors - 0.02) / 0.02, 1, sign=True)
    said = findings.noise_helps(restored(errors, 0.011)).sentence
    assert f"by {mean} % {span} on such images and +10.0 % (+10.0 to +10.0) on clean images." in said
    assert said.startswith("Training on salt-and-pepper noise on 10 % of the pixels changes")


@pytest.mark.parametrize(
    ("error", "accuracy", "verdict"),
    [
        (0.01, 0.95, HOLDS),
        (0.01, 0.93, DEPENDS),
        (0.013, 0.93, FAILS),
        (wide(0.01), 0.95, OPEN),
    ],
)
def test_a_model_beats_the_median_where_its_error_is_lower(error, accuracy, verdict):
    rows = restored(error, 0.01, accuracy=accuracy, median_error=0.013, median_accuracy=0.93)
    assert findings.better_than_a_median(rows).verdict == verdict


def test_the_median_is_told_beside_the_model():
    errors = np.array([0.0101, 0.0098, 0.0095])
    rows = restored(errors, 0.01, accuracy=0.95, median_error=0.013, median_accuracy=0.93)
    mean, span = interval_of(errors - 0.013, 4, sign=True)
    said = findings.better_than_a_median(rows).sentence
    assert f"a squared error of 0.0098 a pixel, {mean} {span} against the median filter." in said
    assert "95.0 % of what the model restores rightly, +2.0 percentage points (+2.0 to +2.0)" in said
    assert findings.better_than_a_median(rows, "gaussian:0.25").verdict == OPEN


def test_noise_has_a_name_in_words():
    assert findings.noise_name("salt-pepper:0.05") == "salt-and-pepper noise on 5 % of the pixels"
    assert findings.noise_name("gaussian:0.25") == "Gaussian noise with a standard deviation of 0.25"
