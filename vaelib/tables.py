"""Several runs as tables: found, summarised a row each, averaged over seeds."""

from importlib import metadata
from pathlib import Path

import pandas as pd

from vaelib import InputError
from vaelib.config import ARCHS
from vaelib.run import Run


def find(paths: list[str], runs_root: str, dataset: str) -> list[Run]:
    """Finished runs in the order of the grid: those at the paths, or all of the dataset under runs_root.

    InputError when there is none, or when they are of different image sets.
    """
    root = Path(runs_root) / dataset
    runs = [Run.load(path) for path in paths or sorted(file.parent for file in root.glob("*/model.safetensors"))]
    if not runs:
        raise InputError(f"no finished run under {root}: make one with vaelib train --dataset {dataset}")
    for run in runs:
        run.require_finished()
    datasets = sorted({run.config.dataset for run in runs})
    if len(datasets) > 1:
        raise InputError(f"runs of {' and '.join(datasets)} do not compare: give runs of one dataset")
    return sorted(runs, key=lambda run: (ARCHS.index(run.config.arch), run.config.latent_dim, run.config.seed))


def summary(runs: list[Run]) -> pd.DataFrame:
    """A row for each run: cell, arch, latent_dim, seed, epochs, parameters, final test nats, train_seconds."""
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


def table_by_cell(table: pd.DataFrame) -> pd.DataFrame:
    """The summary as readers see it: means over seeds, the negative ELBO with its deviation and n."""
    rows = []
    for (arch, latent_dim), runs in table.groupby(["arch", "latent_dim"], sort=False):
        spread = runs.negative_elbo_nats.std(ddof=1)
        rows.append(
            {
                "model": arch,
                "d": latent_dim,
                "parameters": f"{runs.parameters.iloc[0]:,}",
                "recon": f"{runs.recon_nats.mean():.2f}",
                "KL": f"{runs.kl_nats.mean():.2f}",
                "-ELBO": f"{runs.negative_elbo_nats.mean():.2f}",
                "sd": "-" if len(runs) == 1 else f"{spread:.2f}",
                "n": len(runs),
                "seconds": f"{runs.train_seconds.mean():.0f}",
            }
        )
    return pd.DataFrame(rows).set_index(["model", "d"])


def versions(runs: list[Run]) -> dict[str, str]:
    """Versions, commits and machine that the runs name, and those of the packages around them now."""
    keys = ("commit", "vaelib", "torch", "python", "device", "processor", "system")
    named = {key: ", ".join(sorted({str(run.provenance[key]) for run in runs})) for key in keys}
    around = ("torchvision", "numpy", "pandas", "scikit-learn", "matplotlib", "papermill", "snakemake", "jupyter-book")
    return named | {package: metadata.version(package) for package in around}
