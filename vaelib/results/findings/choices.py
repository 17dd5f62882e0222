"""What choosing a model says: its architecture at equal size and time, its recipe, the weights of its two losses.

Tables are those of finding.py. ``equal`` is what at_each_dimension makes of runs matched in their parameters; ``sized``
has parameters, seconds of training and multiplications of models of several sizes; ``costs`` is the table of
results.ablation; ``weights`` has k1, k2 and, where runs had one, kl_warmup beside the measures of metrics.json.
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
    Undecided,
    at_dims,
    best_case,
    both_architectures,
    brackets,
    case_name,
    change,
    compared,
    counted,
    extremes,
    finding,
    listed,
    measured,
    named,
    nats,
    paired,
    tally,
    verdict_of,
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
    (within a fifth) too. Does not hold where it is lower in none of these; depends where it is in some. A difference
    shown to be at most half a nat counts as none. Where nothing was compared at equal time it cannot hold.
    """
    cases = differences_of(equal, "negative_elbo_nats")
    truths = {d: case.below(0, HALF_A_NAT) for d, case in cases.items()}
    text = (
        f"With equal parameters the convolutional models have the lower negative ELBO {at_dims(truths)}. "
        f"Convolutional minus fully connected, the difference is {extremes(cases, change)}."
    )
    try:
        difference, of_time = _at_equal(sized, "seconds")
    except Undecided as why:
        verdict = verdict_of(truths.values())
        # Equal size alone can refute the claim, and not show it.
        return OPEN if verdict == HOLDS else verdict, (
            f"{text} At equal time nothing was compared: {why}. {brackets(cases.values())}"
        )
    verdict = verdict_of([*truths.values(), difference.below(0, HALF_A_NAT)])
    return verdict, f"{text} {of_time} {brackets([*cases.values(), difference])}"


def differences_of(equal: pd.DataFrame | None, measure: str) -> dict[int, Estimate]:
    """The convolutional value minus the fully connected one by latent_dim, of a table of at_each_dimension.

    Undecided where that has no such differences over seeds.
    """
    if equal is None or equal.empty:
        raise Undecided("this edition has no models of equal size")
    own = equal[(equal.measure == measure) & (equal.over == "seeds")].dropna(subset="difference")
    if "arch" in own:
        own = own[own.arch == "conv"]
    if own.empty:
        raise Undecided(f"it takes convolutional models of equal size with {SEEDS} seeds or more")
    return {row.latent_dim: Estimate.given(row.difference, row.low, row.high, row.n) for row in own.itertuples()}


@finding("equal-sizes")
def equal_time(sized: pd.DataFrame | None) -> tuple[str, str]:
    """At equal time of training the convolutional model is better than the fully connected one.

    Compared are the two sizes whose times are nearest to each other, within a fifth. Holds where the convolutional
    model's negative ELBO is lower. A difference shown to be at most half a nat counts as none.
    """
    difference, text = _at_equal(sized, "seconds")
    return verdict_of([difference.below(0, HALF_A_NAT)]), f"{text} {brackets([difference])}"


@finding("equal-sizes")
def equal_arithmetic(sized: pd.DataFrame | None) -> tuple[str, str]:
    """With equal arithmetic the convolutional model is better than the fully connected one.

    Compared are the two sizes whose multiplications for one image are nearest to each other, within a fifth. Holds
    where the convolutional model's negative ELBO is lower. A difference shown to be at most half a nat counts as none.
    """
    difference, text = _at_equal(sized, "multiplications")
    return verdict_of([difference.below(0, HALF_A_NAT)]), f"{text} {brackets([difference])}"


def _at_equal(sized: pd.DataFrame | None, what: str) -> tuple[Estimate, str]:
    """The convolutional negative ELBO minus the fully connected one's, of the sizes nearest in a column, and in words.

    Undecided where no two models of one latent_dim have the same value within a fifth.
    """
    in_words, unit = {"seconds": ("time", "s"), "multiplications": ("arithmetic", "multiplications an image")}[what]
    sized = measured(sized, ["negative_elbo_nats", "parameters", what])
    both_architectures(sized)
    values = sized.groupby(["arch", "latent_dim", "parameters"])[what].min()
    pairs = {
        (d, one, other): abs(math.log(more / value))
        for (d, one), value in values["linear"].items()
        for (of, other), more in values["conv"].items()
        if of == d
    }
    if not pairs or min(pairs.values()) > math.log(1.2):
        raise Undecided(f"no two models have equal {in_words} within a fifth")
    d, one, other = min(pairs, key=pairs.get)
    difference = _of_sizes(sized, d, one, other)
    return difference, (
        f"At equal {in_words}, {values['conv', d, other]:,.0f} against {values['linear', d, one]:,.0f} {unit}, a "
        f"convolutional model of {other:,} parameters is compared with a fully connected one of {one:,}. "
        f"The difference in the negative ELBO, convolutional minus fully connected, is {change(difference)}."
    )


