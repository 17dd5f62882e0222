import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_findings_finding import interval_of, table, wide

from vaelib.results import findings
from vaelib.results.findings import DEPENDS, FAILS, HOLDS, OPEN
from vaelib.results.findings.codes import agreed

NAMES = tuple("0123456789")
L2, L10, L50, C2, C10 = ("linear", 2), ("linear", 10), ("linear", 50), ("conv", 2), ("conv", 10)


def classes(names=NAMES, **columns):
    """Runs with lists and matrices by class: a column gives those of three seeds, of each (arch, latent_dim)."""
    rows = table(**columns)
    return rows.assign(names=[list(names)] * len(rows))


def seen(name):
    """What the classifier sees at the centre, most of it one class."""
    return [0.9 if name == other else 0.01 for other in NAMES]


@pytest.mark.parametrize(
    ("centres", "verdict"),
    [
        ({L2: "888", C2: "888"}, HOLDS),
        ({L2: "888", C2: "333"}, DEPENDS),
        ({L2: "838"}, DEPENDS),
        ({L2: "135"}, FAILS),
    ],
)
def test_the_eight_is_at_the_centre_where_it_is_seen_most(centres, verdict):
    rows = classes(centre={case: [seen(name) for name in names] for case, names in centres.items()})
    assert findings.eight_at_the_centre(rows).verdict == verdict


def test_the_share_of_centres_has_wilsons_interval():
    rows = classes(centre={L2: [seen("8")] * 3, C2: [seen("3")] * 3, C10: [seen(name) for name in "388"]})
    said = findings.eight_at_the_centre(rows).sentence
    low, high = stats.binomtest(5, 9).proportion_ci(0.95, method="wilson")
    assert f"in 5 of 9 runs (95 % interval {100 * low:.0f} to {100 * high:.0f} %)." in said
    assert "It lies there in every seed of the fully connected model at d = 2." in said
    assert "It lies there in no seed of the convolutional model at d = 2." in said


def test_another_class_may_be_asked_for():
    rows = classes(names=("hat", "shoe"), centre={L2: [[0.2, 0.8]] * 3})
    assert findings.eight_at_the_centre(rows, "shoe").verdict == HOLDS
    found = findings.eight_at_the_centre(rows)
    assert (found.verdict, found.sentence) == (OPEN, "Not decided: these images have no class 8.")


def lengths(longest="01"):
    return [3.0 if name in longest else 1.0 + int(name) / 100 for name in NAMES]


def redrawn(nines=0.2, eights=0.1, other=0.05):
    """Of each class's images the share of the reconstructions that are taken for each class."""
    matrix = np.full((10, 10), 0.01)
    np.fill_diagonal(matrix, 0.8)
    matrix[7, [9, 2]], matrix[5, [8, 3]] = (nines, other), (eights, other)
    return matrix


@pytest.mark.parametrize(
    ("length", "matrix", "verdict"),
    [
        (lengths(), redrawn(), HOLDS),
        (lengths("012"), redrawn(), HOLDS),
        (lengths("345"), redrawn(), DEPENDS),
        ([3, 2, 1, 1, 1, 3, 3, 1, 1, 1], redrawn(), DEPENDS),  # The 1 is the fourth.
        (lengths(), redrawn(nines=0.04), DEPENDS),
        (lengths("345"), redrawn(nines=0.04, eights=0.04), FAILS),
        (lengths("345"), np.eye(10), FAILS),  # Nothing is redrawn as another class.
    ],
)
def test_edge_and_mistakes_are_asked_of_each_run(length, matrix, verdict):
    rows = classes(
        length={L2: [length] * 3, L10: [lengths("789")] * 3}, reconstruction={L2: [matrix] * 3, L10: [matrix] * 3}
    )
    assert findings.edge_and_mistakes(rows).verdict == verdict


def test_a_mistake_in_one_run_makes_it_depend():
    rows = classes(length={L2: [lengths()] * 3}, reconstruction={L2: [redrawn(), redrawn(), redrawn(eights=0)]})
    found = findings.edge_and_mistakes(rows)
    assert found.verdict == DEPENDS
    assert "and the 8 is that for a 5 in 2 of 3 runs." in found.sentence


