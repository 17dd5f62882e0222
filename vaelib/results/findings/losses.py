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
    best_case,
    by_case,
    case_name,
    counted,
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


@finding("grid-terms")
def reconstruction_falls(grid: pd.DataFrame | None) -> tuple[str, str]:
    """The reconstruction falls with each further latent dimension, from about 150 nats at d = 2 to about 70 at d = 50.

    Holds where, for each architecture, each step to the next d lowers the test reconstruction and both ends lie within
    a tenth of the two figures; depends where it falls and the figures are others.
    """
    if lack := lacking(grid, ["recon_nats"]):
        return OPEN, lack
    dims = sorted(set(grid.latent_dim))
    if len(dims) < 2:
        return OPEN, f"Not decided: all runs have d = {dims[0]}."
    steps, ends, near = {}, [], []
    for arch, own in grid.groupby("arch", sort=False):
        steps |= {
            (arch, more): paired(own, "recon_nats", "latent_dim", more, few) for few, more in itertools.pairwise(dims)
        }
        first, last = (Estimate.of(own.recon_nats[own.latent_dim == d]) for d in (dims[0], dims[-1]))
        ends.append(f"from {first.text(1)} to {last.text(1)} nats in the {named(arch)} models")
        near += [dims[0] == 2 and abs(first.mean / 150 - 1) <= 0.1, dims[-1] == 50 and abs(last.mean / 70 - 1) <= 0.1]
    verdict = verdict_of(step.below(0) for step in steps.values())
    how = {HOLDS: "falls at every step", FAILS: "falls at no step", OPEN: "is not shown to fall at every step"}
    text = f"From d = {dims[0]} to d = {dims[-1]} the test reconstruction {how.get(verdict, 'falls at some steps')}"
    rising = [case_name(case) for case, step in steps.items() if step.below(0) is False]
    text += f" (not at the step to {listed(rising)})" if rising else ""
    text += f": {listed(ends)}."
    if verdict == HOLDS and not all(near):
        return DEPENDS, f"{text} It starts or ends more than a tenth from the reported 150 and 70."
    return verdict, text


