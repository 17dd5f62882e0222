"""What samples, paths, reconstructions and restored images say, by the classifier's eyes and by pixels.

Tables are those of finding.py; ``grid`` has the measures of metrics.json under their names, of the runs of the grid.
"""

import math

import pandas as pd

from vaelib.results.findings.choices import differences_of
from vaelib.results.findings.finding import (
    DEPENDS,
    FAILS,
    HOLDS,
    OPEN,
    Estimate,
    best_case,
    by_case,
    case_name,
    extremes,
    finding,
    lacking,
    listed,
    named,
    paired,
    sentence,
    verdict_of,
)


@finding("samples-fids")
def mixture_beats_prior(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Samples are better when codes are drawn from a mixture fitted to the training codes than from the prior.

    Holds where the FID of the mixture's samples is the lower one for each model.
    """
    columns = ["classifier_prior_fid", "classifier_mixture_fid", "classifier_real_fid"]
    if lack := lacking(grid, columns):
        return OPEN, lack
    gains = by_case(grid.assign(gain=grid[columns[1]] - grid[columns[0]]), "gain")
    best = best_case(by_case(grid, columns[1]), least=True)
    (most, large), (least, small) = best_case(gains, least=True), best_case(gains, least=False)
    return verdict_of(gain.below(0) for gain in gains.values()), (
        f"Drawn from the mixture and not from the prior, samples change their FID by {large.text(1, sign=True)} "
        f"({case_name(most)}) to {small.text(1, sign=True)} ({case_name(least)}). The best is {best[1].text(1)} "
        f"({case_name(best[0])}), where as many training images score {grid[columns[2]].mean():.1f}."
    )


@finding("samples-fids")
def likelihood_against_fid(grid: pd.DataFrame | None) -> tuple[str, str]:
    """The model with the best likelihood has the best samples.

    By the negative ELBO less the gap, and by the FID of samples from the prior, means over seeds. Holds where the same
    model is first by both and does not hold where two are.
    """
    columns = ["negative_bound_nats", "classifier_prior_fid"]
    if lack := lacking(grid, columns):
        return OPEN, lack
    (likely, bound), (drawn, fid) = (best_case(by_case(grid, column), least=True) for column in columns)
    fids = by_case(grid, columns[1])
    if likely == drawn:
        return HOLDS, f"The {case_name(likely)} model is first both by likelihood and by FID ({fid.text(1)})."
    # The two models are compared seed by seed: their FIDs may differ by no more than trainings do.
    models = zip(grid.arch, grid.latent_dim, strict=True)
    worse = paired(grid.assign(case=[str(model) for model in models]), columns[1], "case", str(likely), str(drawn))
    return {True: FAILS, False: HOLDS, None: OPEN}[worse.above(0)], (
        f"The best likelihood is that of the {case_name(likely)} model ({bound.text(1, unit=' nats')}), whose samples "
        f"have a FID of {fids[likely].text(1)}; the lowest FID is {fid.text(1)}, of the {case_name(drawn)} model."
    )


@finding("samples-measures")
def blur_counts_as_precise(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Samples lie among real images less often than real images do.

    By precision. Holds where the prior's samples have a lower precision than as many training images, for each model;
    where they do not, a blurred picture near the middle of many images counts as precise.
    """
    columns = ["classifier_prior_precision", "classifier_real_precision"]
    if lack := lacking(grid, columns):
        return OPEN, lack
    gains = by_case(grid.assign(gain=grid[columns[0]] - grid[columns[1]]), "gain")
    most, value = best_case(by_case(grid, columns[0]), least=False)
    truths = {case: gain.below(0) for case, gain in gains.items()}
    above = [case_name(case) for case, truth in truths.items() if truth is False]
    text = (
        f"The highest precision of the prior's samples is {value.text(3)} ({case_name(most)}), where training images "
        f"have {grid[columns[1]].mean():.3f}"
    )
    return verdict_of(truths.values()), text + (f"; it is no lower at {listed(above)}." if above else ".")


@finding("samples-sharpness")
def sharper_not_more_plausible(grid: pd.DataFrame | None) -> tuple[str, str]:
    """More latent dimensions make samples sharper but not more plausible.

    From the fewest to the most dimensions, for each architecture: samples of the prior are sharper (the variance of
    their Laplacian rises), and neither the classifier's certainty nor the share of them that lie among real images
    (precision) rises. Holds where all is so, depends where some is.
    """
    columns = ["sharpness_prior", "classifier_prior_sure", "classifier_prior_precision"]
    if lack := lacking(grid, columns):
        return OPEN, lack
    few, most = grid.latent_dim.min(), grid.latent_dim.max()
    if few == most:
        return OPEN, f"Not decided: all runs have d = {few}."
    truths, texts = [], []
    for arch, own in grid.groupby("arch", sort=False):
        sharpness, sure, precision = (paired(own, column, "latent_dim", most, few) for column in columns)
        rises = [gain.above(0) for gain in (sure, precision)]
        truths += [sharpness.above(0), *(None if truth is None else not truth for truth in rises)]
        before = own[own.latent_dim == few].sharpness_prior.mean()
        texts.append(
            f"in the {named(arch)} models sharpness changes by {sharpness.mean / before:+.0%}, the classifier's "
            f"certainty by {sure.text(3, sign=True)}, precision by {precision.text(3, sign=True)}"
        )
    return verdict_of(truths), f"From d = {few} to d = {most}, {listed(texts)}."


@finding("samples-fids")
def fid_of_the_architectures(
    equal: pd.DataFrame | None, grid: pd.DataFrame | None = None, dark: float | None = None
) -> tuple[str, str]:
    """Samples reach a FID of 24.76 after ten epochs, and at equal parameters FID tells the architectures apart.

    The level can only be compared by Inception's features of images in the range that it was made for. Holds where such
    a FID of the model with the most dimensions lies within 1 of 24.76, which is the spread between seeds, and does not
    where it lies further off; without that network it is not decided. The architectures are compared at equal size by
    the classifier's features. dark is the FID, by those features, of noise when all images are 255 times too dark.
    """
    cases = differences_of(equal, "classifier_prior_fid")
    text = cases
    if not isinstance(cases, str):
        better = [d for d, case in cases.items() if case.below(0)]
        text = (
            f"At equal parameters, by the classifier's features, the convolutional models' FID differs by "
            f"{extremes(cases, 1, unit='')}; it is lower at d = {listed(better) if better else 'none'}."
        )
    text += f" With all images 255 times too dark pure noise has a FID of {dark:.2g}." if dark is not None else ""
    if grid is None or "inception_prior_fid" not in grid or grid.inception_prior_fid.isna().all():
        return OPEN, f"The level of 24.76 is not decided: it takes Inception's weights. {text}"
    level = Estimate.of(grid[grid.latent_dim == grid.latent_dim.max()].inception_prior_fid)
    return (HOLDS if abs(level.mean - 24.76) <= 1 else FAILS), f"By Inception the FID is {level.text(1)}. {text}"


@finding("interpolation-paths")
def plausible_paths(grid: pd.DataFrame | None) -> tuple[str, str]:
    """A path between two images passes plausible pictures with two latent dimensions, and less so with ten.

    Holds where, for each architecture and for straight paths and arcs, the classifier is less sure of the pictures on
    a path at d = 10 than at d = 2; does not hold where it is nowhere less sure.
    """
    columns = {"straight": "classifier_straight_sure", "arc": "classifier_arc_sure"}
    if lack := lacking(grid, list(columns.values())):
        return OPEN, lack
    if not {2, 10} <= set(grid.latent_dim):
        return OPEN, "Not decided: it takes models of 2 and of 10 dimensions."
    gains = {
        f"{gain.text(3, sign=True)} on {kind} paths ({named(arch)})": gain
        for arch, own in grid.groupby("arch", sort=False)
        for kind, column in columns.items()
        for gain in [paired(own, column, "latent_dim", 10, 2)]
    }
    return verdict_of(gain.below(0) for gain in gains.values()), (
        f"At d = 10 the classifier's certainty along paths differs from that at d = 2 by {listed(gains)}."
    )


@finding("interpolation-paths")
def decoded_paths_beat_blending(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Pictures on a decoded path are more plausible than the two images blended.

    By the classifier's certainty and by the distance to the nearest training image, on straight paths. Holds where
    each model is surer and nearer than the blend of the same pairs.
    """
    columns = [f"classifier_{kind}_{name}" for kind in ("straight", "blended") for name in ("sure", "nearest", "even")]
    if lack := lacking(grid, columns):
        return OPEN, lack
    sure = by_case(grid.assign(gain=grid[columns[0]] - grid[columns[3]]), "gain")
    near = by_case(grid.assign(gain=grid[columns[1]] - grid[columns[4]]), "gain")
    truths = [gain.above(0) for gain in sure.values()] + [gain.below(0) for gain in near.values()]
    blended, steps = grid[columns[3]].mean(), grid[columns[5]].mean()
    seen = by_case(grid, columns[0])
    (low, least), (high, most) = best_case(seen, least=True), best_case(seen, least=False)
    even, evenest = best_case(by_case(grid, columns[2]), least=False)
    return verdict_of(truths), (
        f"Between the ends of a straight path the classifier is sure by {least.text()} ({case_name(low)}) to "
        f"{most.text()} ({case_name(high)}) of decoded pictures, and by {blended:.2f} of blended ones. The evenness of "
        f"steps is {evenest.text()} at most ({case_name(even)}), and {steps:.2f} of the blend."
    )


@finding("interpolation-paths")
def arc_against_straight(grid: pd.DataFrame | None) -> tuple[str, str]:
    """An arc passes more plausible pictures than a straight path.

    Holds where the classifier is surer on the arc for each model; depends where it is for some.
    """
    columns = ["classifier_arc_sure", "classifier_straight_sure"]
    if lack := lacking(grid, columns):
        return OPEN, lack
    gains = by_case(grid.assign(gain=grid[columns[0]] - grid[columns[1]]), "gain")
    (low, least), (high, most) = best_case(gains, least=True), best_case(gains, least=False)
    return verdict_of(gain.above(0) for gain in gains.values()), (
        f"On the arc and not on the straight path the classifier's certainty changes by {least.text(3, sign=True)} "
        f"({case_name(low)}) to {most.text(3, sign=True)} ({case_name(high)})."
    )


@finding("confusion-kept")
def labels_are_kept(grid: pd.DataFrame | None) -> tuple[str, str]:
    """A reconstruction keeps the class of its image.

    By the classifier. Holds where at least 95 % of the reconstructions of each model have the label that the image has.
    """
    if lack := lacking(grid, ["classifier_kept"]):
        return OPEN, lack
    kept = by_case(grid, "classifier_kept")
    (low, least), (high, most) = best_case(kept, least=True), best_case(kept, least=False)
    return verdict_of(case.above(0.95) for case in kept.values()), (
        f"Of the reconstructions {percent(least)} ({case_name(low)}) to {percent(most)} ({case_name(high)}) keep the "
        "label of their image."
    )


@finding("noise-matrix")
def noise_helps(noise: pd.DataFrame | None, level: str = "salt-pepper:0.1") -> tuple[str, str]:
    """Training on salt-and-pepper noise helps reconstruction.

    noise has a row for each run and tested level: ``trained`` (empty for clean images), ``noise`` that it was tested
    with ("none" for clean images), and ``error`` against the clean image. Of models trained with a tenth of the pixels
    changed against those trained on clean images: holds where the error is lower both on such noise and on clean
    images; depends where it is lower on the noise alone; does not hold where it is not lower on the noise.
    """
    if lack := lacking(noise, ["trained", "noise", "error"]):
        return OPEN, lack
    truths, texts = {level: [], "none": []}, []
    for arch, own in noise.groupby("arch", sort=False):
        if not {"", level} <= set(own.trained):
            continue
        for tested, shown in ((level, "such images"), ("none", "clean ones")):
            at = own[own.noise == tested]
            change, usual = paired(at, "error", "trained", level, ""), at[at.trained == ""].error.mean()
            truths[tested].append(change.below(0))
            texts.append(f"{percent(change.over(usual), sign=True)} on {shown} ({named(arch)})")
    if not texts:
        return OPEN, f"Not decided: it takes runs trained on {level} and on clean images."
    on_noise, on_clean = verdict_of(truths[level]), verdict_of(truths["none"])
    verdict = on_noise if on_noise != HOLDS else {HOLDS: HOLDS, OPEN: OPEN}.get(on_clean, DEPENDS)
    return verdict, f"Training with a tenth of the pixels changed alters the squared error by {listed(texts)}."


@finding("noise-matrix")
def better_than_a_median(noise: pd.DataFrame | None, level: str = "salt-pepper:0.1") -> tuple[str, str]:
    """A model trained on noise restores images better than a median filter.

    noise as above, with ``median_error``, and ``accuracy`` and ``median_accuracy``, the share of restored images that
    the classifier names rightly. Holds where, at the level it was trained on, its error is lower and its accuracy
    higher; depends where one of the two is.
    """
    if lack := lacking(noise, ["trained", "noise", "error", "median_error", "accuracy", "median_accuracy"]):
        return OPEN, lack
    own = noise[(noise.trained == level) & (noise.noise == level)]
    if lack := lacking(own):
        return OPEN, lack
    truths, texts = [], []
    for arch, at in own.groupby("arch", sort=False):
        error, named_rightly = Estimate.of(at.error - at.median_error), Estimate.of(at.accuracy - at.median_accuracy)
        truths += [error.below(0), named_rightly.above(0)]
        texts.append(
            f"the {named(arch)} model has a squared error of {at.error.mean():.4f} a pixel against "
            f"{at.median_error.mean():.4f}, and the classifier names {at.accuracy.mean():.1%} of what it restores "
            f"against {at.median_accuracy.mean():.1%} (n = {error.n})"
        )
    return verdict_of(truths), sentence(f"with a tenth of the pixels changed {listed(texts)} of the median filter")


def percent(estimate: Estimate, digits: int = 1, sign: bool = False) -> str:
    """``94.1 % (93.8 to 94.4 %, n = 3)`` of an estimate of a share."""
    form = f"{'+' if sign else ''}.{digits}f"
    text = f"{100 * estimate.mean:{form}} %"
    if math.isnan(estimate.low):
        return f"{text} (n = {estimate.n})"
    return f"{text} ({100 * estimate.low:{form}} to {100 * estimate.high:{form}} %, n = {estimate.n})"