def test_the_shares_of_mistakes_are_told():
    nines = [0.2, 0.24, 0.31]
    rows = classes(length={L2: [lengths()] * 3}, reconstruction={L2: [redrawn(nines=share) for share in nines]})
    mean, span = interval_of(100 * np.array(nines), 1)
    assert f"{mean} % {span} of the 7s are redrawn as 9" in findings.edge_and_mistakes(rows).sentence


def test_edges_and_mistakes_are_those_of_two_dimensions():
    rows = classes(length={L10: [lengths()] * 3}, reconstruction={L10: [redrawn()] * 3})
    assert findings.edge_and_mistakes(rows).verdict == OPEN


def overlaps(pair=0.4, apart=0.02, other=0.1):
    matrix = np.full((10, 10), 0.01)
    for (a, b), value in {(4, 9): pair, (3, 8): apart, (2, 7): other}.items():
        matrix[a, b] = matrix[b, a] = value
    np.fill_diagonal(matrix, 0)
    return matrix


@pytest.mark.parametrize(
    ("two", "ten", "verdict"),
    [
        ([overlaps()] * 3, [overlaps(pair=0.1)] * 3, HOLDS),
        ([overlaps()] * 3, [overlaps(pair=0.05)] * 3, DEPENDS),
        ([overlaps(apart=0.05)] * 3, [overlaps()] * 3, DEPENDS),
        ([overlaps(pair=0.05, apart=0.06)] * 3, [overlaps(pair=0.05, apart=0.06)] * 3, FAILS),
        ([overlaps(), overlaps(), overlaps(pair=0.05)], [overlaps()] * 3, OPEN),
        ([overlaps(apart=share) for share in (0.01, 0.04, 0.07)], [overlaps()] * 3, OPEN),
    ],
)
def test_four_and_nine_overlap_where_no_pair_does_more(two, ten, verdict):
    assert findings.four_and_nine_overlap(classes(overlap={L2: two, L10: ten})).verdict == verdict


def test_overlaps_are_told_at_both_dimensions_which_it_takes():
    pairs = [0.4, 0.44, 0.42]
    two = [overlaps(pair=pair) for pair in pairs]
    said = findings.four_and_nine_overlap(classes(overlap={L2: two, L10: [overlaps(pair=0.05)] * 3})).sentence
    mean, span = interval_of(100 * np.array(pairs), 1)
    assert f"At d = 2 the overlap of 4 and 9 is {mean} % {span} in the fully connected model." in said
    assert "It is the largest of all pairs in 0 of 3 runs." in said
    assert findings.four_and_nine_overlap(classes(overlap={L2: two})).verdict == OPEN


@pytest.mark.parametrize(
    ("worst", "verdict"),
    [
        ({L2: 0.51, L10: 0.7}, HOLDS),
        ({L2: 0.5, L10: 0.7}, DEPENDS),
        ({L2: 0.4, L10: 0.5}, FAILS),
        ({L2: [0.3, 0.5, 0.7], L10: 0.7}, OPEN),
    ],
)
def test_a_class_is_gaussian_where_its_worst_has_more_than_half(worst, verdict):
    grid = table(classifier_hits_full=dict.fromkeys(worst, 0.9), classifier_hits_diagonal=dict.fromkeys(worst, 0.8))
    hits = {case: [[0.9, share, np.nan] for share in np.broadcast_to(own, 3)] for case, own in worst.items()}
    found = findings.class_is_gaussian(grid, classes(hits_full=hits))
    assert found.verdict == verdict
    assert "With a diagonal covariance it is 80.0 % (80.0 to 80.0) in" in found.sentence


def clusters(purity, changes):
    known = dict.fromkeys(purity, 0.8)
    return table(purity=purity, classifier_straight_changes=changes, tsne_purity=known, tsne_trustworthiness=known)


