"""Models held against each other, each difference with its 95 % interval; over seeds, in which two trainings differ."""

import itertools
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vaelib.config import InputError, dataset_name, expanded
from vaelib.evaluation.metrics import per_image, read
from vaelib.results.tables import find_runs, summary
from vaelib.training.run import Run

LEVEL = 0.95


def compare(runs: Sequence[Run | str | os.PathLike], measures: list[str] | None = None) -> pd.DataFrame:
    """Each model of evaluated runs against the first, a row for each further model and measure.

    Runs are given as they are or by their paths. Runs that differ in nothing but the seed are one model. Columns:
    model, measure, baseline and value (means over seeds), difference (value minus baseline), low and high of its 95 %
    interval, beyond (whether 0 lies outside), n and over, what the interval is over:

    seeds        where both models have two or more; the same seeds are paired, and others then left out
    images       of one run each, image by image: of these weights alone, it says nothing of the models
    resamplings  likewise, of the sets that were drawn

    Else low and high are nan and beyond is False. All measures that the runs share, unless named. InputError for
    fewer than two models, and where the runs were not measured alike.
    """
    runs = [run if isinstance(run, Run) else Run.load(run) for run in runs]
    models = by_model(runs)
    if len(models) < 2:
        raise InputError(f"{len(models)} model in {len(runs)} runs: accepted are runs of two models at least")
    contents = {run.path: read(run) for run in runs}
    shared = [
        name for name in contents[runs[0].path]["measures"] if all(name in c["measures"] for c in contents.values())
    ]
    for name in measures or []:
        if name not in shared:
            why = [
                f" ({reason})"
                for content in contents.values()
                for network, reason in content.get("missing", {}).items()
                if name.startswith(f"{network}_")
            ]
            raise InputError(
                f"measure {name!r}: accepted of these runs is one of {', '.join(shared)}{next(iter(why), '')}"
            )
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
        models.setdefault(f"{dataset_name(run.config.dataset)} {name}", []).append(run)
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
    from scipy import stats  # a second to import: only where it is used

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
        low, high = interval(x - y)
    elif min(len(x), len(y)) > 1:
        kind, n = "seeds", min(len(x), len(y))
        if max(np.ptp(x), np.ptp(y)) > 1e-9 * abs(x).max():
            low, high = stats.ttest_ind(x, y, equal_var=False).confidence_interval(LEVEL)
    elif max(len(x), len(y)) > 1:
        kind, n = "seeds", 1
    elif kind == "images":
        each, its_each = (per_image(run).get(measure) for run in (one, other))
        if each is not None and its_each is not None:
            low, high = interval(each.astype(float) - its_each)
    elif kind == "resamplings" and n > 1:
        # Two deviations, each over n, have n - 1 degrees of freedom at least.
        reach = stats.t.ppf((1 + LEVEL) / 2, n - 1) * math.hypot(mine["error"], its["error"]) / math.sqrt(n)
        low, high = row["difference"] - reach, row["difference"] + reach
    return row | {"low": low, "high": high, "beyond": bool(low > 0 or high < 0), "n": n, "over": kind}


def interval(differences: np.ndarray | pd.Series) -> tuple[float, float]:
    """Student's 95 % interval of the mean of differences; nan where there is one, or they do not differ."""
    from scipy import stats  # a second to import: only where it is used

    differences = np.asarray(differences, dtype=float)
    if len(differences) < 2 or np.ptp(differences) <= 1e-9 * max(abs(differences).max(), 1e-300):
        return math.nan, math.nan
    return tuple(stats.ttest_1samp(differences, 0).confidence_interval(LEVEL))


def interval_text(mean: float, low: float, high: float, digits: int = 2) -> str:
    """``-1.93 (-2.55 to -1.31)``, and ``-1.93`` where there is no interval."""
    text = f"{mean:+.{digits}f}"
    return text if math.isnan(low) else f"{text} ({low:+.{digits}f} to {high:+.{digits}f})"