def _of_sizes(sized: pd.DataFrame, latent_dim: int, linear: int, conv: int) -> Estimate:
    """The negative ELBO of the convolutional model of so many parameters, minus that of the fully connected one's."""
    sizes = sized.arch.map({"linear": linear, "conv": conv})
    own = sized[(sized.latent_dim == latent_dim) & (sized.parameters == sizes)]
    difference = paired(own, "negative_elbo_nats", "arch", "conv", "linear")
    return compared({latent_dim: difference})[latent_dim]


@finding("equal-sizes")
def half_the_parameters(sized: pd.DataFrame | None) -> tuple[str, str]:
    """A convolutional model needs half the parameters of a fully connected one.

    The report that says so has such models itself at d = 2 alone, so the claim can at best depend. It depends where a
    convolutional model of half the size (45 to 55 %) is shown to cost at most half a nat more than the fully connected
    one; it does not hold where it is shown to cost more.
    """
    linear_to_conv = {d: 100 * conv / linear for d, (linear, conv) in REPORTED_PARAMETERS.items()}
    counts = "Of the report's own models, the convolutional one has this share of the parameters: " + listed(
        f"{linear_to_conv[d]:.0f} % at d = {d}" for d in (2, 10, 50)
    )
    sized = measured(sized, ["negative_elbo_nats", "parameters"])
    both_architectures(sized)
    sizes = sized.groupby(["arch", "latent_dim"]).parameters.unique()
    pairs = [
        (one, other, d)
        for d, own in sizes["linear"].items()
        for one in own
        for other in sizes["conv"].get(d, [])
        if 0.45 <= other / one <= 0.55
    ]
    if not pairs:
        raise Undecided(f"no convolutional model has half the parameters of a fully connected one. {counts}")
    one, other, d = max(pairs)
    cost = _of_sizes(sized, d, one, other)
    verdict = {True: FAILS, False: DEPENDS, None: OPEN}[cost.above(0, HALF_A_NAT)]
    return verdict, (
        f"With {other:,} convolutional parameters instead of {one:,} fully connected ones, the negative ELBO changes "
        f"by {change(cost)}. {counts}. {brackets([cost])}"
    )


@finding("ablation-costs")
def choices_that_pay(costs: pd.DataFrame | None) -> tuple[str, str]:
    """Each choice of the tuned models has earned its place.

    A choice is shown to pay where undoing it costs more than 0, the whole interval, at one d at least. It is shown not
    to pay where undoing it costs at most 0 at each d. Holds where all choices are shown to pay; does not hold where all
    are shown not to; depends where some are of each kind.
    """
    single = _costs(costs, textbook=False)
    paid = {}
    for row in single.itertuples():
        paid.setdefault((row.arch, row.change), []).append(row.cost.above(0))
    truths = {choice: True if True in own else False if set(own) == {False} else None for choice, own in paid.items()}
    texts = []
    for arch in dict.fromkeys(single.arch):
        own = {choice: truth for (of, choice), truth in truths.items() if of == arch}
        pay = list(own.values()).count(True)
        text = f"{pay} of {counted(len(own), 'choice')} of the {named(arch)} model "
        text += "is shown to pay" if 1 in (pay, len(own)) else "are shown to pay"
        for truth, words in ((None, "not decided"), (False, "against the choice")):
            choices = [f"“{choice}”" for choice, of in own.items() if of is truth]
            text += f"; {words}: {listed(choices)}" if choices else ""
        texts.append(f"{text}.")
    worst = max(single.itertuples(), key=lambda row: row.cost.mean)
    return verdict_of(truths.values()), (
        f"{' '.join(texts)} The costliest change is “{worst.change}” in {case_name((worst.arch, worst.latent_dim))}: "
        f"{change(worst.cost)}. {brackets(single.cost)}"
    )


