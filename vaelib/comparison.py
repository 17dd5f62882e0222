"""Models held against each other by their metrics.json, each difference with whether it is beyond the noise."""

import itertools
import math

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
    n, and over, what the interval is over: "seeds" where both models have two or more, else "images" or
    "resamplings", and then it is of these weights alone and says nothing of the models. nan where there is no
    interval. All the measures that the runs share, unless named. InputError for fewer than two models.
    """
    models = by_model(runs)
    if len(models) < 2:
        raise InputError(f"{len(models)} model in {len(runs)} runs: accepted are runs of two models at least")
    found = {name: [evaluation.read(run)["measures"] for run in own] for name, own in models.items()}
    seeds = {name: [run.config.seed for run in own] for name, own in models.items()}
    first, *others = models
    shared = [name for name in found[first][0] if all(name in one for own in found.values() for one in own)]
    for name in measures or []:
        if name not in shared:
            raise InputError(f"measure {name!r}: accepted of these runs is one of {', '.join(shared)}")
    rows = []
    for other in others:
        for measure in measures or shared:
            ours, theirs = ([one[measure] for one in found[name]] for name in (other, first))
            row = difference(ours, theirs, paired=seeds[other] == seeds[first])
            rows.append({"model": other, "measure": measure} | row)
    return pd.DataFrame(rows)


def at_each_dimension(runs: list[Run], measures: list[str]) -> pd.DataFrame:
    """compare of the runs of each latent_dim by themselves, which two archs share, with latent_dim as a column."""
    dims = sorted({run.config.latent_dim for run in runs})
    tables = []
    for latent_dim in dims:
        own = [run for run in runs if run.config.latent_dim == latent_dim]
        tables.append(compare(own, measures).assign(latent_dim=latent_dim))
    return pd.concat(tables, ignore_index=True)


def by_model(runs: list[Run]) -> dict[str, list[Run]]:
    """The runs of each model, in the order of their seeds, under the run's name without its seed."""
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


def difference(ours: list[dict], theirs: list[dict], paired: bool) -> dict:
    """How one measure of one model differs from another's, of a measure for each seed; see compare."""
    a, b = (np.array([one["value"] for one in own]) for own in (ours, theirs))
    gap = a.mean() - b.mean()
    row = {"baseline": b.mean(), "value": a.mean(), "difference": gap}
    low = high = math.nan
    if min(len(a), len(b)) > 1:
        over, n = "seeds", min(len(a), len(b))
        if np.ptp(a) == np.ptp(b) == 0 or (paired and np.ptp(a - b) == 0):
            low = high = gap  # no spread at all, and no t
        else:
            test = stats.ttest_rel(a, b) if paired else stats.ttest_ind(a, b, equal_var=False)
            low, high = test.confidence_interval(LEVEL)
    else:
        over, n = ours[0]["over"], ours[0]["n"]
        errors = [one["error"] for one in (ours[0], theirs[0])]
        if None not in errors:
            reach = stats.norm.ppf((1 + LEVEL) / 2) * math.hypot(*errors)
            low, high = gap - reach, gap + reach
    beyond = bool(low > 0 or high < 0)
    return row | {"low": low, "high": high, "beyond": beyond, "n": n, "over": over}


def as_text(row: pd.Series, digits: int = 2) -> str:
    """``-1.93 (-2.55 to -1.31)``, and ``-1.93`` where there is no interval."""
    text = f"{row.difference:+.{digits}f}"
    return text if math.isnan(row.low) else f"{text} ({row.low:+.{digits}f} to {row.high:+.{digits}f})"
