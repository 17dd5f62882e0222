"""What choosing a model says: its architecture at equal size and time, its recipe, the weights of its two losses.

Tables are those of finding.py. ``equal`` is what at_each_dimension makes of runs matched in their parameters; ``sized``
has parameters and seconds of training of models of several sizes; ``costs`` is the table of results.ablation;
``weights`` has k1 and k2 beside the measures of metrics.json.
"""

import itertools
import math

import numpy as np
import pandas as pd

from vaelib.results.findings.finding import (
    DEPENDS,
    FAILS,
    HALF_A_NAT,
    HOLDS,
    OPEN,
    SEEDS,
    Estimate,
    case_name,
    extremes,
    finding,
    lacking,
    listed,
    named,
    paired,
    sentence,
    verdict_of,
    within,
)

# The parameters of a report's fully connected and convolutional models, by their latent dimensions.
REPORTED_PARAMETERS = {
    2: (404_244, 208_325),
    3: (405_014, 213_511),
    5: (406_554, 223_883),
    10: (410_404, 249_813),
    50: (441_204, 457_253),
}


@finding("equal-differences")
def conv_beats_linear(equal: pd.DataFrame | None, sized: pd.DataFrame | None = None) -> tuple[str, str]:
    """Convolutional models are better than fully connected ones at each number of latent dimensions.

    Holds where, with parameters matched within 2 %, the negative ELBO is lower at each d, and at equal time of training
    (within a fifth) too; depends where it is so at equal size alone, or at some d alone. A difference shown to be below
    half a nat counts as none.
    """
    cases = differences_of(equal, "negative_elbo_nats")
    if isinstance(cases, str):
        return OPEN, cases
    truths = [case.below(0, HALF_A_NAT) for case in cases.values()]
    how = {HOLDS: "at each d", FAILS: "at no d", DEPENDS: "at some d only", OPEN: "not surely at each d"}
    text = (
        f"With equal parameters the convolutional models have the lower negative ELBO {how[verdict_of(truths)]}: "
        f"the difference is {extremes(cases)}."
    )
    at_time, of_time = equal_time(sized)
    if at_time is None:
        verdict = verdict_of(truths)
        return (OPEN if verdict == HOLDS else verdict), f"{text} {of_time}"
    return verdict_of([*truths, at_time.below(0, HALF_A_NAT)]), f"{text} {of_time}"


def differences_of(equal: pd.DataFrame | None, measure: str) -> dict[int, Estimate] | str:
    """The convolutional value minus the fully connected one by latent_dim, of a table of at_each_dimension.

    Where that has no such differences over seeds, why not.
    """
    own = None if equal is None else equal[(equal.measure == measure) & (equal.over == "seeds")]
    if own is not None and "arch" in own:
        own = own[own.arch == "conv"]
    if own is None or own.empty:
        return f"Not decided: it takes models of equal size with {SEEDS} seeds or more."
    return {row.latent_dim: Estimate(row.difference, row.low, row.high, row.n) for row in own.itertuples()}


def equal_time(sized: pd.DataFrame | None) -> tuple[Estimate | None, str]:
    """The convolutional negative ELBO minus the fully connected one's at the two sizes nearest in time, and in words.

    None where no two sizes take the same time within a fifth. sized has parameters and seconds of training.
    """
    if lack := lacking(sized, ["negative_elbo_nats", "seconds", "parameters"]):
        return None, f"At equal time nothing was compared. {lack}"
    times = sized.groupby(["arch", "parameters"]).seconds.min()
    if not {"linear", "conv"} <= set(sized.arch):
        return None, "At equal time nothing was compared, for want of one of the architectures."
    ratios = {(a, b): times["conv"][b] / times["linear"][a] for a in times["linear"].index for b in times["conv"].index}
    sizes = min(ratios, key=lambda pair: abs(math.log(ratios[pair])))
    if abs(math.log(ratios[sizes])) > math.log(1.2):
        return None, "At equal time nothing was compared: no two sizes train in the same time within a fifth."
    pair = sized[sized.parameters.isin(sizes)]
    difference = paired(pair, "negative_elbo_nats", "arch", "conv", "linear")
    return difference, (
        f"At equal time, {sizes[1]:,} convolutional parameters against {sizes[0]:,} fully connected ones, "
        f"it is {difference.text(sign=True, unit=' nats')}."
    )


