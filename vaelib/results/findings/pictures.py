"""What samples, paths, reconstructions and restored images say, by the classifier's eyes and by pixels.

Tables are those of finding.py; ``grid`` has the measures of metrics.json under their names, of the runs of the grid.
``noise`` has a row for each run and tested level: ``trained``, the noise that the run was trained on (empty: none),
``noise`` that it was tested with ("none" for clean images), and the measures of evaluation.noises.
"""

import pandas as pd

from vaelib.config import parse_noise
from vaelib.results.findings.choices import differences_of
from vaelib.results.findings.finding import (
    DEPENDS,
    FAILS,
    HOLDS,
    OPEN,
    Estimate,
    Undecided,
    at_dims,
    best_case,
    brackets,
    by_case,
    case_name,
    case_names,
    compared,
    extremes,
    finding,
    listed,
    measured,
    named,
    nats,
    negated,
    paired,
    percent,
    points,
    tally,
    verdict_of,
)

REPORTED_FID = 24.76  # what a report has, by Inception


@finding("samples-fids")
def mixture_beats_prior(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Samples are better when codes are drawn from a mixture fitted to the training codes than from the prior.

    Holds where the FID of the mixture's samples is the lower one for each model; does not hold where it is for none.
    """
    prior, mixture, real = (f"classifier_{of}_fid" for of in ("prior", "mixture", "real"))
    grid = measured(grid, [prior, mixture, real])
    gains = by_case(grid, mixture, less=prior)
    best, value = best_case(by_case(grid, mixture), least=True)
    truths = [gain.below(0) for gain in gains.values()]
    return verdict_of(truths), (
        f"Samples from the mixture have a lower FID than samples from the prior {tally(truths)}. "
        f"The difference is {extremes(gains, _fid_change)}. The lowest FID is {_fid(value)}, of {case_name(best)}; "
        f"as many training images have {grid[real].mean():.1f}. {brackets([*gains.values(), value])}"
    )


@finding("samples-fids")
def likelihood_against_fid(grid: pd.DataFrame | None) -> tuple[str, str]:
    """The model with the best likelihood has the best samples.

    Likelihood is the negative ELBO less the gap, samples are judged by the FID of those from the prior; the best model
    has the lowest mean over seeds. Holds where one model is the best by both. Does not hold where there are two, and
    each of them is shown to be better than the other by its own measure.
    """
    columns = ["negative_bound_nats", "classifier_prior_fid"]
    grid = measured(grid, columns)
    bounds, fids = (by_case(grid, column) for column in columns)
    if len(bounds) < 2:
        raise Undecided("it takes two models or more")
    (likely, bound), (drawn, fid) = (best_case(cases, least=True) for cases in (bounds, fids))
    text = f"The best likelihood, {nats(bound)}, is that of {case_name(likely)}."
    if likely == drawn:
        return HOLDS, f"{text} Its samples have the lowest FID too, {_fid(fid)}. {brackets([bound, fid])}"
    models = grid.assign(model=[case_name(case) for case in zip(grid.arch, grid.latent_dim, strict=True)])
    first, other = case_name(likely), case_name(drawn)
    gains = paired(models, columns[0], "model", first, other), paired(models, columns[1], "model", other, first)
    shown = all(gain.below(0) for gain in gains)
    text += f" Its samples have a FID of {_fid(fids[likely])}. "
    text += f"The lowest FID, {_fid(fid)}, is that of {case_name(drawn)}."
    text += "" if shown else " The seeds do not show both differences."
    return (FAILS if shown else OPEN), f"{text} {brackets([bound, fid, fids[likely]])}"


def _fid(estimate: Estimate) -> str:
    return estimate.text(1)


def _fid_change(estimate: Estimate) -> str:
    return estimate.text(1, sign=True)


@finding("samples-measures")
def blur_counts_as_precise(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Samples lie among real images less often than real images do.

    By precision. Holds where the prior's samples have a lower precision than as many training images, for each model;
    does not hold where they have for none. Where they have not, a blurred picture near the middle of many images counts
    as precise.
    """
    columns = ["classifier_prior_precision", "classifier_real_precision"]
    grid = measured(grid, columns)
    gains, precisions = by_case(grid, columns[0], less=columns[1]), by_case(grid, columns[0])
    truths = {case: gain.below(0) for case, gain in gains.items()}
    above = [case for case, truth in truths.items() if truth is False]
    text = (
        f"Samples from the prior are less precise than real images {tally(truths.values())}. "
        f"Their precision is {extremes(precisions, percent)}; that of training images is "
        f"{100 * grid[columns[1]].mean():.1f} %."
    )
    text += f" It is no lower in {case_names(above)}." if above else ""
    return verdict_of(truths.values()), f"{text} {brackets(precisions.values())}"


@finding("samples-sharpness")
def sharper_not_more_plausible(grid: pd.DataFrame | None) -> tuple[str, str]:
    """More latent dimensions make samples sharper but not more plausible.

    From the fewest to the most dimensions, for each architecture: samples from the prior are shown to be sharper (the
    variance of their response to the Laplace filter rises), and neither the classifier's certainty nor the share of
    them that lie among real images (precision) rises. Holds where all is so, does not hold where nothing is; depends
    where some is.
    """
    columns = ["sharpness_prior", "classifier_prior_sure", "classifier_prior_precision"]
    grid = measured(grid, columns)
    few, most = grid.latent_dim.min(), grid.latent_dim.max()
    truths, texts, estimates = [], [], []
    for arch, own in grid.groupby("arch", sort=False):
        gains = [paired(own, column, "latent_dim", most, few) for column in columns]
        if few == most or not all(gain.n for gain in gains):
            continue
        sharpness, sure, precision = gains
        estimates += gains
        truths += [sharpness.above(0), *(negated(gain.above(0)) for gain in (sure, precision))]
        sharper = percent(sharpness.over(own[own.latent_dim == few].sharpness_prior.mean()), 0, sign=True)
        texts.append(
            f"From d = {few} to d = {most} the sharpness of samples of the {named(arch)} models changes by {sharper}, "
            f"the classifier's certainty by {points(sure)} and the precision by {points(precision)}."
        )
    if not texts:
        raise Undecided("it takes models of one architecture with two numbers of dimensions")
    return verdict_of(truths), f"{' '.join(texts)} {brackets(estimates)}"


@finding("samples-fids")
def fid_of_the_architectures(equal: pd.DataFrame | None, grid: pd.DataFrame | None = None) -> tuple[str, str]:
    """Samples have a FID of 24.76.

    The level can only be compared by Inception's features of images in the range that it was made for. Holds where such
    a FID of the models with the most dimensions, drawn from the prior, is shown to lie within 1 of 24.76, which is the
    spread between seeds; does not hold where it is shown to lie further off. Depends where the architectures differ in
    this; without that network it is not decided.

    equal compares the architectures by the classifier's features at equal size.
    """
    texts, estimates = [], []
    try:
        level = measured(grid, ["inception_prior_fid"])
        levels = by_case(level[level.latent_dim == level.latent_dim.max()], "inception_prior_fid")
        truths = [
            Estimate(x.mean - REPORTED_FID, x.low - REPORTED_FID, x.high - REPORTED_FID, x.n).within(1)
            for x in levels.values()
        ]
        texts.append(f"By Inception the FID is {extremes(levels, _fid)}.")
        estimates += levels.values()
    except Undecided as why:
        truths = [None]
        texts.append(f"The level of {REPORTED_FID} is not decided: {why}.")
    try:
        cases = differences_of(equal, "classifier_prior_fid")
        lower = {d: case.below(0) for d, case in cases.items()}
        texts.append(
            f"With equal parameters, by the classifier's features, the convolutional models have the lower FID "
            f"{at_dims(lower)}. Convolutional minus fully connected, the difference is {extremes(cases, _fid_change)}."
        )
        estimates += cases.values()
    except Undecided as why:
        texts.append(f"The architectures are not compared: {why}.")
    texts += [brackets(estimates)] if estimates else []
    return verdict_of(truths), " ".join(texts)


@finding("interpolation-paths")
def plausible_paths(grid: pd.DataFrame | None) -> tuple[str, str]:
    """A path between two images passes plausible pictures with two latent dimensions, and less so with ten.

    Holds where, for each architecture and for straight paths and arcs, the classifier is less sure of the pictures on
    a path at d = 10 than at d = 2; does not hold where it is nowhere less sure.
    """
    columns = {"straight paths": "classifier_straight_sure", "arcs": "classifier_arc_sure"}
    grid = measured(grid, list(columns.values()))
    if not {2, 10} <= set(grid.latent_dim):
        raise Undecided("it takes models of 2 and of 10 dimensions")
    gains = compared(
        {
            (arch, kind): paired(own, column, "latent_dim", 10, 2)
            for arch, own in grid.groupby("arch", sort=False)
            for kind, column in columns.items()
        }
    )
    texts = []
    for arch in dict.fromkeys(arch for arch, _ in gains):
        changes = [f"{points(gain)} on {kind}" for (of, kind), gain in gains.items() if of == arch]
        texts.append(
            f"From d = 2 to d = 10 the classifier's certainty along paths of the {named(arch)} models changes by "
            f"{listed(changes)}."
        )
    return verdict_of(gain.below(0) for gain in gains.values()), f"{' '.join(texts)} {brackets(gains.values())}"


@finding("interpolation-paths")
def decoded_paths_beat_blending(grid: pd.DataFrame | None) -> tuple[str, str]:
    """Pictures on a decoded path are more plausible than the two images blended.

    By the classifier's certainty and by the distance to the nearest training image, on straight paths. Holds where for
    each model the decoded pictures are surer and nearer than the blend of the same pairs; does not hold where for none
    they are either, and depends where some of it is so.
    """
    decoded, blended = (
        [f"classifier_{kind}_{name}" for name in ("sure", "nearest", "even")] for kind in ("straight", "blended")
    )
    grid = measured(grid, [*decoded, *blended])
    surer = [gain.above(0) for gain in by_case(grid, decoded[0], less=blended[0]).values()]
    nearer = [gain.below(0) for gain in by_case(grid, decoded[1], less=blended[1]).values()]
    sure, near, even = (by_case(grid, column) for column in decoded)
    blend_sure, blend_near, blend_even = (grid[column].mean() for column in blended)
    return verdict_of([*surer, *nearer]), (
        f"The classifier is surer of decoded pictures than of blended ones {tally(surer)}: its certainty is "
        f"{extremes(sure, percent)}, against {100 * blend_sure:.1f} % of the blend. "
        f"Decoded pictures lie nearer to training images {tally(nearer)}: at {extremes(near, Estimate.text)}, against "
        f"{blend_near:.2f}. The evenness of steps is {extremes(even, Estimate.text)}, against {blend_even:.2f}. "
        f"{brackets(sure.values())}"
    )


@finding("interpolation-paths")
def arc_against_straight(grid: pd.DataFrame | None) -> tuple[str, str]:
    """An arc passes more plausible pictures than a straight path.

    Holds where the classifier is surer on the arc for each model, does not hold where it is for none; depends where it
    is for some.
    """
    columns = ["classifier_arc_sure", "classifier_straight_sure"]
    gains = by_case(measured(grid, columns), *columns)
    truths = [gain.above(0) for gain in gains.values()]
    return verdict_of(truths), (
        f"The classifier is surer along arcs than along straight paths {tally(truths)}. Its certainty changes by "
        f"{extremes(gains, points)}. {brackets(gains.values())}"
    )


@finding("confusion-kept")
def labels_are_kept(grid: pd.DataFrame | None) -> tuple[str, str]:
    """A reconstruction keeps the class of its image.

    By the classifier. Holds where more than 95 % of the reconstructions of each model have the label that the image
    has; does not hold where that is so for none.
    """
    kept = by_case(measured(grid, ["classifier_kept"]), "classifier_kept")
    truths = [case.above(0.95) for case in kept.values()]
    return verdict_of(truths), (
        f"The share of reconstructions that keep the label of their image is {extremes(kept, percent)}. "
        f"It is more than 95 % {tally(truths)}. {brackets(kept.values())}"
    )


@finding("noise-matrix")
def noise_helps(noise: pd.DataFrame | None, level: str = "salt-pepper:0.1") -> tuple[str, str]:
    """Training on salt-and-pepper noise helps reconstruction.

    Models trained on noise are held against those trained on clean images, by the squared error against the clean
    image. Holds where the error is lower both on such noise and on clean images; depends where it is lower on the noise
    and not on clean images; does not hold where it is not lower on the noise.
    """
    noise = measured(noise, ["trained", "noise", "error"])
    truths, texts, estimates = {level: [], "none": []}, [], []
    for arch, own in noise.groupby("arch", sort=False):
        changes = []
        for tested, shown in ((level, "such images"), ("none", "clean images")):
            at = own[own.noise == tested]
            gain = paired(at, "error", "trained", level, "")
            if not gain.n:
                break
            truths[tested].append(gain.below(0))
            estimates.append(gain)
            changes.append(f"{percent(gain.over(at.error[at.trained == ''].mean()), sign=True)} on {shown}")
        if changes:
            texts.append(
                f"Training on {noise_name(level)} changes the squared error of the {named(arch)} model by "
                f"{listed(changes)}."
            )
    if not texts:
        raise Undecided(f"it takes runs trained on {noise_name(level)} and on clean images")
    on_noise, on_clean = verdict_of(truths[level]), verdict_of(truths["none"])
    verdict = on_noise if on_noise != HOLDS else on_clean if on_clean in (HOLDS, OPEN) else DEPENDS
    return verdict, f"{' '.join(texts)} {brackets(estimates)}"


@finding("noise-matrix")
def better_than_a_median(noise: pd.DataFrame | None, level: str = "salt-pepper:0.1") -> tuple[str, str]:
    """A model trained on noise restores images better than a median filter.

    At the level that it was trained on. Holds where, for each architecture, its squared error against the clean image
    is lower, and the classifier names more of what it restores rightly. Does not hold where neither is so for any;
    depends where some of it is.
    """
    noise = measured(noise, ["trained", "noise", "error", "median_error", "accuracy", "median_accuracy"])
    own = noise[(noise.trained == level) & (noise.noise == level)]
    if own.empty:
        raise Undecided(f"it takes runs trained and tested on {noise_name(level)}")
    truths, texts, estimates = [], [], []
    for arch, at in own.groupby("arch", sort=False):
        error, rightly = Estimate.of(at.error - at.median_error), Estimate.of(at.accuracy - at.median_accuracy)
        truths += [error.below(0), rightly.above(0)]
        estimates += [error, rightly]
        texts.append(
            f"The {named(arch)} model restores them with a squared error of {at.error.mean():.4f} a pixel, "
            f"{error.text(4, sign=True)} against the median filter. The classifier names "
            f"{100 * at.accuracy.mean():.1f} % of what the model restores rightly, {points(rightly)} against the "
            "filter."
        )
    return verdict_of(truths), f"Images have {noise_name(level)}. {' '.join(texts)} {brackets(estimates)}"


def noise_name(level: str) -> str:
    """``salt-and-pepper noise on 10 % of the pixels`` of a setting such as salt-pepper:0.1."""
    kind, value = parse_noise(level)
    if kind == "salt-pepper":
        return f"salt-and-pepper noise on {100 * value:g} % of the pixels"
    return f"Gaussian noise with a standard deviation of {value:g}"