@finding("ablation-costs")
def all_choices_together(costs: pd.DataFrame | None) -> tuple[str, str]:
    """The tuned models are better than those of a first tutorial.

    Holds where the textbook model costs more than the tuned one, the whole interval, at each d and for each
    architecture; does not hold where it nowhere costs more.
    """
    textbook = _costs(costs, textbook=True)
    truths = [cost.above(0) for cost in textbook.cost]
    cases = {(row.arch, row.latent_dim): row.cost for row in textbook.itertuples()}
    return verdict_of(truths), (
        f"The textbook model has a higher negative ELBO than the tuned one {tally(truths, 'case')}. "
        f"The difference is {extremes(cases, change)}. {brackets(cases.values())}"
    )


def _costs(costs: pd.DataFrame | None, textbook: bool) -> pd.DataFrame:
    """The rows of the ablation with an estimate as their column cost: the textbook model's, or those of one change."""
    if costs is None or costs.empty:
        raise Undecided("this edition has no ablation")
    own = costs[(costs.change == "the textbook model") == textbook].dropna(subset="cost_nats")
    if own.empty:
        raise Undecided(f"the ablation has no {'textbook model' if textbook else 'model with one change'}")
    estimates = [Estimate.given(row.cost_nats, row.low, row.high, row.n) for row in own.itertuples()]
    return own.assign(cost=estimates)


def swept(weights: pd.DataFrame | None, columns: list[str]) -> pd.DataFrame:
    """The runs that differ in beta = k2 / k1 alone, with it as a column: of equal weights (1, 1), of no warm-up."""
    weights = measured(_without_warm_up(weights), ["k1", "k2", *columns])
    table = weights.assign(beta=weights.k2 / weights.k1)
    table = table[(table.k1 == 1) | (table.beta != 1)]
    if 1 not in set(table.beta) or table.beta.nunique() < 2:
        raise Undecided("it takes runs of beta = 1 and of another beta")
    return table


def _without_warm_up(weights: pd.DataFrame | None) -> pd.DataFrame | None:
    if weights is None or "kl_warmup" not in weights:
        return weights
    return weights[weights.kl_warmup.fillna(0) == 0]


@finding("weights-curve")
def equal_weights_are_best(weights: pd.DataFrame | None) -> tuple[str, str]:
    """Equal weights of reconstruction and KL, k1 = k2, are best.

    Models are judged by the negative ELBO and by the FID of samples from the prior. Holds where by both, for each
    architecture, beta = k2 / k1 = 1 is shown to be better than each other beta. Does not hold where by both some other
    beta is shown to be at least as good, for an architecture; depends where 1 is best by one of the two alone.
    """
    measures = {"negative_elbo_nats": "negative ELBO", "classifier_prior_fid": "FID of samples from the prior"}
    table = swept(weights, list(measures))
    parts, texts, cases = [], [], []
    for measure, name in measures.items():
        against, text = _best_beta(table, measure, name)
        truths = [case.above(0) for case in against.values()]
        parts.append(FAILS if False in truths else OPEN if None in truths else HOLDS)
        texts.append(text)
        cases += against.values()
    verdict = parts[0] if parts[0] == parts[1] else DEPENDS if set(parts) == {HOLDS, FAILS} else OPEN
    return verdict, f"{' '.join(texts)} {brackets(cases)}"


@finding("weights-curve")
def best_beta_of_the_mixture(weights: pd.DataFrame | None) -> tuple[str, str]:
    """Samples from a mixture fitted to the codes are best at beta = 1.

    Samples are judged by their FID. Holds where, for each architecture, beta = 1 is shown to be better than each other
    beta. Does not hold where for each some other beta is shown to be at least as good; depends where it is for some.
    """
    table = swept(weights, ["classifier_mixture_fid"])
    against, text = _best_beta(table, "classifier_mixture_fid", "FID of samples from the mixture")
    truths = []
    for arch in dict.fromkeys(arch for arch, _ in against):
        own = [case.above(0) for (of, _), case in against.items() if of == arch]
        truths.append(False if False in own else None if None in own else True)
    return verdict_of(truths), f"{text} {brackets(against.values())}"


