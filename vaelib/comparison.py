"""Models held against each other by their metrics.json, each difference with whether it is beyond the noise."""

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from vaelib import InputError, evaluation
from vaelib.run import Run

LEVEL = 0.95


def compare(runs: list[Run], measures: list[str] | None = None) -> pd.DataFrame:
    """Each model of the runs against the first, a row for each further model and measure.

    Runs that differ in nothing but the seed are one model. Columns: model, measure, baseline and value (means over
    seeds), difference (value minus baseline), low and high of its 95 % interval, beyond (whether 0 lies outside),
    n and over, what the interval is over:

    seeds        where both models have two or more; the same seeds are paired, and others then left out
    images       of one run each, image by image: of these weights alone, it says nothing of the models
    resamplings  likewise, of the sets that were drawn

    Else low and high are nan and beyond is False. All measures that the runs share, unless named. InputError for
    fewer than two models, and where the runs were not measured alike.
    """
    models = by_model(runs)
    if len(models) < 2:
        raise InputError(f"{len(models)} model in {len(runs)} runs: accepted are runs of two models at least")
    contents = {run.path: evaluation.read(run) for run in runs}
    shared = [
        name for name in contents[runs[0].path]["measures"] if all(name in c["measures"] for c in contents.values())
    ]
    for name in measures or []:
        if name not in shared:
            raise InputError(f"measure {name!r}: accepted of these runs is one of {', '.join(shared)}")
    require_alike(contents, measures or shared)
    first, *others = models
    rows = []
    for other, measure in itertools.product(others, measures or shared):
        ours, theirs = (
            [(run, contents[run.path]["measures"][measure]) for run in models[name]] for name in (other, first)
        )
        rows.append({"model": other, "measure": measure} | difference(ours, theirs, measure))
    return pd.DataFrame(rows)


def at_each_dimension(runs: list[Run], measures: list[str]) -> pd.DataFrame:
    """compare of the two models of each latent_dim by themselves, with latent_dim as a column.

    InputError where some latent_dim has not two.
    """
    tables = []
    for latent_dim in sorted({run.config.latent_dim for run in runs}):
        own = [run for run in runs if run.config.latent_dim == latent_dim]
        names = list(by_model(own))
        if len(names) != 2:
            raise InputError(f"latent_dim {latent_dim} has the models {', '.join(names)}: accepted are two")
        tables.append(compare(own, measures).assign(latent_dim=latent_dim))
    return pd.concat(tables, ignore_index=True)


def by_model(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each model, in the order of their seeds, under the data set and the run's name without its seed.

    InputError where one seed comes twice.
    """
    models = {}
    for run in runs:
        name = run.config.run_name.replace(f"-s{run.config.seed}", "", 1)
        models.setdefault(f"{run.config.dataset} {name}", []).append(run)
    for name, own in models.items():
        own.sort(key=lambda run: run.config.seed)
        for one, other in itertools.pairwise(own):
            if one.config.seed == other.config.seed:
                raise InputError(f"{one.path} and {other.path} are both {name} with seed {one.config.seed}: give one")
    return models


def require_alike(contents: dict[Any, dict[str, Any]], measures: list[str]):
    """InputError where two runs were measured on other images, by other networks, or over other numbers of them."""
    (first, one), *others = contents.items()
    for path, other in others:
        same = {key: (one[key], other[key]) for key in ("data_sha256", "split")}
        used = [name for name in one["networks"] if any(measure.startswith(f"{name}_") for measure in measures)]
        same |= {f"network {name}": (one["networks"][name], other["networks"].get(name)) for name in used}
        for name in measures:
            same[name] = tuple((c["measures"][name]["n"], c["measures"][name]["over"]) for c in (one, other))
        for what, (ours, theirs) in same.items():
            if ours != theirs:
                raise InputError(f"{first} and {path} were not measured alike: {what} is {ours} and {theirs}")


def difference(ours: list[tuple[Run, dict]], theirs: list[tuple[Run, dict]], measure: str) -> dict[str, Any]:
    """How one measure of one model differs from another's, of a measure for each of their runs; see compare."""
    a, b = ({run.config.seed: one["value"] for run, one in own} for own in (ours, theirs))
    common = sorted(a.keys() & b.keys())
    paired = len(common) > 1
    x, y = (np.array([own[seed] for seed in (common if paired else own)]) for own in (a, b))
    row = {"baseline": y.mean(), "value": x.mean(), "difference": x.mean() - y.mean()}
    (one, mine), (other, its) = ours[0], theirs[0]
    kind, n = mine["over"], mine["n"]
    low = high = math.nan
    if paired:
        kind, n = "seeds", len(common)
        low, high = _interval(x - y)
    elif min(len(x), len(y)) > 1:
        kind, n = "seeds", min(len(x), len(y))
        if max(np.ptp(x), np.ptp(y)) > 1e-9 * abs(x).max():
            low, high = stats.ttest_ind(x, y, equal_var=False).confidence_interval(LEVEL)
    elif max(len(x), len(y)) > 1:
        kind, n = "seeds", 1
    elif kind == "images":
        each, its_each = (evaluation.per_image(run).get(measure) for run in (one, other))
        if each is not None and its_each is not None:
            low, high = _interval(each.astype(float) - its_each)
    elif kind == "resamplings" and n > 1:
        # of two deviations over n each there are n - 1 degrees of freedom at least
        reach = stats.t.ppf((1 + LEVEL) / 2, n - 1) * math.hypot(mine["error"], its["error"]) / math.sqrt(n)
        low, high = row["difference"] - reach, row["difference"] + reach
    return row | {"low": low, "high": high, "beyond": bool(low > 0 or high < 0), "n": n, "over": kind}


def _interval(gaps: np.ndarray) -> tuple[float, float]:
    """Student's 95 % interval of the mean of differences; nan where they do not differ, and there is no t."""
    if np.ptp(gaps) <= 1e-9 * max(abs(gaps).max(), 1e-300):
        return math.nan, math.nan
    return tuple(stats.ttest_1samp(gaps, 0).confidence_interval(LEVEL))


def as_text(row: pd.Series, digits: int = 2) -> str:
    """``-1.93 (-2.55 to -1.31)``, and ``-1.93`` where there is no interval."""
    text = f"{row.difference:+.{digits}f}"
    return text if math.isnan(row.low) else f"{text} ({row.low:+.{digits}f} to {row.high:+.{digits}f})"
