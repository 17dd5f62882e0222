"""What the losses of the grid, its bounds and its rates say, and those of its training.

Tables are those of finding.py; ``grid`` has the measures of metrics.json under their names, of the runs of the grid.
"""

import itertools
import math

import pandas as pd

from vaelib.results.findings.finding import (
    DEPENDS,
    FAILS,
    HALF_A_NAT,
    HOLDS,
    OPEN,
    Estimate,
    Undecided,
    at_dims,
    best_case,
    both_architectures,
    brackets,
    by_case,
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
    negated,
    paired,
    percent,
    tally,
    verdict_of,
)


@finding("grid-terms")
def reconstruction_falls(grid: pd.DataFrame | None) -> tuple[str, str]:
    """The reconstruction falls with each further latent dimension, from about 150 nats at d = 2 to about 70 at d = 50.

    Holds where, for each architecture, each step to the next d lowers the test reconstruction, and its means at d = 2
    and at d = 50 lie within a tenth of the two figures. Depends where it falls at each step and a figure is another, or
    where it falls at some steps only. Does not hold where it falls at no step.
    """
    grid = measured(grid, ["recon_nats"])
    steps = _steps(grid, "recon_nats")
    truths = {step: fall.below(0) for step, fall in steps.items()}
    verdict = verdict_of(truths.values())
    cases = by_case(grid, "recon_nats")
    texts, ends = [], []
    for arch in dict.fromkeys(grid.arch):
        own = {d: estimate for (of, d), estimate in cases.items() if of == arch}
        first, last = min(own), max(own)
        ends += [own[first], own[last]]
        texts.append(
            f"In the {named(arch)} models the test reconstruction goes from {nats(own[first])} at d = {first} to "
            f"{nats(own[last])} at d = {last}; it falls "
            + tally((truth for (of, *_), truth in truths.items() if of == arch), "step", before="at")
        )
    text = f"{'. '.join(texts)}."
    figures = [(d, figure, [one for (_, of), one in cases.items() if of == d]) for d, figure in ((2, 150), (50, 70))]
    far = [
        f"{figure} nats at d = {d}"
        for d, figure, own in figures
        if any(abs(one.mean - figure) > figure / 10 for one in own)
    ]
    if far:
        text += f" A report has {listed(far)}, more than a tenth away."
    if verdict == HOLDS:
        verdict = DEPENDS if far else HOLDS if all(own for *_, own in figures) else OPEN
    return verdict, f"{text} {brackets(ends)}"


