"""What the codes themselves say: what lies at the centre and at the edge, what overlaps, what holds together.

Tables are those of finding.py. ``grid`` has the measures of metrics.json under their names, ``classes`` those by class,
lists and matrices in the order of its column ``names``.
"""

import numpy as np
import pandas as pd

from vaelib.results.findings.finding import (
    DEPENDS,
    FAILS,
    HOLDS,
    OPEN,
    Estimate,
    best_case,
    by_case,
    case_name,
    counted,
    finding,
    lacking,
    listed,
    paired,
    verdict_of,
)
from vaelib.results.findings.pictures import percent


@finding("map-centre")
def eight_at_the_centre(classes: pd.DataFrame | None, name: str = "8") -> tuple[str, str]:
    """The 8 lies at the centre of latent space.

    In a small ball around z = 0 the classifier sees it more than any other class. Holds where that is so for every seed
    of each model, does not hold where it is so for none; depends where it is so for some.
    """
    if lack := lacking(classes, ["centre", "names"]) or _without(classes, name):
        return OPEN, lack
    there = [row.names[int(np.argmax(row.centre))] == name for row in classes.itertuples()]
    shares = classes.assign(there=there).groupby(["arch", "latent_dim"], sort=False).there.mean()
    verdict = HOLDS if all(there) else DEPENDS if any(there) else FAILS
    text = f"The {name} lies at the centre of {_share(there)}"
    for share, words in ((1, "in every seed of"), (0, "in no seed of")):
        cases = [case_name(case) for case, own in shares.items() if own == share]
        text += f"; {words} {listed(cases)}" if cases else ""
    return verdict, f"{text}."


@finding("classes-edge")
def edge_and_mistakes(classes: pd.DataFrame | None) -> tuple[str, str]:
    """In two dimensions zeros and ones lie at the edge, a 7 is often redrawn as a 9, and a 5 as an 8.

    At d = 2, in each run: 0 and 1 are among the three classes of the longest codes, 9 is what most 7s that change
    become, and 8 is what most 5s that change become. Holds where all three are so in every run, does not hold where
    none is in any; depends otherwise.
    """
    if lack := lacking(classes, ["length", "reconstruction", "names"]) or _without(classes, *"015789"):
        return OPEN, lack
    flat = classes[classes.latent_dim == 2]
    if lack := lacking(flat):
        return OPEN, lack

    def become(row, was: str) -> str:
        shares = np.array(row.reconstruction[row.names.index(was)], dtype=float)
        shares[row.names.index(was)] = -1
        return row.names[int(shares.argmax())]

    rows = list(flat.itertuples())
    parts = {
        "0 and 1 lie at the edge": [{"0", "1"} <= {r.names[i] for i in np.argsort(r.length)[-3:]} for r in rows],
        "most 7s that change become 9": [become(row, "7") == "9" for row in rows],
        "most 5s that change become 8": [become(row, "5") == "8" for row in rows],
    }
    met = [hit for hits in parts.values() for hit in hits]
    texts = [f"{what} in {sum(hits)}" for what, hits in parts.items()]
    fives = Estimate.of(row.reconstruction[row.names.index("5")][row.names.index("8")] for row in rows)
    sevens = Estimate.of(row.reconstruction[row.names.index("7")][row.names.index("9")] for row in rows)
    return (HOLDS if all(met) else DEPENDS if any(met) else FAILS), (
        f"Of {counted(len(rows), 'run')} at d = 2, {listed(texts)}: {percent(sevens)} of all 7s become 9, and "
        f"{percent(fives)} of all 5s become 8."
    )


