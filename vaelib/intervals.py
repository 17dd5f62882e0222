"""Differences and shares with their 95 % intervals; between models over seeds, in which two trainings differ."""

import numpy as np
import pandas as pd
from scipy import stats

from vaelib import InputError
from vaelib.tables import find, summary


def contrast(table: pd.DataFrame, columns: dict[str, str], low: int, high: int, digits: int = 2) -> pd.DataFrame:
    """Each column at latent_dim high minus at low with the same seed, and its 95 % interval (Student's t over seeds).

    A row for each arch. Of one seed there is no interval.
    """
    rows = {}
    for arch, own in table.groupby("arch", sort=False):
        by_seed = own.pivot_table(index="seed", columns="latent_dim", values=list(columns))
        cells = {}
        for column, title in columns.items():
            gain = (by_seed[column][high] - by_seed[column][low]).dropna()
            cells[title] = f"{gain.mean():+.{digits}f}"
            if len(gain) > 1 and gain.std() > 0:
                interval = stats.ttest_1samp(gain, 0).confidence_interval(0.95)
                cells[title] += f" ({interval.low:+.{digits}f} to {interval.high:+.{digits}f})"
        rows[arch] = cells | {"n": len(gain)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def wilson(hits: np.ndarray) -> str:
    """``0.93 (0.90 to 0.95)``: a share and its 95 % interval. Wilson 1927."""
    low, high = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, method="wilson")
    return f"{hits.mean():.2f} ({low:.2f} to {high:.2f})"


def ablation(lines: dict[str, dict[str, list[str]]]) -> pd.DataFrame:
    """What each change of a tuned cell costs, from the paths of its runs: arch -> change -> one path a cell.

    A row for each arch, change and latent_dim: n seeds, cost_nats, the mean over seeds of the change's final
    negative ELBO minus the tuned one's of the same seed, low and high of its 95 % interval (Student's t over
    seeds), negative_elbo_nats, the mean of the changed cells, train_seconds and tuned_seconds, of the fastest seed.
    Lines without a counterpart in "tuned" raise InputError.
    """
    rows = []
    for arch, changes in lines.items():
        results = {}
        for change, paths in changes.items():
            # each line on its own has to be a table; all of them share what no change names
            table = summary(find(paths, "", ""))
            results[change] = table.set_index(["latent_dim", "seed"]).sort_index()
        if "tuned" not in results:
            raise InputError(f"{arch}: there is no line named 'tuned' to hold {', '.join(map(repr, results))} against")
        tuned = results.pop("tuned")
        for change, table in results.items():
            if not table.index.equals(tuned.index):
                raise InputError(f"{arch}, {change!r}: wanted are the tuned cells' dimensions and seeds")
            costs = table.negative_elbo_nats - tuned.negative_elbo_nats
            for latent_dim, cost in costs.groupby("latent_dim"):
                interval = stats.ttest_1samp(cost, 0).confidence_interval(0.95)
                own = table.loc[latent_dim]
                rows.append(
                    dict(arch=arch, change=change, latent_dim=latent_dim, n=len(cost), cost_nats=cost.mean())
                    | dict(low=interval.low, high=interval.high, negative_elbo_nats=own.negative_elbo_nats.mean())
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
        costs = {
            f"d = {row.latent_dim}": f"{row.cost_nats:+.2f} ({row.low:+.2f} to {row.high:+.2f})"
            for row in own.itertuples()
        }
        seconds = f"{own.train_seconds.sum() / own.tuned_seconds.sum():.2f}"
        above = ", ".join(map(str, own.latent_dim[own.low > 0]))
        rows.append(
            {"model": arch, "change": change} | costs | {"n": own.n.iloc[0], "above 0 at d": above, "seconds": seconds}
        )
    return pd.DataFrame(rows).set_index(["model", "change"])