def _best_beta(table: pd.DataFrame, measure: str, name: str) -> tuple[dict[tuple[str, float], Estimate], str]:
    """A measure at each other beta minus that at beta = 1, by (arch, beta), and which beta has the least, in words."""
    against, texts = {}, []
    for arch, own in table.groupby("arch", sort=False):
        cases = {(arch, beta): paired(own, measure, "beta", beta, 1.0) for beta in sorted(set(own.beta) - {1.0})}
        if not (cases := {case: gain for case, gain in cases.items() if gain.n}):
            continue
        against |= cases
        (_, beta), gain = best_case(cases, least=True)
        text = f"By the {name} the best beta of the {named(arch)} models is "
        if gain.mean < 0:
            texts.append(f"{text}{beta:g}. Against beta = 1 the {name} changes by {gain.text(sign=True)}.")
        else:
            texts.append(f"{text}1. At the next best, beta = {beta:g}, the {name} changes by {gain.text(sign=True)}.")
    return compared(against), " ".join(texts)


@finding("weights-sharpness")
def larger_beta_blurs(weights: pd.DataFrame | None) -> tuple[str, str]:
    """The larger beta is, the blurrier are the reconstructions.

    Sharpness is the variance of a picture's response to the Laplace filter. Holds where each step to the next larger
    beta lowers it, for each architecture; does not hold where no step does.
    """
    table = swept(weights, ["sharpness_recon"])
    steps, texts = {}, []
    for arch, own in table.groupby("arch", sort=False):
        betas = sorted(set(own.beta))
        cases = {
            (arch, more): paired(own, "sharpness_recon", "beta", more, less) for less, more in itertools.pairwise(betas)
        }
        cases = {case: fall for case, fall in cases.items() if fall.n}
        if not cases:
            continue
        steps |= cases
        first, last = (Estimate.of(own.sharpness_recon[own.beta == beta]) for beta in (betas[0], betas[-1]))
        falls = tally((fall.below(0) for fall in cases.values()), "step", before="at")
        texts.append(
            f"The sharpness of reconstructions of the {named(arch)} models goes from {first.text(4)} at beta = "
            f"{betas[0]:g} to {last.text(4)} at beta = {betas[-1]:g}; it falls {falls}."
        )
    steps = compared(steps)
    truths = (fall.below(0) for fall in steps.values())
    return verdict_of(truths), f"{' '.join(texts)} {brackets(steps.values())}"


@finding("weights-null")
def only_the_ratio_counts(weights: pd.DataFrame | None) -> tuple[str, str]:
    """Only the ratio of the two weights matters: (0.5, 0.5) and (2, 2) train the model that (1, 1) trains.

    Holds where the negative ELBO of each is shown to stay within half a nat of that of (1, 1), the whole interval. Does
    not hold where each is shown to lie further off.
    """
    weights = measured(_without_warm_up(weights), ["k1", "k2", "negative_elbo_nats"])
    equal = weights[weights.k1 == weights.k2]
    cases = {
        (arch, k1): paired(own, "negative_elbo_nats", "k1", k1, 1.0)
        for arch, own in equal.groupby("arch", sort=False)
        for k1 in sorted(set(own.k1) - {1.0})
    }
    if not cases:
        raise Undecided("no run has equal weights other than 1")
    cases = compared(cases)
    texts = []
    for arch in dict.fromkeys(arch for arch, _ in cases):
        changes = [f"{change(case)} with ({k1:g}, {k1:g})" for (of, k1), case in cases.items() if of == arch]
        texts.append(f"The negative ELBO of the {named(arch)} models changes by {listed(changes)} against (1, 1).")
    return verdict_of(case.within(HALF_A_NAT) for case in cases.values()), (
        f"{' '.join(texts)} {brackets(cases.values())}"
    )


@finding("weights-active")
def large_beta_collapses(weights: pd.DataFrame | None) -> tuple[str, str]:
    """A large beta makes latent dimensions collapse.

    Holds where, for each architecture, the largest beta leaves fewer active dimensions than beta = 1; does not hold
    where it does for none.
    """
    table = swept(weights, ["active_units", "kl_nats"])
    cases, shown, texts = {}, [], []
    for arch, own in table.groupby("arch", sort=False):
        most = own.beta.max()
        if most <= 1:
            continue
        cases[arch] = paired(own, "active_units", "beta", most, 1.0)
        for beta, words in ((1.0, f"the {named(arch)} model"), (most, "it")):
            active, kl = (Estimate.of(own[own.beta == beta][column]) for column in ("active_units", "kl_nats"))
            shown += [active, kl]
            texts.append(
                f"At beta = {beta:g} {words} has {active.text(1)} of {counted(own.latent_dim.iloc[0], 'dimension')} "
                f"active and a KL of {nats(kl)}."
            )
    if not cases:
        raise Undecided("it takes runs of a beta above 1")
    truths = [case.below(0) for case in compared(cases).values()]
    return verdict_of(truths), f"{' '.join(texts)} {brackets(shown)}"