@finding("grid-terms")
def where_it_stops_helping(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Every further latent dimension lowers the negative ELBO.

    Holds where each step to the next d of the table lowers it, for each architecture, and does not hold where no step
    does. A step shown to lower it by at most half a nat counts as none.
    """
    grid = measured(grid, ["negative_elbo_nats"])
    steps = _steps(grid, "negative_elbo_nats")
    truths = {step: gain.below(0, HALF_A_NAT) for step, gain in steps.items()}
    texts = []
    for arch in dict.fromkeys(arch for arch, *_ in steps):
        own = {step: truth for step, truth in truths.items() if step[0] == arch}
        falls = tally(own.values(), "step", before="at")
        text = f"From each d to the next, the negative ELBO of the {named(arch)} models falls {falls}"
        others = [
            f"from d = {few} to d = {more} it changes by {change(steps[arch, few, more])}"
            for (_, few, more), truth in own.items()
            if not truth
        ]
        texts.append(text + (f"; {listed(others)}" if others else ""))
    return verdict_of(truths.values()), f"{'. '.join(texts)}. {brackets(steps.values())}"


def _steps(grid: pd.DataFrame, column: str) -> dict[tuple[str, int, int], Estimate]:
    """How a column changes from each latent_dim of an architecture to its next, by (arch, the one, the next)."""
    steps = {}
    for arch, own in grid.groupby("arch", sort=False):
        for few, more in itertools.pairwise(sorted(set(own.latent_dim))):
            steps[arch, few, more] = paired(own, column, "latent_dim", more, few)
    if not steps:
        raise Undecided("it takes models of two numbers of dimensions or more")
    return compared(steps)


@finding("grid-terms")
def lowest_negative_elbo(grid: pd.DataFrame | None) -> tuple[str, str]:
    """The convolutional models of the grid have a lower negative ELBO than the fully connected ones at each d.

    The models are compared as they are, not at equal size. Holds where the difference lies below 0 at each d, and does
    not hold where it does at no d. A difference shown to be at most half a nat counts as none.
    """
    grid = measured(grid, ["negative_elbo_nats"])
    best, value = best_case(by_case(grid, "negative_elbo_nats"), least=True)
    text = f"The lowest negative ELBO is {nats(value)}, of {case_name(best)}."
    if not {"linear", "conv"} <= set(grid.arch):
        return OPEN, f"{text} There are no two architectures to compare. {brackets([value])}"
    cases = between_architectures(grid, "negative_elbo_nats")
    truths = {d: case.below(0, HALF_A_NAT) for d, case in cases.items()}
    return verdict_of(truths.values()), (
        f"{text} The convolutional models have the lower one {at_dims(truths)}. Convolutional minus fully connected, "
        f"the difference is {extremes(cases, change)}. {brackets([value, *cases.values()])}"
    )


def between_architectures(grid: pd.DataFrame, column: str) -> dict[int, Estimate]:
    """A column of the convolutional models minus that of the fully connected ones, by latent_dim."""
    return compared({d: paired(own, column, "arch", "conv", "linear") for d, own in grid.groupby("latent_dim")})


@finding("bound-gains")
def gap_of_the_bound(grid: pd.DataFrame | None) -> tuple[str, str]:
    """The gap between the ELBO and the likelihood decides which model is better.

    Holds where two models change their order when the gap that was found is taken off the negative ELBO, and both
    orders are shown seed by seed. Does not hold where no two change their order; is not decided where some do in their
    means alone.
    """
    columns = ["negative_elbo_nats", "negative_bound_nats"]
    grid = measured(grid, ["gap_nats", *columns])
    gaps = by_case(grid, "gap_nats")
    if len(gaps) < 2:
        raise Undecided("it takes two models or more")
    by_seed = [grid.pivot_table(index="seed", columns=["arch", "latent_dim"], values=column) for column in columns]
    swapped, shown = [], []
    for one, other in itertools.combinations(gaps, 2):
        before, after = (Estimate.of(values[one] - values[other]) for values in by_seed)
        if before.mean * after.mean < 0:
            swapped.append((one, other))
            if None not in (before.above(0), after.above(0)):
                shown.append((one, other))
    text = f"The gap is {extremes(gaps, nats)}."
    if not swapped:
        return FAILS, f"{text} Without it the order of the models stays the same. {brackets(gaps.values())}"
    if not shown:
        which = f"{counted(len(swapped), 'pair')} of models"
        return OPEN, f"{text} Without it {which} change places in the mean, which the seeds do not show. " + brackets(
            gaps.values()
        )
    pairs = [" and ".join(case_name(case) for case in pair) for pair in shown]
    return HOLDS, f"{text} Without it {'; '.join(pairs)} change places. {brackets(gaps.values())}"


@finding("bound-terms")
def mean_code_is_no_bound(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Decoding the mean of q(z|x) in the place of a draw makes the loss look better.

    Holds where the reconstruction from the mean costs less than that from a draw, in each model; does not hold where it
    does in none.
    """
    grid = measured(grid, ["recon_nats", "recon_at_mean_nats"])
    saved = by_case(grid, "recon_nats", less="recon_at_mean_nats")
    truths = [case.above(0) for case in saved.values()]
    return verdict_of(truths), (
        f"Decoding the mean of q(z|x), and not a draw, makes the reconstruction look better {tally(truths)}. "
        f"It takes off {extremes(saved, nats)}. {brackets(saved.values())}"
    )


@finding("rate-parts")
def lower_kl(grid: pd.DataFrame | None, log_images: float = math.inf) -> tuple[str, str]:
    """Fully connected models have the lower KL, and convolutional ones have codes nearer to the normal prior.

    Two reports claim one each. Holds where both are so at each d: the KL of q(z|x), averaged over images, is lower in
    the fully connected model, and the KL of q(z), of the codes of all images together, is lower in the convolutional
    one. Does not hold where neither is so at any d; depends where some of it is so. The second is left out at a d where
    a code could name almost every image, within half a nat of the log of their number: there are too few images to
    know q(z) by.
    """
    grid = measured(grid, ["kl_nats", "marginal_kl_nats", "mutual_information_nats"])
    both_architectures(grid)
    of_each = between_architectures(grid, "kl_nats")
    known = _not_saturated(grid, log_images)
    together = {} if known.empty else between_architectures(known, "marginal_kl_nats")
    truths = [case.above(0) for case in of_each.values()]
    truths += [case.below(0) for case in together.values()] or [None]
    text = f"Convolutional minus fully connected, the KL of q(z|x) differs by {extremes(of_each, change)}."
    text += f" The KL of q(z) to the prior differs by {extremes(together, change)}." if together else ""
    if left_out := [d for d in of_each if d not in together]:
        text += f" At d = {listed(left_out)} there are too few images to measure the KL of q(z)."
    return verdict_of(truths), f"{text} {brackets([*of_each.values(), *together.values()])}"


@finding("rate-parts")
def kl_is_information(grid: pd.DataFrame | None, log_images: float = math.inf) -> tuple[str, str]:
    """Almost all of the KL is information about the image.

    The KL is the sum of the mutual information of image and code and of the KL of q(z) to the prior. Holds where the
    mutual information is shown to be more than nine tenths of it in each model; does not hold where it is so in none.
    A d is left out where a code could name almost every image, within half a nat of the log of their number: there are
    too few images to measure it.
    """
    grid = measured(grid, ["kl_nats", "mutual_information_nats"])
    known = _not_saturated(grid, log_images)
    left_out = sorted(set(grid.latent_dim) - set(known.latent_dim))
    if known.empty:
        raise Undecided("the codes of these models name almost every image, and more images would be needed")
    shares = by_case(known.assign(share=known.mutual_information_nats / known.kl_nats), "share")
    truths = [share.above(0.9) for share in shares.values()]
    text = (
        f"The share of the KL that is mutual information of image and code is {extremes(shares, percent)}. "
        f"It is more than nine tenths {tally(truths)}."
    )
    text += f" At d = {listed(left_out)} there are too few images to measure it." if left_out else ""
    return verdict_of(truths), f"{text} {brackets(shares.values())}"


def _not_saturated(grid: pd.DataFrame, log_images: float) -> pd.DataFrame:
    """The runs of each latent_dim at which the mutual information is half a nat or more below its largest value."""
    mean = grid.groupby("latent_dim").mutual_information_nats.transform("mean")
    return grid[mean < log_images - 0.5]


@finding("rate-active")
def unused_dimensions(grid: pd.DataFrame | None) -> tuple[str, str]:
    """A model with the most latent dimensions leaves some of them unused.

    Holds where, for each architecture, the number of active dimensions is shown to be below the number that there are;
    does not hold where all are active.
    """
    grid = measured(grid, ["active_units"])
    d = grid.latent_dim.max()
    active = by_case(grid[grid.latent_dim == d], "active_units")
    texts = [f"{case.text(1)} are active in the {named(arch)} model" for (arch, _), case in active.items()]
    return verdict_of(case.below(d) for case in active.values()), (
        f"Of {counted(d, 'latent dimension')}, {listed(texts)}. {brackets(active.values())}"
    )


@finding("rate-plane")
def most_dimensions_over_ten(grid: pd.DataFrame | None) -> tuple[str, str]:
    """More than ten dimensions still make a better model.

    Holds where, for each architecture, the negative ELBO at the most dimensions is below that at ten; does not hold
    where it is for none. A difference shown to be at most half a nat counts as none.
    """
    grid = measured(grid, ["negative_elbo_nats", "kl_nats", "recon_nats"])
    gains = against_ten(grid, "negative_elbo_nats")
    texts = []
    for (arch, most), gain in gains.items():
        own = grid[grid.arch == arch]
        kl, recon = (paired(own, column, "latent_dim", most, 10) for column in ("kl_nats", "recon_nats"))
        texts.append(
            f"From d = 10 to d = {most} the negative ELBO of the {named(arch)} models changes by {change(gain)}: the "
            f"KL by {kl.mean:+.2f} nats and the reconstruction by {recon.mean:+.2f} nats."
        )
    truths = (gain.below(0, HALF_A_NAT) for gain in gains.values())
    return verdict_of(truths), f"{' '.join(texts)} {brackets(gains.values())}"


def against_ten(table: pd.DataFrame, column: str) -> dict[tuple[str, int], Estimate]:
    """A column at the most dimensions minus that at ten, by the architecture and its most dimensions."""
    most = table.groupby("arch", sort=False).latent_dim.max()
    cases = {
        (arch, d): paired(table[table.arch == arch], column, "latent_dim", d, 10) for arch, d in most.items() if d > 10
    }
    if not cases or 10 not in set(table.latent_dim):
        raise Undecided("it takes models of ten and of more dimensions")
    return compared(cases)


@finding("dimensions-terms")
def further_dimensions_do_no_harm(dimensions: pd.DataFrame | None) -> tuple[str, str]:
    """Past ten latent dimensions, more of them do no harm.

    Holds where at each d above ten, for each architecture, the negative ELBO is shown to be at most half a nat higher
    than at ten. Does not hold where it is shown to be higher at each; depends where it is at some.
    """
    dimensions = measured(dimensions, ["negative_elbo_nats", "active_units"])
    cases, texts = {}, []
    for arch, own in dimensions.groupby("arch", sort=False):
        more = [d for d in sorted(set(own.latent_dim)) if d > 10]
        of_arch = {d: paired(own, "negative_elbo_nats", "latent_dim", d, 10) for d in more}
        if not (of_arch := {d: case for d, case in of_arch.items() if case.n}):
            continue
        cases |= {(arch, d): case for d, case in of_arch.items()}
        (_, at), active = best_case(by_case(own, "active_units"), least=False)
        texts.append(
            f"Against d = 10 the negative ELBO of the {named(arch)} models changes by {extremes(of_arch, change)}. "
            f"At most {active.text(1)} of their dimensions are active, at d = {at}."
        )
    if not cases:
        raise Undecided("it takes models of ten and of more dimensions with the same seeds")
    truths = (negated(case.above(0, HALF_A_NAT)) for case in cases.values())
    return verdict_of(truths), f"{' '.join(texts)} {brackets(cases.values())}"


@finding("dimensions-terms")
def more_dimensions_take_no_longer(dimensions: pd.DataFrame | None) -> tuple[str, str]:
    """More latent dimensions take no longer to train.

    Holds where training with the most dimensions takes at most a tenth longer than with ten, for each architecture,
    seed by seed; does not hold where it is shown to take longer for each.

    dimensions has the seconds of training in its column seconds.
    """
    dimensions = measured(dimensions, ["seconds"])
    longer = against_ten(dimensions.assign(log=dimensions.seconds.map(math.log)), "log")
    ratios = {
        case: Estimate(math.exp(log.mean), math.exp(log.low), math.exp(log.high), log.n) for case, log in longer.items()
    }
    texts = [
        f"Training the {named(arch)} model with {d:,} dimensions takes {ratio.text()} times as long as with ten."
        for (arch, d), ratio in ratios.items()
    ]
    truths = (negated(ratio.above(1, 0.1)) for ratio in ratios.values())
    return verdict_of(truths), f"{' '.join(texts)} {brackets(ratios.values())}"


@finding("start-epochs")
def kl_rises(histories: pd.DataFrame | None, steps: pd.DataFrame | None = None) -> tuple[str, str]:
    """The KL rises while a model trains; at the very start it first falls.

    Holds where the rank correlation of test KL and epoch, Kendall's tau, is above 0 for each model, and in every run
    the KL of the first epoch's batches, averaged over twenty, falls below half of where it began. Does not hold where
    neither is so anywhere; depends where some of it is so.

    histories has the test kl after each epoch, steps that of each batch of the first epoch.
    """
    from scipy import stats  # a second to import: only where it is used

    histories = measured(histories, ["kl", "epoch"])
    if histories.epoch.max() < 4:
        raise Undecided(f"{counted(histories.epoch.max(), 'epoch')} show no trend, and four or more may")
    runs = ["arch", "latent_dim", "seed"]
    taus = histories.groupby(runs, sort=False)[["epoch", "kl"]].apply(
        lambda own: stats.kendalltau(own.epoch, own.kl).statistic if len(own) >= 4 else math.nan
    )
    trends = by_case(taus.rename("tau").reset_index(), "tau")
    truths = [trend.above(0) for trend in trends.values()]
    text = (
        f"The test KL rises over the epochs {tally(truths)}: Kendall's tau is "
        f"{extremes(trends, lambda trend: trend.text(sign=True))}."
    )
    try:
        steps = measured(steps, ["kl", "step"]).sort_values("step")
        smooth = [own.rolling(20).mean().dropna() for _, own in steps.groupby(runs, sort=False).kl]
        fell = [bool(path.min() < path.iloc[0] / 2) for path in smooth if len(path)]
        if not fell:
            raise Undecided("a first epoch has fewer than twenty batches")
        text += f" It first falls to less than half within the first epoch {tally(fell, 'run')}."
    except Undecided as why:
        fell = [None]
        text += f" Its first steps are not decided: {why}."
    return verdict_of([*truths, *fell]), f"{text} {brackets(trends.values())}"