def contrast(table: pd.DataFrame, columns: dict[str, str], low: int, high: int, digits: int = 2) -> pd.DataFrame:
    """Each column at latent_dim high minus at low with the same seed, and its 95 % interval (Student's t over seeds).

    A row for each arch that has both. Of one seed there is no interval.
    """
    rows = {}
    for arch, own in table.groupby("arch", sort=False):
        if not {low, high} <= set(own.latent_dim):
            continue
        by_seed = own.pivot_table(index="seed", columns="latent_dim", values=list(columns))
        gains = {title: (by_seed[column][high] - by_seed[column][low]).dropna() for column, title in columns.items()}
        cells = {title: interval_text(gain.mean(), *interval(gain), digits) for title, gain in gains.items()}
        rows[arch] = cells | {"n": max(map(len, gains.values()))}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def ablation(lines: dict[str, dict[str, list[str]]]) -> pd.DataFrame:
    """What each change of a tuned cell costs, from the paths of its runs: arch -> change -> one path a cell.

    A row for each arch, change and latent_dim: n seeds, cost_nats, the mean over seeds of the change's final
    negative ELBO minus the tuned one's of the same seed, low and high of its 95 % interval (Student's t over
    seeds), negative_elbo_nats, the mean of the changed cells, train_seconds and tuned_seconds, of the fastest seed.
    Lines without a counterpart in "tuned", and runs that held out no images, raise InputError.
    """
    rows = []
    for arch, changes in lines.items():
        results = {}
        for change, paths in changes.items():
            # Each line has to be a table by itself; the lines share what no change names.
            runs = find_runs(paths, "", "")
            if not runs[0].config.held_out:
                raise InputError(
                    f"{arch}, {change!r}: {runs[0].path} held out 0 images: accepted is 1 or more, "
                    "since a choice that the test images make would flatter every other table"
                )
            results[change] = summary(runs).set_index(["latent_dim", "seed"]).sort_index()
        if "tuned" not in results:
            raise InputError(f"{arch}: there is no line named 'tuned' to hold {', '.join(map(repr, results))} against")
        tuned = results.pop("tuned")
        for change, table in results.items():
            if not table.index.equals(tuned.index):
                raise InputError(f"{arch}, {change!r}: wanted are the tuned cells' dimensions and seeds")
            costs = table.negative_elbo_nats - tuned.negative_elbo_nats
            for latent_dim, cost in costs.groupby("latent_dim"):
                low, high = interval(cost)
                own = table.loc[latent_dim]
                rows.append(
                    dict(arch=arch, change=change, latent_dim=latent_dim, n=len(cost), cost_nats=cost.mean())
                    | dict(low=low, high=high, negative_elbo_nats=own.negative_elbo_nats.mean())
                    | dict(train_seconds=own.train_seconds.min(), tuned_seconds=tuned.train_seconds[latent_dim].min())
                )
    return pd.DataFrame(rows)


def verdict(table: pd.DataFrame) -> pd.DataFrame:
    """The ablation as readers see it: a row a change, for each d its cost with the interval, and the seconds it takes.

    "above 0 at d" names each d whose whole interval is: there the tuned cell is shown to be better. seconds are
    relative to the tuned cell, over all d.
    """
    rows = []
    for (arch, change), own in table.groupby(["arch", "change"], sort=False):
        costs = {f"d = {row.latent_dim}": interval_text(row.cost_nats, row.low, row.high) for row in own.itertuples()}
        seconds = f"{own.train_seconds.sum() / own.tuned_seconds.sum():.2f}"
        above = ", ".join(map(str, own.latent_dim[own.low > 0]))
        rows.append(
            {"model": arch, "change": change} | costs | {"n": own.n.iloc[0], "above 0 at d": above, "seconds": seconds}
        )
    return pd.DataFrame(rows).set_index(["model", "change"])


def read_study(path: str, runs_root: str, name: str) -> dict[str, dict[str, list[str]]]:
    """The runs of the study of that name, arch -> arm -> their paths, as the workflow's studies/NAME.json names them.

    The file is the one at the path, or in the folder at the path, or where none is given studies/NAME.json beside
    runs_root. InputError where it is not there.
    """
    how = f"an edition with the study {name!r} makes it (make full), or give study"
    path = f"{path}/{name}.json" if path and Path(expanded(path)).is_dir() else path
    file, arms = _read_json(path, runs_root, f"studies/{name}.json", how)
    return {
        arch: {arm: [str(file.parent / own) for own in paths] for arm, paths in own.items()}
        for arch, own in arms.items()
    }


def read_sizes(path: str, runs_root: str, only: Sequence[str] = ()) -> tuple[dict[str, list[Run]], list[Run]]:
    """The runs of equal size, as the workflow's sizes.json names them, and those of further sizes.

    Of equal size, for each further architecture: the first architecture's runs that are matched to it, then its own,
    by latent_dim and seed; where only names runs, those and what is matched to them. The file is the one at the path,
    or studies/sizes.json beside runs_root. InputError where it is not there, or no pair is left.
    """
    how = "an edition with models of equal size makes it (make full), or give sizes"
    file, sizes = _read_json(path, runs_root, "studies/sizes.json", how)
    root, kept, pairs = file.parent, {Path(expanded(own)).resolve() for own in only}, {}
    for matched, other in sizes["equal"]:
        if not kept or (root / other).resolve() in kept:
            pairs.setdefault(Run.load(root / other).config.arch, []).extend([str(root / matched), str(root / other)])
    if not pairs:
        raise InputError(f"{file.resolve()} has no pair of equal size" + " with one of these runs" * bool(kept))
    equal = {
        # The first model is what the others are held against.
        arch: sorted(find_runs(paths, "", ""), key=lambda run: run.config.arch == arch)
        for arch, paths in pairs.items()
    }
    return equal, [Run.load(root / own) for own in sizes["sized"]]


def _read_json(path: str, runs_root: str, beside: str, how: str) -> tuple[Path, dict]:
    file = Path(expanded(path)) if path else Path(expanded(runs_root)).parent / beside
    try:
        return file, json.loads(file.read_text())
    except FileNotFoundError:
        raise InputError(f"no {file.resolve()}: {how}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
