"""Several runs as tables: found, summarised a row each, averaged over seeds."""

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from vaelib.config import ARCHS, InputError, dataset_name, expanded
from vaelib.training.run import Run

# The settings that a preset decides: models of two architectures may differ in them.
BY_PRESET = set(ARCHS["linear"].presets["tuned"]) | {"decoder_widths"}


def find_runs(paths: list[str] | str, runs_root: str, dataset: str) -> list[Run]:
    """Finished runs in the order of the grid: those at the paths, or all of the dataset under runs_root.

    papermill's -p gives several paths as one text, separated by commas.

    InputError when there is none, when one comes twice, when they differ in what no preset decides, or two of one
    arch and latent_dim in more than the seed: a table that averages over seeds must not average over anything else.
    """
    root = Path(expanded(runs_root)) / dataset_name(dataset)
    paths = [path for path in paths.split(",") if path] if isinstance(paths, str) else paths
    runs = [Run.load(path) for path in paths or trained(root)]
    if not runs:
        above = Path("..", root)  # A notebook's working folder is its own, those of most commands the one above.
        found = f" (there are some in {above.resolve()})" if not root.is_absolute() and trained(above) else ""
        raise InputError(
            f"no finished run in {root.resolve()}{found}: give runs, or another runs_root, "
            f"or make one there with vaelib train --dataset {dataset} --runs-root {root.parent.resolve()}"
        )
    for run in runs:
        run.require_recorded()
    for key in runs[0].config.settings().keys() - BY_PRESET - {"arch", "latent_dim", "seed"}:
        found = {str(run.config.settings()[key]) for run in runs}
        if key == "dataset":  # Own images may be found in another place; their checksum decides.
            found = {dataset_name(name) for name in found}
        if len(found) > 1:
            raise InputError(f"runs with {key} {' and '.join(sorted(found))} do not compare: give runs that share it")
    if len({run.provenance["data_sha256"] for run in runs}) > 1:
        raise InputError(
            f"runs learnt different images called {dataset_name(runs[0].config.dataset)}: give runs of one set"
        )
    precisions = sorted({run.provenance["precision"] for run in runs})
    if len(precisions) > 1:
        raise InputError(f"runs made in {' and '.join(precisions)} do not compare: give them one --precision")
    first, seen = {}, {}
    for run in runs:
        settings = run.config.settings()
        twin = first.setdefault((run.config.arch, run.config.latent_dim), run)
        differing = sorted(key for key in BY_PRESET if settings[key] != twin.config.settings()[key])
        if differing:
            raise InputError(f"{twin.path} and {run.path} differ in {', '.join(differing)}: give runs that share them")
        if (other := seen.setdefault(run.config.cell_id, run)) is not run:
            raise InputError(f"{other.path} and {run.path} are both {run.config.cell_id}: give each seed once")
    order = list(ARCHS)
    return sorted(runs, key=lambda run: (order.index(run.config.arch), run.config.latent_dim, run.config.seed))


def trained(root: Path) -> list[Path]:
    """The directories of finished models under root, and of their records; classifiers left out."""
    finished = {file.parent for name in ("model.safetensors", "weights.sha256") for file in root.glob(f"*/{name}")}
    return sorted(path for path in finished if not path.name.startswith(("classifier", ".")))


def summary(runs: list[Run]) -> pd.DataFrame:
    """A row for each run: cell, arch, latent_dim, seed, epochs, parameters, final nats, train_seconds.

    The nats are those of Run.final: of the test images, or of those that the run held out.
    """
    return pd.DataFrame(
        {
            "cell": run.config.cell_id,
            "arch": run.config.arch,
            "latent_dim": run.config.latent_dim,
            "seed": run.config.seed,
            "epochs": run.config.epochs,
            "parameters": run.provenance["parameters"],
            **run.final(),
            "train_seconds": run.train_seconds(),
        }
        for run in runs
    )


def title(run: Run) -> str:
    """``conv, d = 10``."""
    return f"{run.config.arch}, d = {run.config.latent_dim}"


def at(runs: list[Run], latent_dim: int) -> list[Run]:
    """Those of the runs that have that many latent dimensions; InputError where there is none."""
    own = [run for run in runs if run.config.latent_dim == latent_dim]
    if not own:
        have = ", ".join(str(value) for value in sorted({run.config.latent_dim for run in runs}))
        raise InputError(f"no run with latent_dim {latent_dim} among these, whose latent_dim is {have}: add one")
    return own


def near(runs: list[Run], *latent_dims: int) -> list[Run]:
    """For each number those of the runs with the most latent dimensions up to that many, each run once.

    Where all runs have more dimensions it is those with the fewest.
    """
    have = sorted({run.config.latent_dim for run in runs})
    nearest = [max((d for d in have if d <= wanted), default=have[0]) for wanted in latent_dims]
    return [run for latent_dim in dict.fromkeys(nearest) for run in at(runs, latent_dim)]


def first_seed(runs: list[Run]) -> list[Run]:
    """Those of the runs that have the first run's seed."""
    return [run for run in runs if run.config.seed == runs[0].config.seed]


def split_by_arch(runs: list[Run]) -> tuple[list[Run], list[Run]]:
    """The runs of the first run's architecture, and all others, in their order."""
    arch = runs[0].config.arch
    return [run for run in runs if run.config.arch == arch], [run for run in runs if run.config.arch != arch]