@finding("equal-sizes")
def half_the_parameters(sized: pd.DataFrame | None) -> tuple[str, str]:
    """A convolutional model needs half the parameters of a fully connected one.

    Holds where a convolutional model of half the size (45 to 55 %) costs less than half a nat more, and the counts of
    the report's own models have that ratio at each d; depends where one of the two is so.
    """
    ratios = {d: conv / linear for d, (linear, conv) in REPORTED_PARAMETERS.items()}
    broken = min(d for d, ratio in ratios.items() if ratio > 0.6)
    counts = (
        f"The report's own convolutional models have {ratios[2]:.0%} of the parameters at d = 2, "
        f"{ratios[broken]:.0%} at d = {broken} and {ratios[50]:.0%} at d = 50."
    )
    if lack := lacking(sized, ["negative_elbo_nats", "parameters"]):
        return OPEN, f"{lack} {counts}"
    sizes = {arch: sorted(set(own.parameters)) for arch, own in sized.groupby("arch")}
    pairs = [(a, b) for a in sizes.get("linear", []) for b in sizes.get("conv", []) if 0.45 <= b / a <= 0.55]
    if not pairs:
        return OPEN, f"Not decided: no convolutional model has half the parameters of a fully connected one. {counts}"
    linear, conv = max(pairs)
    cost = paired(sized[sized.parameters.isin((linear, conv))], "negative_elbo_nats", "arch", "conv", "linear")
    # The report's counts are not half at each d, so that the claim as a whole can at best depend.
    verdict = {True: FAILS, False: DEPENDS, None: OPEN}[cost.above(0, HALF_A_NAT)]
    return verdict, (
        f"{conv:,} convolutional parameters instead of {linear:,} fully connected ones change the negative ELBO by "
        f"{cost.text(sign=True, unit=' nats')}. {counts}"
    )


@finding("ablation-costs")
def choices_that_pay(costs: pd.DataFrame | None) -> tuple[str, str]:
    """Each choice of the tuned models has earned its place.

    costs is the table of results.ablation. A choice has where undoing it costs more than 0, the whole interval, at one
    d at least. Holds where all have, does not hold where none has.
    """
    if costs is None or costs.empty:
        return OPEN, "Not decided: this edition has no ablation."
    single = costs[costs.change != "the textbook model"]
    earned = single.groupby(["arch", "change"], sort=False).low.max() > 0
    texts = []
    for arch, own in earned.groupby("arch", sort=False):
        without = [change for (_, change), pays in own.items() if not pays]
        text = f"{int(own.sum())} of {len(own)} choices of the {named(arch)} model are shown to pay"
        texts.append(text + (f" (not shown: undoing {listed(without)})" if without else ""))
    worst = single.loc[single.cost_nats.idxmax()]
    cost = Estimate(worst.cost_nats, worst.low, worst.high, worst.n)
    return verdict_of(bool(pays) for pays in earned), (
        f"{sentence(listed(texts))} The costliest to undo is {worst.change} ({named(worst.arch)}, d = "
        f"{worst.latent_dim}): {cost.text(sign=True, unit=' nats')}."
    )


@finding("ablation-costs")
def all_choices_together(costs: pd.DataFrame | None) -> tuple[str, str]:
    """The tuned models are better than those of a first tutorial.

    Holds where the textbook model costs more at each d and for each architecture, by more than its interval.
    """
    if costs is None or costs.empty:
        return OPEN, "Not decided: this edition has no ablation."
    textbook = costs[costs.change == "the textbook model"]
    if textbook.empty:
        return OPEN, "Not decided: the ablation is without the textbook model."
    cases = {
        (row.arch, row.latent_dim): Estimate(row.cost_nats, row.low, row.high, row.n) for row in textbook.itertuples()
    }
    texts = [f"{case.text(sign=True, unit=' nats')} ({case_name(key)})" for key, case in cases.items()]
    return verdict_of(case.above(0) for case in cases.values()), f"The textbook model costs {listed(texts)} more."