@pytest.mark.parametrize(
    ("purity", "changes", "verdict"),
    [
        ({L2: 0.5, L10: 0.95}, {L2: 3, L10: 1.2}, HOLDS),
        ({L10: 0.9}, {L10: 1.2}, DEPENDS),
        ({L10: 0.9}, {L10: 1.5}, FAILS),
        ({L10: [0.7, 0.9, 1.0]}, {L10: 1.2}, OPEN),
        ({L2: 0.95}, {L2: 1.2}, OPEN),
    ],
)
def test_latent_space_has_clusters_where_k_means_finds_them(purity, changes, verdict):
    assert findings.ten_clusters(clusters(purity, changes)).verdict == verdict


@pytest.mark.parametrize(
    ("knn", "verdict"),
    [
        ({L2: 0.7, L10: 0.9}, HOLDS),
        ({L2: 0.7, L10: 0.6}, DEPENDS),
        ({L2: 0.5, L10: 0.6}, FAILS),
        ({L2: 0.7, L10: [0.5, 0.6, 0.8]}, OPEN),
    ],
)
def test_codes_are_better_where_more_neighbours_agree(knn, verdict):
    assert findings.codes_against_components(table(knn=knn, pca_knn=dict.fromkeys(knn, 0.6))).verdict == verdict


def test_the_difference_to_components_is_told():
    knn = np.array([0.86, 0.85, 0.88])
    said = findings.codes_against_components(table(knn={L10: 0.9, L50: knn}, pca_knn={L10: 0.9, L50: 0.884})).sentence
    mean, span = interval_of(100 * (knn - 0.884), 1, sign=True)
    assert f"{mean} percentage points {span} in the fully connected model at d = 50" in said
    assert "Codes are no better in the fully connected model at d = 10." in said


@pytest.mark.parametrize(
    ("inside", "verdict"),
    [
        ({L2: 0.7, L10: 0.6}, HOLDS),
        ({L2: 0.7, L10: 0.75}, DEPENDS),
        ({L2: 0.95, L10: 0.8}, FAILS),
        ({L2: 0.7, L10: wide(0.7)}, OPEN),
        ({L2: 0.7, L10: np.nan}, HOLDS),  # A model without holes says nothing of them.
    ],
)
def test_holes_are_of_no_class_where_the_classifier_is_unsure(inside, verdict):
    rows = table(
        classifier_holes=dict.fromkeys(inside, 0.1),
        classifier_holes_inside=inside,
        classifier_holes_outside=dict.fromkeys(inside, 0.95),
    )
    found = findings.holes_are_unsure(rows)
    assert found.verdict == verdict
    assert "Outside it is 95.0 % (95.0 to 95.0) in the fully connected model" in found.sentence


def epochs(*ends):
    """Overlaps after two epochs of models of several dimensions: after the first, and after the last by seed."""
    return pd.DataFrame(
        {"arch": "linear", "latent_dim": d, "seed": seed, "epoch": epoch, "overlap": value}
        for d, (first, last) in enumerate(ends)
        for seed in range(3)
        for epoch, value in ((1, first), (15, np.broadcast_to(last, 3)[seed]))
    )


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ([(0.5, 0.3), (0.4, 0.1)], HOLDS),
        ([(0.5, 0.3), (0.4, 0.4)], DEPENDS),
        ([(0.3, 0.5)], FAILS),
        ([(0.4, (0.1, 0.7, 0.3))], OPEN),
    ],
)
def test_classes_part_where_their_overlap_falls(ends, verdict):
    assert findings.four_and_nine_part(epochs(*ends)).verdict == verdict


def test_the_change_of_an_overlap_is_told():
    last = np.array([0.3, 0.32, 0.35])
    said = findings.four_and_nine_part(epochs((0.45, last)), ("hat", "cap")).sentence
    mean, span = interval_of(100 * (last - 0.45), 1, sign=True)
    assert said.startswith("The overlap of hat and cap falls between epoch 1 and epoch 15 in 1 of 1 model.")
    assert f"It changes by {mean} percentage points {span} in" in said


def test_one_epoch_parts_nothing():
    assert findings.four_and_nine_part(epochs((0.5, 0.3)).query("epoch == 1")).verdict == OPEN


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [([True] * 3, True), ([False] * 3, False), ([True, True, False], None), ([True] * 2, None)],
)
def test_seeds_agree_where_three_say_the_same(seeds, expected):
    assert agreed(pd.Series(seeds)) is expected