def table_of(runs: list[Run], measure: Callable[[Run], dict[str, float]]) -> pd.DataFrame:
    """arch, latent_dim, seed and what measure returns, a row for each run."""
    cells = ({"arch": run.config.arch, "latent_dim": run.config.latent_dim, "seed": run.config.seed} for run in runs)
    return pd.DataFrame(cell | measure(run) for cell, run in zip(cells, runs, strict=True))


def study_table(
    study: dict[str, dict[str, list[str]]],
    measure: Callable[[Run], dict[str, float] | pd.DataFrame],
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """arch, arm, latent_dim, seed, the settings named, and what measure returns, of the runs of a study.

    study is that of read_study: arch -> arm -> paths. A row for each run, or as many as the table that measure returns.
    InputError where the runs learnt different images.
    """
    runs = [(arm, Run.load(path)) for arms in study.values() for arm, paths in arms.items() for path in paths]
    if len({run.provenance["data_sha256"] for _, run in runs}) > 1:
        raise InputError("the runs of the study learnt different images: give runs of one set")
    rows = []
    for arm, run in runs:
        measured = measure(run)
        table = measured if isinstance(measured, pd.DataFrame) else pd.DataFrame([measured])
        cell = dict(arch=run.config.arch, arm=arm, latent_dim=run.config.latent_dim, seed=run.config.seed)
        cell |= {name: getattr(run.config, name) for name in settings}
        rows.append(pd.DataFrame(cell, index=table.index).join(table))
    return pd.concat(rows, ignore_index=True)


def by_cell(table: pd.DataFrame, columns: dict[str, str], digits: int = 2) -> pd.DataFrame:
    """Columns of table_of, renamed, as means over seeds with their standard deviation, and n; a row for each cell.

    InputError where a seed of a model comes twice.
    """
    twice = table[table.duplicated(["arch", "latent_dim", "seed"])]
    if len(twice):
        raise InputError(
            f"{', '.join(map(_cell, twice.itertuples()))} twice in a table over seeds: give each seed once"
        )
    rows = {}
    for cell, own in table.groupby(["arch", "latent_dim"], sort=False):
        values = {title: mean_and_deviation(own[column], digits) for column, title in columns.items()}
        rows[cell] = values | {"n": len(own)}
    result = pd.DataFrame.from_dict(rows, orient="index")
    result.index = pd.MultiIndex.from_tuples(result.index, names=["model", "d"])
    return result


def _cell(row) -> str:
    return f"{row.arch}-d{row.latent_dim}-s{row.seed}"


def shares(rows: np.ndarray, columns: np.ndarray, classes: list[int]) -> np.ndarray:
    """Of the images with each label in rows, the share with each label in columns; (classes, classes)."""
    from sklearn.metrics import confusion_matrix  # seconds to import: only where it is used

    counts = confusion_matrix(rows, columns, labels=classes)
    return counts / counts.sum(1, keepdims=True).clip(1)


def largest(matrix: np.ndarray, count: int = 1) -> list[tuple[int, int]]:
    """Row and column of the largest entries off the diagonal, the largest first; nan comes last."""
    places = np.argwhere(~np.eye(len(matrix), dtype=bool))
    order = np.argsort(-matrix[tuple(places.T)], kind="stable")[:count]
    return [tuple(place) for place in places[order].tolist()]


def table_by_cell(table: pd.DataFrame) -> pd.DataFrame:
    """The summary as readers see it: means over seeds with their standard deviation, n, and seconds of the fastest.

    InputError where a seed of a model comes twice.
    """
    if twice := sorted(set(table.cell[table.cell.duplicated()])):
        raise InputError(f"{', '.join(twice)} twice in a table over seeds: give each seed once")
    rows = []
    for (arch, latent_dim), runs in table.groupby(["arch", "latent_dim"], sort=False):
        nats = {"recon": runs.recon_nats, "KL": runs.kl_nats, "negative ELBO": runs.negative_elbo_nats}
        rows.append(
            {
                "model": arch,
                "d": latent_dim,
                "parameters": f"{runs.parameters.iloc[0]:,}",
                **{name: mean_and_deviation(values) for name, values in nats.items()},
                "n": len(runs),
                "seconds": f"{runs.train_seconds.min():.0f}",
            }
        )
    return pd.DataFrame(rows).set_index(["model", "d"])


def mean_and_deviation(values: pd.Series, digits: int = 2) -> str:
    """``105.40 ± 0.31``, the deviation over seeds; without it where there is one value, empty where none."""
    values = values.dropna()
    if values.empty:
        return ""
    return f"{values.mean():.{digits}f}" + (f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else "")


def versions(runs: list[Run]) -> dict[str, str]:
    """Versions, commits and machine that the runs name, and those of the packages around them now."""
    keys = ("commit", "vaelib", "torch", "python", "device", "processor", "system")
    named = {key: ", ".join(sorted({str(run.provenance.get(key, "")) for run in runs})) for key in keys}
    around = ("torchvision", "numpy", "pandas", "scikit-learn", "matplotlib", "papermill", "snakemake", "jupyter-book")
    return named | {package: metadata.version(package) for package in around}