@finding("embeddings-overlaps")
def four_and_nine_overlap(classes: pd.DataFrame | None) -> tuple[str, str]:
    """4 and 9 overlap in latent space, while 0, 1, 3, 6 and 8 keep apart.

    At d = 2 and at d = 10, for each architecture: of all 45 pairs of digits 4 and 9 have the largest overlap (the share
    of the two that their nearest neighbours misname), in every run; and of the ten pairs among the other five the worst
    has less than 5 %. Holds where both are so everywhere, depends where they are in some cases.
    """
    if lack := lacking(classes, ["overlap", "names"]) or _without(classes, *"0134689"):
        return OPEN, lack
    own = classes[classes.latent_dim.isin((2, 10))]
    if lack := lacking(own):
        return OPEN, lack
    rows = []
    for row in own.itertuples():
        overlap, place = np.array(row.overlap, dtype=float), row.names.index
        pair = overlap[place("4"), place("9")]
        apart = max(overlap[place(a), place(b)] for a in "01368" for b in "01368" if a < b)
        rows.append(dict(arch=row.arch, latent_dim=row.latent_dim, pair=pair, apart=apart, most=pair >= overlap.max()))
    table = pd.DataFrame(rows)
    truths, texts = [], []
    for d, cell in table.groupby("latent_dim"):
        for _, one in cell.groupby("arch"):
            truths += [agreed(one.most), Estimate.of(one.apart).below(0.05)]
        texts.append(
            f"at d = {d} they overlap by {percent(Estimate.of(cell.pair))}, the most of all pairs in "
            f"{int(cell.most.sum())} of {counted(len(cell), 'run')}, and the worst pair of the other five by "
            f"{percent(Estimate.of(cell.apart))}"
        )
    return verdict_of(truths), f"Of 4 and 9: {'; '.join(texts)}."


@finding("classes-hits")
def class_is_gaussian(grid: pd.DataFrame | None, classes: pd.DataFrame | None) -> tuple[str, str]:
    """The codes of a class are nearly a Gaussian, so that draws from one fitted to them are mostly of that class.

    Holds where, at each d and for each architecture, more than half of the draws from a full-covariance Gaussian are
    named as asked, for the class that does worst too; does not hold where that class is below half everywhere.
    """
    columns = ["classifier_hits_full", "classifier_hits_diagonal"]
    if lack := lacking(grid, columns) or lacking(classes, ["hits_full"]):
        return OPEN, lack
    worst = by_case(classes.assign(worst=[min(hits) for hits in classes.hits_full]), "worst")
    full, diagonal = (by_case(grid, column) for column in columns)
    (low, least), (high, most) = best_case(full, least=True), best_case(full, least=False)
    case, own = best_case(worst, least=True)
    return verdict_of(one.above(0.5) for one in worst.values()), (
        f"Of draws from a full-covariance Gaussian of each class {percent(least)} ({case_name(low)}) to "
        f"{percent(most)} ({case_name(high)}) are named as asked; with a diagonal one {percent(diagonal[low])} and "
        f"{percent(diagonal[high])}. The class that does worst has {percent(own)} ({case_name(case)})."
    )


