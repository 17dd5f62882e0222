"""The tables that the claims of findings/claims.py are decided by, read from the runs of an edition."""

import math
from pathlib import Path

import pandas as pd

from vaelib import evaluation
from vaelib.config import InputError, expanded
from vaelib.results.compare import at_each_dimension, read_sizes, read_study
from vaelib.results.findings.claims import Evidence
from vaelib.results.tables import table_of
from vaelib.training.run import Run


def gather(runs: list[Run], folder: str) -> Evidence:
    """What evaluated runs of the grid say, and those of the studies whose files lie in the folder.

    A study that is not there leaves its table None. InputError for a run that was not evaluated.
    """
    equal, sized = _sizes(folder)
    return Evidence(
        grid=table_of(runs, evaluation.values),
        classes=table_of(runs, evaluation.by_class),
        histories=_joined(run_table(run, run.history().query("split == @run.config.measured")) for run in runs),
        steps=_joined(run_table(run, run.steps().query("epoch == 1")) for run in _study(folder, "start")),
        equal=equal,
        sized=sized,
        weights=_weights(_study(folder, "weights")),
        noise=_joined(
            run_table(run, evaluation.noises(run)).assign(trained=run.config.noise) for run in _study(folder, "noise")
        ),
        log_images=math.log(evaluation.read(runs[0])["measures"]["kl_nats"]["n"]),
    )


def run_table(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """A table of one run with its arch, latent_dim and seed in front of each row."""
    config = run.config
    cell = dict(arch=config.arch, latent_dim=config.latent_dim, seed=config.seed)
    return pd.concat([pd.DataFrame(cell, index=table.index), table], axis=1)


def _study(folder: str, name: str) -> list[Run]:
    """The runs of a study, each once; none where the folder is without it."""
    if not Path(expanded(folder), f"{name}.json").is_file():
        return []
    arms = read_study(f"{expanded(folder)}/{name}.json", "", name)
    paths = [path for own in arms.values() for paths in own.values() for path in paths]
    return [Run.load(path) for path in dict.fromkeys(paths)]


def _joined(tables) -> pd.DataFrame | None:
    tables = list(tables)
    return pd.concat(tables, ignore_index=True) if tables else None


def _weights(runs: list[Run]) -> pd.DataFrame | None:
    """The measures of runs with constant weights of the two losses, and the weights."""
    runs = [run for run in runs if not run.config.kl_warmup]
    if not runs:
        return None
    table = table_of(runs, evaluation.values)
    return table.assign(k1=[run.config.k1 for run in runs], k2=[run.config.k2 for run in runs])


def _sizes(folder: str) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Differences at equal size, and models of several sizes at one latent_dim with their seconds of training."""
    file = Path(expanded(folder), "sizes.json")
    if not file.is_file():
        return None, None
    try:
        pairs, further = read_sizes(str(file), "")
    except InputError:  # an edition of one architecture has no pairs
        return None, None
    measures = ["negative_elbo_nats", "classifier_prior_fid"]
    equal = pd.concat([at_each_dimension(own, measures).assign(arch=arch) for arch, own in pairs.items()])
    both = [run for own in pairs.values() for run in own]
    dims = {run.config.latent_dim for run in further} or {both[0].config.latent_dim}
    shown = list({run.path: run for run in [*further, *both] if run.config.latent_dim in dims}.values())
    sized = table_of(shown, evaluation.values)
    sized["parameters"] = [run.provenance["parameters"] for run in shown]
    sized["seconds"] = [run.train_seconds() for run in shown]
    return equal, sized
