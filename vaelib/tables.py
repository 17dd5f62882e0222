"""Several runs as tables: found, summarised a row each, averaged over seeds."""

from importlib import metadata
from pathlib import Path

import pandas as pd

from vaelib import InputError
from vaelib.config import ARCHS
from vaelib.run import Run


def find(paths: list[str], runs_root: str, dataset: str) -> list[Run]:
    """Finished runs in the order of the grid: those at the paths, or all of the dataset under runs_root.

    InputError when there is none, when they differ in more than arch, widths, latent_dim and seed, or two of
    one arch and latent_dim in their widths: a table that averages over seeds must not average over anything else.
    """
    root = Path(runs_root) / dataset
    runs = [Run.load(path) for path in paths or sorted(file.parent for file in root.glob("*/model.safetensors"))]
    if not runs:
        raise InputError(
            f"no finished run under {root.resolve()}: give runs, or another runs_root, "
            f"or make one there with vaelib train --dataset {dataset} --runs-root {root.parent.resolve()}"
        )
    for run in runs:
        run.require_finished()
    free = {"arch", "latent_dim", "seed", "encoder_widths", "decoder_widths"}
    for key in runs[0].config.settings().keys() - free:
        found = sorted({str(run.config.settings()[key]) for run in runs})
        if len(found) > 1:
            raise InputError(f"runs with {key} {' and '.join(found)} do not compare: give runs that share it")
    first = {}
    for run in runs:
        c = run.config
        twin = first.setdefault((c.arch, c.latent_dim), run)
        if (c.encoder_widths, c.decoder_widths) != (twin.config.encoder_widths, twin.config.decoder_widths):
            raise InputError(f"{twin.path} and {run.path} differ in their widths: give runs that share them")
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
    """The summary as readers see it: means over seeds with their standard deviation, and n."""
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
                "seconds": f"{runs.train_seconds.mean():.0f}",
            }
        )
    return pd.DataFrame(rows).set_index(["model", "d"])


def mean_and_deviation(values: pd.Series) -> str:
    """``105.40 ± 0.31``, the deviation over seeds; the value alone where there is one."""
    return f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def versions(runs: list[Run]) -> dict[str, str]:
    """Versions, commits and machine that the runs name, and those of the packages around them now."""
    keys = ("commit", "vaelib", "torch", "python", "device", "processor", "system")
    named = {key: ", ".join(sorted({str(run.provenance.get(key, "")) for run in runs})) for key in keys}
    around = ("torchvision", "numpy", "pandas", "scikit-learn", "matplotlib", "papermill", "snakemake", "jupyter-book")
    return named | {package: metadata.version(package) for package in around}
