"""What the codes themselves say: what lies at the centre and at the edge, what overlaps, what holds together.

Tables are those of finding.py. ``grid`` has the measures of metrics.json under their names, ``classes`` those by class,
lists and matrices in the order of its column ``names``; nan stands for a class without images.
"""

import numpy as np
import pandas as pd

from vaelib.results.findings.finding import (
    DEPENDS,
    FAILS,
    HOLDS,
    SEEDS,
    Estimate,
    Undecided,
    best_case,
    brackets,
    by_case,
    case_name,
    case_names,
    compared,
    counted,
    extremes,
    finding,
    listed,
    measured,
    named,
    paired,
    percent,
    points,
    tally,
    verdict_of,
)


@finding("map-centre")
def eight_at_the_centre(classes: pd.DataFrame | None, name: str = "8") -> tuple[str, str]:
    """The 8 lies at the centre of latent space.

    In a small ball around z = 0 the classifier sees it more than any other class. Holds where that is so for every seed
    of each model, does not hold where it is so for none; depends where it is so for some.
    """
    classes = _with_classes(classes, ["centre"], name)
    there = [row.names[int(np.nanargmax(row.centre))] == name for row in classes.itertuples()]
    shares = classes.assign(there=there).groupby(["arch", "latent_dim"], sort=False).there.mean()
    text = f"The {name} lies at the centre in {_share(there)}."
    for share, words in ((1, "every"), (0, "no")):
        cases = [case for case, own in shares.items() if own == share]
        if cases and 0 < sum(there) < len(there):
            text += f" It lies there in {words} seed of {case_names(cases)}."
    return HOLDS if all(there) else DEPENDS if any(there) else FAILS, text


@finding("classes-edge")
def edge_and_mistakes(classes: pd.DataFrame | None) -> tuple[str, str]:
    """In two dimensions zeros and ones lie at the edge, a 7 is often redrawn as a 9, and a 5 as an 8.

    At d = 2, in each run: 0 and 1 are among the three classes of the longest codes, 9 is the commonest of the wrong
    labels of redrawn 7s, and 8 that of redrawn 5s. Holds where all three are so in every run, does not hold where none
    is in any; depends otherwise.
    """
    classes = _with_classes(classes, ["length", "reconstruction"], *"015789")
    rows = list(measured(classes[classes.latent_dim == 2]).itertuples())

    def becomes(row, was: str, other: str) -> float:
        return row.reconstruction[row.names.index(was)][row.names.index(other)]

    def commonest(row, was: str, other: str) -> bool:
        share = becomes(row, was, other)
        return share > 0 and share >= np.nanmax([becomes(row, was, name) for name in row.names if name != was])

    edge = [{"0", "1"} <= {row.names[i] for i in np.argsort(-np.nan_to_num(row.length))[:3]} for row in rows]
    sevens, fives = ([commonest(row, *mistake) for row in rows] for mistake in ("79", "58"))
    text = (
        f"At d = 2 the 0 and the 1 lie at the edge {tally(edge, 'run')}. The 9 is the commonest mistake for a 7 "
        f"{tally(sevens, 'run')}, and the 8 is that for a 5 {tally(fives, 'run')}."
    )
    shares = pd.DataFrame({"arch": [row.arch for row in rows]})
    for mistake in ("79", "58"):
        shares[mistake] = [becomes(row, *mistake) for row in rows]
    estimates = []
    for arch, own in shares.groupby("arch", sort=False):
        estimates += [Estimate.of(own["79"]), Estimate.of(own["58"])]
        text += (
            f" In the {named(arch)} model {percent(estimates[-2])} of the 7s are redrawn as 9, and "
            f"{percent(estimates[-1])} of the 5s as 8."
        )
    met = [*edge, *sevens, *fives]
    return (HOLDS if all(met) else DEPENDS if any(met) else FAILS), f"{text} {brackets(estimates)}"