@finding("weights-curve")
def equal_weights_are_best(weights: pd.DataFrame | None) -> tuple[str, str]:
    """Equal weights of reconstruction and KL, k1 = k2, are best.

    Holds where beta = k2 / k1 = 1 is better than each other beta both by the negative ELBO and by the FID of samples
    from the prior, for each architecture; depends where it is by one of the two; does not hold where by each of the two
    another beta is better.
    """
    measures = {"negative_elbo_nats": "the negative ELBO", "classifier_prior_fid": "the FID of samples"}
    if lack := lacking(weights, ["k1", "k2", *measures]):
        return OPEN, lack
    table = weights.assign(beta=weights.k2 / weights.k1)
    table = table[(table.k1 == 1) | (table.beta != 1)]
    if set(table.beta) <= {1.0}:
        return OPEN, "Not decided: all runs have the same beta."
    parts, texts = [], []
    for measure, name in measures.items():
        truths, best = [], []
        for arch, own in table.groupby("arch", sort=False):
            others = sorted(set(own.beta) - {1.0})
            truths += [paired(own, measure, "beta", beta, 1.0).above(0) for beta in others]
            means = own.groupby("beta")[measure].mean()
            gain = paired(own, measure, "beta", means.idxmin(), 1.0)
            against = f", {gain.text(1, sign=True)} against 1" if means.idxmin() != 1 else ""
            best.append(f"{means.idxmin():g} ({named(arch)}{against})")
        parts.append(FAILS if False in truths else OPEN if None in truths else HOLDS)
        texts.append(f"by {name} the best beta is {listed(best)}")
    verdict = parts[0] if parts[0] == parts[1] else DEPENDS if HOLDS in parts else OPEN
    return verdict, sentence(f"{listed(texts)}; {table.seed.nunique()} seeds")


@finding("weights-null")
def only_the_ratio_counts(weights: pd.DataFrame | None) -> tuple[str, str]:
    """Only the ratio of the two weights matters: (0.5, 0.5) and (2, 2) train the model that (1, 1) trains.

    Holds where the negative ELBO of each stays within half a nat of that of (1, 1), the whole interval.
    """
    if lack := lacking(weights, ["k1", "k2", "negative_elbo_nats"]):
        return OPEN, lack
    equal = weights[weights.k1 == weights.k2]
    cases = {
        (arch, k1): paired(own, "negative_elbo_nats", "k1", k1, 1.0)
        for arch, own in equal.groupby("arch", sort=False)
        for k1 in sorted(set(own.k1) - {1.0})
    }
    if not cases:
        return OPEN, "Not decided: no run has equal weights other than 1."
    within = {key: within(case, HALF_A_NAT) for key, case in cases.items()}
    texts = [
        f"{case.text(sign=True, unit=' nats')} at ({k1:g}, {k1:g}) ({named(arch)})"
        for (arch, k1), case in cases.items()
    ]
    return verdict_of(within.values()), f"Against (1, 1) the negative ELBO changes by {listed(texts)}."


@finding("weights-active")
def large_beta_collapses(weights: pd.DataFrame | None) -> tuple[str, str]:
    """A large beta makes latent dimensions collapse.

    Holds where, for each architecture, the largest beta leaves fewer active dimensions than beta = 1.
    """
    if lack := lacking(weights, ["k1", "k2", "active_units", "kl_nats"]):
        return OPEN, lack
    table = weights.assign(beta=weights.k2 / weights.k1)
    table = table[(table.k1 == 1) | (table.beta != 1)]
    truths, texts = [], []
    for arch, own in table.groupby("arch", sort=False):
        most = own.beta.max()
        truths.append(paired(own, "active_units", "beta", most, 1.0).below(0))
        active, kl = (Estimate.of(own[own.beta == most][column]) for column in ("active_units", "kl_nats"))
        before = own[own.beta == 1]
        texts.append(
            f"beta = {most:g} leaves the {named(arch)} model {active.text(1)} of {own.latent_dim.iloc[0]} dimensions "
            f"active and {kl.mean:.1f} nats of KL, beta = 1 {before.active_units.mean():.1f} and "
            f"{before.kl_nats.mean():.1f} nats"
        )
    return verdict_of(truths), sentence(listed(texts))


def flat_rates(curve: pd.DataFrame) -> pd.DataFrame:
    """Whether neighbours of a beta sweep have converged, a row for each pair of neighbouring betas of one architecture.

    At its optimum the curve of distortion D against rate R has the slope -beta, so between two of them
    beta1 <= (D2 - D1) / (R1 - R2) <= beta2 (Alemi et al. 2018). curve has arch, beta, and the means recon and kl of
    the training objective. Columns: arch, beta, next, slope, converged.
    """
    rows = []
    for arch, own in curve.sort_values("beta").groupby("arch", sort=False):
        for one, other in itertools.pairwise(own.itertuples()):
            paid = one.kl - other.kl
            slope = (other.recon - one.recon) / paid if paid else np.nan
            rows.append(
                dict(arch=arch, beta=one.beta, next=other.beta, slope=slope, converged=one.beta <= slope <= other.beta)
            )
    return pd.DataFrame(rows)