@finding("grid-terms")
def where_it_stops_helping(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Every further latent dimension lowers the negative ELBO.

    Holds where each step to the next d of the table lowers it, for each architecture; a step shown to be below half a
    nat counts as none.
    """
    if lack := lacking(grid, ["negative_elbo_nats"]):
        return OPEN, lack
    dims, steps = sorted(set(grid.latent_dim)), {}
    for arch, own in grid.groupby("arch", sort=False):
        for few, more in itertools.pairwise(dims):
            steps[arch, f"from {few} to {more}"] = paired(own, "negative_elbo_nats", "latent_dim", more, few)
    truths = {step: gain.below(0, HALF_A_NAT) for step, gain in steps.items()}
    texts = []
    for arch in dict.fromkeys(arch for arch, _ in steps):
        own = {step: gain for (of, step), gain in steps.items() if of == arch}
        helped = [step for step in own if truths[arch, step]]
        others = [f"{step} ({gain.text(sign=True)} nats)" for step, gain in own.items() if not truths[arch, step]]
        text = f"in the {named(arch)} models {len(helped)} of {counted(len(own), 'step')} to more dimensions " + (
            "lower the negative ELBO by more than can be chance" if helped else "lower the negative ELBO"
        )
        texts.append(text + (f", and {listed(others)} {'do' if len(others) > 1 else 'does'} not" if others else ""))
    return verdict_of(truths.values()), sentence(listed(texts))


@finding("grid-terms")
def lowest_negative_elbo(grid: pd.DataFrame | None) -> tuple[str, str]:
    """The convolutional models of the grid have a lower negative ELBO than the fully connected ones at each d.

    As they are trained here, not at equal size. Holds where the difference lies below 0 at each d; one that is shown to
    be below half a nat counts as none.
    """
    if lack := lacking(grid, ["negative_elbo_nats"]):
        return OPEN, lack
    best = best_case(by_case(grid, "negative_elbo_nats"), least=True)
    text = f"The lowest negative ELBO is {best[1].text(unit=' nats')}, of the {case_name(best[0])} model"
    if not {"linear", "conv"} <= set(grid.arch):
        return OPEN, f"{text}."
    cases = {d: paired(own, "negative_elbo_nats", "arch", "conv", "linear") for d, own in grid.groupby("latent_dim")}
    return verdict_of(case.below(0, HALF_A_NAT) for case in cases.values()), (
        f"{text}. Convolutional minus fully connected it is {extremes(cases)}."
    )


@finding("bound-gains")
def gap_of_the_bound(grid: pd.DataFrame | None) -> tuple[str, str]:
    """The gap between the ELBO and the likelihood decides which model is better.

    Holds where the order of the models by the negative ELBO changes when the gap that was found is taken off; does
    not hold where it stays.
    """
    if lack := lacking(grid, ["gap_nats", "negative_elbo_nats", "negative_bound_nats"]):
        return OPEN, lack
    gaps = by_case(grid, "gap_nats")
    (least, small), (most, large) = best_case(gaps, least=True), best_case(gaps, least=False)
    means = (
        grid.groupby(["arch", "latent_dim"], sort=False)[["negative_elbo_nats", "negative_bound_nats"]].mean().rank()
    )
    moved = means.index[means.negative_elbo_nats != means.negative_bound_nats]
    text = (
        f"The gap is {small.text(unit=' nats')} ({case_name(least)}) to {large.text(unit=' nats')} ({case_name(most)})"
    )
    if len(moved):
        return HOLDS, f"{text}. Taking it off changes the rank of {listed(map(case_name, moved))}."
    return FAILS, f"{text}. Taking it off changes the rank of no model."


@finding("bound-terms")
def mean_code_is_no_bound(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Decoding the mean of q(z|x) in the place of a draw makes the loss look better.

    Holds where the reconstruction from the mean costs less than that from a draw, in each model.
    """
    columns = ["recon_nats", "recon_at_mean_nats"]
    if lack := lacking(grid, columns):
        return OPEN, lack
    saved = by_case(grid.assign(saved=grid.recon_nats - grid.recon_at_mean_nats), "saved")
    (least, small), (most, large) = best_case(saved, least=True), best_case(saved, least=False)
    return verdict_of(case.above(0) for case in saved.values()), (
        f"Decoding the mean of q(z|x) and not a draw takes {small.text(1, unit=' nats')} ({case_name(least)}) to "
        f"{large.text(1, unit=' nats')} ({case_name(most)}) off the reconstruction, for nothing."
    )


@finding("rate-parts")
def lower_kl(grid: pd.DataFrame | None, log_images: float = math.inf) -> tuple[str, str]:
    """Fully connected models have the lower KL, and convolutional ones have codes nearer to the normal prior.

    Two reports claim one each. Holds where at each d both are so: the KL of q(z|x), averaged over images, is lower in
    the fully connected model, and the KL of q(z), the codes of all images together, is lower in the convolutional one;
    depends where one of the two is. A d at which a code could name almost every image, within half a nat of the log of
    their number, is left out of the second: so many images are too few to tell q(z) from its estimate.
    """
    if lack := lacking(grid, ["kl_nats", "marginal_kl_nats", "mutual_information_nats"]):
        return OPEN, lack
    if not {"linear", "conv"} <= set(grid.arch):
        return OPEN, "Not decided: it takes runs of both architectures."
    of_each, together = {}, {}
    for d, own in grid.groupby("latent_dim"):
        of_each[d] = paired(own, "kl_nats", "arch", "conv", "linear")
        if own.mutual_information_nats.mean() < log_images - 0.5:
            together[d] = paired(own, "marginal_kl_nats", "arch", "conv", "linear")
    lower = verdict_of(case.above(0) for case in of_each.values())
    nearer = verdict_of(case.below(0) for case in together.values())
    text = f"Convolutional minus fully connected, the KL differs by {extremes(of_each)}"
    text += f", and the KL of q(z) to the prior by {extremes(together)}" if together else ""
    left_out = [d for d in of_each if d not in together]
    text += f" (not measurable with these images at d = {listed(left_out)})" if left_out else ""
    if lower == nearer:
        return lower, f"{text}."
    return (DEPENDS if {HOLDS, DEPENDS} & {lower, nearer} else OPEN), f"{text}."


@finding("rate-active")
def unused_dimensions(grid: pd.DataFrame | None) -> tuple[str, str]:
    """A model with the most latent dimensions leaves some of them unused.

    Holds where, for each architecture, fewer dimensions are active than there are, in every seed.
    """
    if lack := lacking(grid, ["active_units"]):
        return OPEN, lack
    most = grid[grid.latent_dim == grid.latent_dim.max()]
    d, truths, texts = most.latent_dim.iloc[0], [], []
    for arch, own in most.groupby("arch", sort=False):
        active = Estimate.of(own.active_units)
        truths.append(active.below(d))
        texts.append(f"{active.text(1)} in the {named(arch)} model")
    return verdict_of(truths), f"Of {d} dimensions so many are active: {listed(texts)}."


@finding("rate-plane")
def most_dimensions_over_ten(grid: pd.DataFrame | None) -> tuple[str, str]:
    """More than ten dimensions still make a better model.

    Holds where, for each architecture, the negative ELBO at the most dimensions is below that at ten; a difference
    shown to be below half a nat counts as none.
    """
    if lack := lacking(grid, ["negative_elbo_nats", "kl_nats", "recon_nats"]):
        return OPEN, lack
    most = grid.latent_dim.max()
    if 10 not in set(grid.latent_dim) or most == 10:
        return OPEN, "Not decided: it takes models of ten and of more dimensions."
    truths, texts = [], []
    for arch, own in grid.groupby("arch", sort=False):
        gain, kl, recon = (
            paired(own, f"{term}_nats", "latent_dim", most, 10) for term in ("negative_elbo", "kl", "recon")
        )
        truths.append(gain.below(0, HALF_A_NAT))
        texts.append(
            f"in the {named(arch)} model the negative ELBO by {gain.text(sign=True, unit=' nats')}: "
            f"{kl.mean:+.1f} of KL and {recon.mean:+.1f} of reconstruction"
        )
    return verdict_of(truths), f"From 10 to {most} dimensions change {listed(texts)}."


@finding("dimensions-terms")
def further_dimensions_do_no_harm(dimensions: pd.DataFrame | None, ten: int = 10) -> tuple[str, str]:
    """Past ten dimensions, more of them change the negative ELBO by less than half a nat, up to the most.

    Holds where that is shown at each d above ten, for each architecture.
    """
    if lack := lacking(dimensions, ["negative_elbo_nats", "active_units"]):
        return OPEN, lack
    cases = {
        (arch, d): paired(own, "negative_elbo_nats", "latent_dim", d, ten)
        for arch, own in dimensions.groupby("arch", sort=False)
        for d in sorted(set(own.latent_dim))
        if d > ten and ten in set(own.latent_dim)
    }
    if not cases:
        return OPEN, f"Not decided: it takes models of {ten} and of more dimensions."
    texts = []
    for arch in dict.fromkeys(arch for arch, _ in cases):
        own = {d: case for (of, d), case in cases.items() if of == arch}
        active = by_case(dimensions[dimensions.arch == arch], "active_units")
        d, most = best_case(active, least=False)
        texts.append(
            f"{extremes(own)} in the {named(arch)} models (at most {most.text(1)} active dimensions, d = {d[1]})"
        )
    return verdict_of(within(case, HALF_A_NAT) for case in cases.values()), (
        f"Against d = {ten} the negative ELBO differs by {listed(texts)}."
    )


@finding("start-epochs")
def kl_rises(histories: pd.DataFrame | None, steps: pd.DataFrame | None = None) -> tuple[str, str]:
    """The KL rises while a model trains; at the very start it first falls.

    histories has the test KL after each epoch, steps that of each batch of the first epoch. Holds where Kendall's rank
    correlation of KL and epoch is above 0 for each model, and in each run the KL of the first epoch's batches,
    averaged over twenty, falls below half of where it began; depends where only one of the two is so.
    """
    from scipy import stats  # a second to import: only where it is used

    if lack := lacking(histories, ["kl", "epoch"]):
        return OPEN, lack
    if histories.epoch.max() < 4:
        return OPEN, f"Not decided: {counted(histories.epoch.max(), 'epoch')} show no trend; four or more may."
    cases = ["arch", "latent_dim", "seed"]
    trends = histories.groupby(cases, sort=False)[["epoch", "kl"]].apply(
        lambda own: stats.kendalltau(own.epoch, own.kl).statistic
    )
    models = by_case(trends.rename("trend").reset_index(), "trend")
    truths = [trend.above(0) for trend in models.values()]
    (falling, low), (_, high) = best_case(models, least=True), best_case(models, least=False)
    text = (
        f"The test KL rises over the epochs in {sum(truth is True for truth in truths)} of {len(models)} models "
        f"(Kendall's tau {low.mean:+.2f}, {case_name(falling)}, to {high.mean:+.2f}; n = {low.n} seeds of each)"
    )
    rises = verdict_of(truths)
    if lack := lacking(steps, ["kl", "step"]):
        return (FAILS if rises == FAILS else OPEN), f"{text}. Of its first steps: {lack}"
    smooth = [own.rolling(20).mean().dropna().to_numpy() for _, own in steps.groupby(cases, sort=False).kl]
    fell = [path.min() < path[0] / 2 for path in smooth]
    first = verdict_of(fell)
    verdict = rises if rises == first else DEPENDS if {HOLDS, DEPENDS} & {rises, first} else OPEN
    return verdict, f"{text}. Within the first epoch it first falls in {sum(fell)} of {counted(len(fell), 'run')}."