@finding("embeddings-overlaps")
def four_and_nine_overlap(classes: pd.DataFrame | None) -> tuple[str, str]:
    """4 and 9 overlap in latent space, while 0, 1, 3, 6 and 8 keep apart.

    The overlap of two digits is the share of their images that the nearest neighbours misname. At d = 2 and at d = 10,
    for each architecture: of all pairs 4 and 9 overlap most, in every run; and of the ten pairs among the other five
    the one that overlaps most is shown to stay below 5 %. Holds where both are so everywhere, does not hold where they
    are nowhere; depends where they are in some cases.
    """
    classes = _with_classes(classes, ["overlap"], *"0134689")
    if not {2, 10} <= set(classes.latent_dim):
        raise Undecided("it takes models of 2 and of 10 dimensions")
    rows = []
    for row in classes[classes.latent_dim.isin((2, 10))].itertuples():
        overlap, place = np.array(row.overlap, dtype=float), row.names.index
        pair = overlap[place("4"), place("9")]
        apart = np.nanmax([overlap[place(a), place(b)] for a in "01368" for b in "01368" if a < b])
        most = pair >= np.nanmax(overlap)
        rows.append(dict(arch=row.arch, latent_dim=row.latent_dim, pair=pair, apart=apart, most=most))
    table = pd.DataFrame(rows)
    truths, texts, estimates = [], [], []
    for d, at in table.groupby("latent_dim"):
        pairs, others = [], []
        for arch, own in at.groupby("arch", sort=False):
            pair, apart = Estimate.of(own.pair), Estimate.of(own.apart)
            truths += [agreed(own.most), apart.below(0.05)]
            estimates += [pair, apart]
            pairs.append(f"{percent(pair)} in the {named(arch)} model")
            others.append(f"{percent(apart)} in the {named(arch)} model")
        texts.append(
            f"At d = {d} the overlap of 4 and 9 is {listed(pairs)}. It is the largest of all pairs in "
            f"{at.most.sum()} of {counted(len(at), 'run')}. "
            f"The largest overlap among 0, 1, 3, 6 and 8 is {listed(others)}."
        )
    return verdict_of(truths), f"{' '.join(texts)} {brackets(estimates)}"


@finding("classes-hits")
def class_is_gaussian(grid: pd.DataFrame | None, classes: pd.DataFrame | None) -> tuple[str, str]:
    """The codes of a class are nearly a Gaussian, so that draws from one fitted to them are mostly of that class.

    Holds where, at each d and for each architecture, more than half of the draws from a full-covariance Gaussian are
    named as asked, also for the class that does worst. Does not hold where that class has at most half everywhere;
    depends where it has at some d, or for one architecture.
    """
    grid = measured(grid, ["classifier_hits_full", "classifier_hits_diagonal"])
    classes = measured(classes, ["hits_full"])
    worst = by_case(classes.assign(worst=[np.nanmin(hits) for hits in classes.hits_full]), "worst")
    full, diagonal = (by_case(grid, column) for column in ("classifier_hits_full", "classifier_hits_diagonal"))
    truths = [one.above(0.5) for one in worst.values()]
    return verdict_of(truths), (
        f"The share of draws from a full-covariance Gaussian of each class that are named as asked is "
        f"{extremes(full, percent)}. With a diagonal covariance it is {extremes(diagonal, percent)}. "
        f"For the class that does worst with full covariance it is {extremes(worst, percent)}; it is more than half "
        f"{tally(truths)}. {brackets([*full.values(), *worst.values()])}"
    )