@finding("embeddings-separation")
def ten_clusters(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Latent space falls into ten clusters, as t-SNE shows, and is linear.

    Holds where, for each model of more than two dimensions, k-means finds the classes in z with a purity above .9, and
    a straight path between two classes changes its label fewer than 1.5 times on average (once is the least); does not
    hold where neither is so for any, depends otherwise.
    """
    columns = ["purity", "tsne_purity", "tsne_trustworthiness", "classifier_straight_changes"]
    deep = None if grid is None else grid[grid.latent_dim > 2]
    if lack := lacking(deep, columns):
        return OPEN, lack
    clusters, changes = by_case(deep, "purity"), by_case(deep, "classifier_straight_changes")
    truths = [case.above(0.9) for case in clusters.values()] + [case.below(1.5) for case in changes.values()]
    best, purity = best_case(clusters, least=False)
    (low, fewest), (high, most) = best_case(changes, least=True), best_case(changes, least=False)
    return verdict_of(truths), (
        f"k-means in z finds the classes with a purity of {purity.text()} at best ({case_name(best)}), in the t-SNE "
        f"picture of the same codes of {by_case(deep, 'tsne_purity')[best].text()}. Straight paths change label "
        f"{fewest.text()} ({case_name(low)}) to {most.text()} times ({case_name(high)})."
    )


@finding("embeddings-separation")
def codes_against_components(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Codes tell the classes apart better than as many principal components of the pixels.

    By the five nearest of 1,000 labelled images. Holds where it is so at each d, for each architecture.
    """
    if lack := lacking(grid, ["knn", "pca_knn"]):
        return OPEN, lack
    gains = by_case(grid.assign(gain=grid.knn - grid.pca_knn), "gain")
    worse = [case_name(case) for case, gain in gains.items() if gain.above(0) is False]
    (low, least), (high, most) = best_case(gains, least=True), best_case(gains, least=False)
    best, accuracy = best_case(by_case(grid, "knn"), least=False)
    return verdict_of(gain.above(0) for gain in gains.values()), (
        f"Against as many principal components the codes change k-NN accuracy by {least.text(3, sign=True)} "
        f"({case_name(low)}) to {most.text(3, sign=True)} ({case_name(high)})"
        + (f"; they are no better at {listed(worse)}" if worse else "")
        + f". The best codes reach {accuracy.text(3)} ({case_name(best)})."
    )


@finding("map-holes")
def holes_are_unsure(grid: pd.DataFrame | None) -> tuple[str, str]:
    """In the holes of the prior, where hardly an image was encoded, pictures are of no class.

    Holds where the classifier's certainty inside the holes is below .75 for each model; does not hold where it is above
    .9 for each.
    """
    columns = ["classifier_holes", "classifier_holes_inside", "classifier_holes_outside"]
    if lack := lacking(grid, columns):
        return OPEN, lack
    share, inside, outside = (by_case(grid.dropna(subset=columns), column) for column in columns)
    (low, least), (high, most) = best_case(share, least=True), best_case(share, least=False)
    case, surest = best_case(inside, least=False)
    unsure, sure = [one.below(0.75) for one in inside.values()], [one.above(0.9) for one in inside.values()]
    verdict = HOLDS if all(unsure) else FAILS if all(sure) else DEPENDS if any(unsure) or any(sure) else OPEN
    return verdict, (
        f"Of draws from the prior {percent(least)} ({case_name(low)}) to {percent(most)} ({case_name(high)}) fall into "
        f"holes. The classifier is sure there by {inside[high].text()} ({case_name(high)}) and by up to "
        f"{surest.text()} ({case_name(case)}); outside by {outside[high].text()} and {outside[case].text()}."
    )


@finding("evolution-overlap")
def four_and_nine_part(overlaps: pd.DataFrame | None, names: tuple[str, str] = ("4", "9")) -> tuple[str, str]:
    """Two classes that look alike part while the model trains.

    overlaps has the overlap of the two after each epoch. Holds where it is lower after the last epoch than after the
    first, for each model.
    """
    if lack := lacking(overlaps, ["overlap", "epoch"]):
        return OPEN, lack
    last = overlaps.epoch.max()
    cases = {
        case: paired(own, "overlap", "epoch", last, 1)
        for case, own in overlaps.groupby(["arch", "latent_dim"], sort=False)
    }
    ends = by_case(overlaps[overlaps.epoch == last], "overlap")
    (low, least), (high, most) = best_case(ends, least=True), best_case(ends, least=False)
    case, gain = best_case(cases, least=True)
    return verdict_of(one.below(0) for one in cases.values()), (
        f"After {counted(last, 'epoch')} {listed(names)} overlap by {percent(least)} ({case_name(low)}) to "
        f"{percent(most)} ({case_name(high)}); the largest change since the first is {percent(gain, sign=True)} "
        f"({case_name(case)})."
    )


def agreed(seeds: pd.Series) -> bool | None:
    """Whether something is so in every seed, or in none; None where seeds disagree."""
    return bool(seeds.iloc[0]) if (seeds == seeds.iloc[0]).all() else None


def _share(hits: list[bool]) -> str:
    """``17 of 30 runs (95 % interval 39 to 73 %)``, by Wilson 1927."""
    from scipy import stats  # a second to import: only where it is used

    low, high = stats.binomtest(sum(hits), len(hits)).proportion_ci(0.95, method="wilson")
    return f"{sum(hits)} of {counted(len(hits), 'run')} (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"


def _without(classes: pd.DataFrame, *wanted: str) -> str:
    """Why the claim means nothing for images without classes of these names; empty where all are there."""
    missing = [name for name in wanted if name not in classes.names.iloc[0]]
    return f"Not decided: these images have no class {listed(missing)}." if missing else ""
