"""The tables that the claims of findings/claims.py are decided by, read from the runs of an edition."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from vaelib import evaluation
from vaelib.config import expanded
from vaelib.results.compare import at_each_dimension, read_sizes, read_study
from vaelib.results.findings.claims import Evidence
from vaelib.results.tables import study_table, table_of
from vaelib.training.run import Run


def gather(runs: list[Run], folder: str) -> Evidence:
    """What evaluated runs of the grid say, and those of the studies whose files lie in the folder.

    A study that is not there leaves its table None. InputError for a run that was not evaluated, and for a file of a
    study that cannot be read.
    """
    weights = _study(folder, "weights", evaluation.values, ("k1", "k2", "kl_warmup"))
    equal, sized = _sizes(folder)
    return Evidence(
        grid=table_of(runs, evaluation.values),
        classes=table_of(runs, evaluation.by_class),
        histories=pd.concat(map(_history, runs), ignore_index=True),
        steps=_study(folder, "start", lambda run: run.steps().query("epoch == 1")),
        equal=equal,
        sized=sized,
        # Runs whose weight of the KL rises are no points of a sweep.
        weights=None if weights is None else weights[weights.kl_warmup == 0],
        noise=_study(folder, "noise", lambda run: evaluation.noises(run).assign(trained=run.config.noise)),
        log_images=math.log(evaluation.read(runs[0])["measures"]["kl_nats"]["n"]),
    )


def _history(run: Run) -> pd.DataFrame:
    """The run's losses on the images it has not seen, after each epoch."""
    history, config = run.history(), run.config
    own = history[history.split == config.measured]
    return own.assign(arch=config.arch, latent_dim=config.latent_dim, seed=config.seed)


def _study(folder: str, name: str, measure: Callable, settings: Sequence[str] = ()) -> pd.DataFrame | None:
    """study_table of the study of that name; None where the folder is without it."""
    file = Path(expanded(folder), f"{name}.json")
    return study_table(read_study(str(file), "", name), measure, settings) if file.is_file() else None


def _sizes(folder: str) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Differences at equal size, and models of several sizes at one latent_dim with their seconds of training."""
    file = Path(expanded(folder), "sizes.json")
    if not file.is_file() or _without_pairs(file):
        return None, None
    pairs, further = read_sizes(str(file), "")
    measures = ["negative_elbo_nats", "classifier_prior_fid"]
    equal = pd.concat([at_each_dimension(own, measures).assign(arch=arch) for arch, own in pairs.items()])
    both = [run for own in pairs.values() for run in own]
    dims = {run.config.latent_dim for run in further} or {both[0].config.latent_dim}
    shown = list({run.path: run for run in [*further, *both] if run.config.latent_dim in dims}.values())
    sized = table_of(shown, evaluation.values)
    sized["parameters"] = [run.provenance["parameters"] for run in shown]
    sized["seconds"] = [run.train_seconds() for run in shown]
    return equal, sized


def _without_pairs(file: Path) -> bool:
    """Whether the file says that there are none, as of an edition of one architecture."""
    try:
        return json.loads(file.read_text("utf-8"))["equal"] == []
    except (ValueError, KeyError, TypeError):
        return False  # read_sizes says what is wrong with it.