@finding("embeddings-separation")
def ten_clusters(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Latent space falls into ten clusters, as t-SNE shows, and is linear.

    Holds where, for each model of more than two dimensions, k-means finds the classes in z with a purity above 0.9, and
    a straight path between two classes changes its label fewer than 1.5 times on average (once is the least). Does not
    hold where neither is so for any model; depends where some of it is so.
    """
    grid = measured(grid, ["purity", "tsne_purity", "tsne_trustworthiness", "classifier_straight_changes"])
    if (deep := grid[grid.latent_dim > 2]).empty:
        raise Undecided("it takes models of more than two dimensions")
    clusters, changes = by_case(deep, "purity"), by_case(deep, "classifier_straight_changes")
    best, _ = best_case(clusters, least=False)
    tsne = by_case(deep, "tsne_purity")[best]
    pure, straight = [one.above(0.9) for one in clusters.values()], [one.below(1.5) for one in changes.values()]
    return verdict_of([*pure, *straight]), (
        f"The clusters that k-means finds in z have a purity of {extremes(clusters, Estimate.text)}; it is above 0.9 "
        f"{tally(pure)}. In the t-SNE picture of {case_name(best)} it is {tsne.text()}. "
        f"A straight path changes its label {extremes(changes, _times)}; that is fewer than 1.5 times "
        f"{tally(straight)}. {brackets([*clusters.values(), *changes.values()])}"
    )


def _times(estimate: Estimate) -> str:
    return estimate.text(unit=" times")


@finding("embeddings-separation")
def codes_against_components(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Codes tell the classes apart better than as many principal components of the pixels.

    By the five nearest of 1,000 labelled images. Holds where it is so at each d, for each architecture; does not hold
    where it is so nowhere.
    """
    grid = measured(grid, ["knn", "pca_knn"])
    gains = by_case(grid, "knn", less="pca_knn")
    best, accuracy = best_case(by_case(grid, "knn"), least=False)
    truths = {case: gain.above(0) for case, gain in gains.items()}
    text = (
        f"By their nearest neighbours, codes tell the classes apart better than as many principal components "
        f"{tally(truths.values())}. The accuracy changes by {extremes(gains, points)}."
    )
    worse = [case for case, truth in truths.items() if truth is False]
    text += f" Codes are no better in {case_names(worse)}." if worse else ""
    return verdict_of(truths.values()), (
        f"{text} The best codes, of {case_name(best)}, name {percent(accuracy)} of the images rightly. "
        f"{brackets([*gains.values(), accuracy])}"
    )


@finding("map-holes")
def holes_are_unsure(grid: pd.DataFrame | None) -> tuple[str, str]:
    """In the holes of the prior, where hardly an image was encoded, pictures are of no class.

    Holds where the classifier's highest probability, averaged over draws within the holes, is shown to be below 0.75
    for each model; does not hold where it is shown to be at least that for each.
    """
    grid = measured(grid, ["classifier_holes", "classifier_holes_inside", "classifier_holes_outside"])
    share, inside, outside = (by_case(grid, f"classifier_holes{which}") for which in ("", "_inside", "_outside"))
    return verdict_of(one.below(0.75) for one in inside.values()), (
        f"The share of draws from the prior that fall into holes is {extremes(share, percent)}. "
        f"The classifier's certainty there is {extremes(inside, percent)}. "
        f"Outside it is {extremes(outside, percent)}. {brackets([*share.values(), *inside.values()])}"
    )


@finding("evolution-overlap")
def four_and_nine_part(overlaps: pd.DataFrame | None, names: tuple[str, str] = ("4", "9")) -> tuple[str, str]:
    """Two classes that look alike part while the model trains.

    Holds where their overlap is shown to be lower after the last epoch than after the first, for each model; does not
    hold where it is for none.

    overlaps has the overlap of the two after each epoch.
    """
    overlaps = measured(overlaps, ["overlap", "epoch"])
    first, last = overlaps.epoch.min(), overlaps.epoch.max()
    if first == last:
        raise Undecided("it takes models of two epochs or more")
    models = overlaps.groupby(["arch", "latent_dim"], sort=False)
    cases = compared({case: paired(own, "overlap", "epoch", last, first) for case, own in models})
    ends = by_case(overlaps[overlaps.epoch == last], "overlap")
    truths = [one.below(0) for one in cases.values()]
    return verdict_of(truths), (
        f"The overlap of {listed(names)} falls between epoch {first} and epoch {last} {tally(truths)}. "
        f"It changes by {extremes(cases, points)}. "
        f"After epoch {last} it is {extremes(ends, percent)}. {brackets([*cases.values(), *ends.values()])}"
    )


def agreed(seeds: pd.Series) -> bool | None:
    """Whether something is so in every seed, or in none; None where seeds disagree, or are too few."""
    if len(seeds) < SEEDS or not (seeds == seeds.iloc[0]).all():
        return None
    return bool(seeds.iloc[0])


def _share(hits: list[bool]) -> str:
    """``17 of 30 runs (95 % interval 39 to 73 %)``, by Wilson 1927."""
    from scipy import stats  # a second to import: only where it is used

    low, high = stats.binomtest(sum(hits), len(hits)).proportion_ci(0.95, method="wilson")
    return f"{sum(hits)} of {counted(len(hits), 'run')} (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"


def _with_classes(classes: pd.DataFrame | None, columns: list[str], *wanted: str) -> pd.DataFrame:
    """The rows that have the columns; Undecided where the images have no classes of the wanted names."""
    rows = measured(classes, ["names", *columns])
    if missing := [name for name in wanted if name not in rows.names.iloc[0]]:
        raise Undecided(f"these images have no class {listed(missing)}")
    return rows.assign(names=rows.names.map(list))