@finding("weights-active")
def warm_up_helps(weights: pd.DataFrame | None) -> tuple[str, str]:
    """Raising the weight of the KL over the first epochs keeps more dimensions active and makes a better model.

    Runs with and without such a warm-up are compared, both with k1 = k2 = 1. Holds where, for each architecture, more
    dimensions are active and the negative ELBO is lower; does not hold where neither is so for any, and depends where
    some of it is. A difference in the negative ELBO shown to be at most half a nat counts as none.
    """
    columns = ["active_units", "negative_elbo_nats"]
    weights = measured(weights, ["k1", "k2", "kl_warmup", *columns])
    equal = weights[(weights.k1 == 1) & (weights.k2 == 1)]
    if not (epochs := sorted(set(equal.kl_warmup) - {0})) or 0 not in set(equal.kl_warmup):
        raise Undecided("it takes runs with a warm-up of the KL and runs without")
    cases = {}
    for arch, own in equal.groupby("arch", sort=False):
        cases |= {(arch, column): paired(own, column, "kl_warmup", epochs[-1], 0) for column in columns}
    cases = compared(cases)
    truths, texts = [], []
    for arch in dict.fromkeys(arch for arch, _ in cases):
        active, loss = (cases[arch, column] for column in columns)
        truths += [active.above(0), loss.below(0, HALF_A_NAT)]
        texts.append(
            f"A warm-up of {counted(int(epochs[-1]), 'epoch')} changes the active dimensions of the {named(arch)} "
            f"model by {active.text(1, sign=True)} and its negative ELBO by {change(loss)}."
        )
    return verdict_of(truths), f"{' '.join(texts)} {brackets(cases.values())}"


@finding("reports-seconds")
def report_at_equal_seconds(reports: pd.DataFrame | None, model: str, ours: str) -> tuple[str, str]:
    """In the same time our model reaches a lower negative ELBO than the network of a report.

    Both are compared after the time that the faster of the two trains, or as near to it as was measured. One training
    of each decides nothing, so the finding gives the numbers and no verdict.

    reports has the columns model, seconds and negative_elbo_nats, a row for each model or for each of its epochs.
    """
    columns = ["model", "seconds", "negative_elbo_nats"]
    if reports is None or reports.empty or not set(columns) <= set(reports):
        raise Undecided("this edition has no models of reports")
    rows = reports.dropna(subset=columns)
    of = {name: rows[rows.model == name] for name in (model, ours)}
    if missing := [name for name, own in of.items() if own.empty]:
        raise Undecided(f"there is no measured model {listed(f'“{name}”' for name in missing)}")
    time = min(own.seconds.max() for own in of.values())
    theirs, own = (table.loc[(table.seconds - time).abs().idxmin()] for table in of.values())
    return OPEN, (
        f"After {theirs.seconds:,.0f} s the model “{model}” has a negative ELBO of {theirs.negative_elbo_nats:.2f} "
        "nats. "
        f"After {own.seconds:,.0f} s our model “{ours}” has {own.negative_elbo_nats:.2f} nats: the difference is "
        f"{own.negative_elbo_nats - theirs.negative_elbo_nats:+.2f} nats."
    )


def flat_rates(curve: pd.DataFrame) -> pd.DataFrame:
    """Whether neighbours of a beta sweep have converged, a row for each pair of neighbouring betas of one architecture.

    At its optimum the curve of distortion D against rate R has the slope -beta, so between two of them
    beta1 (R1 - R2) <= D2 - D1 <= beta2 (R1 - R2) (Alemi et al. 2018). curve has arch, beta, and the means recon and kl
    of the training objective. Columns: arch, beta, next, slope (nan where the rate stays), converged.
    """
    rows = []
    for arch, own in curve.sort_values("beta").groupby("arch", sort=False):
        for one, other in itertools.pairwise(own.itertuples()):
            rate, distortion = one.kl - other.kl, other.recon - one.recon
            slope = distortion / rate if rate else np.nan
            converged = bool(one.beta * rate <= distortion <= other.beta * rate)
            rows.append(dict(arch=arch, beta=one.beta, next=other.beta, slope=slope, converged=converged))
    return pd.DataFrame(rows, columns=["arch", "beta", "next", "slope", "converged"])
