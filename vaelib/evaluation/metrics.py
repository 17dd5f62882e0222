"""What metrics.json holds: measures with their errors, tables by class and by noise; written once, read by all.

A measure is {"value", "error", "n", "over"}: over n "images", "paths" or "draws" the error is the standard error of
their mean, over "resamplings" or "subsets" the standard deviation; what is taken "once" has none.
"""

import json
import math
import re
import zipfile
import zlib
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from vaelib.config import InputError, parse_noise
from vaelib.training.run import Run

UNITS = ("images", "paths", "draws")  # The mean over these is what a measure says, so its error is that of the mean.
CLEAN = "none"  # the level of noise of images that are not corrupted


def over(what: str, each: Tensor) -> dict[str, Any]:
    """The measure of values: their mean, and its standard error or their deviation."""
    each, n = each.double(), len(each)
    error = each.std().item() / (math.sqrt(n) if what in UNITS else 1) if n > 1 else None
    return {"value": each.mean().item(), "error": error, "n": n, "over": what}


def once(value: float) -> dict[str, Any]:
    """A measure that is taken once."""
    return {"value": float(value), "error": None, "n": 1, "over": "once"}


def read(run: Run) -> dict[str, Any]:
    """What evaluate found of the run, or of the run that it is the record of.

    InputError where there is no metrics.json, or one of other weights.
    """
    sha256 = run.weights_sha256
    file = run.path / "metrics.json"
    if not file.is_file():
        raise InputError(f"{run.path} has no metrics.json: vaelib evaluate {run.path} makes it")
    try:
        content = _renamed(json.loads(file.read_text()))
        right, measures = content["weights_sha256"] == sha256, content["measures"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is damaged: {error!r}; vaelib evaluate {run.path} makes it anew") from error
    if not right:
        raise InputError(f"{file} was measured of other weights: vaelib evaluate {run.path} measures these")
    if not isinstance(measures, dict) or not measures:
        raise InputError(f"{file} has no measures: vaelib evaluate {run.path} makes it anew")
    return content


def per_image(run: Run) -> dict[str, np.ndarray]:
    """The measures over images of each image, (N,); InputError where metrics.npz cannot be read."""
    try:
        # numpy leaves a file open that it cannot read, so it is opened here.
        with open(run.path / "metrics.npz", "rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{run.path}/metrics.npz cannot be read: vaelib evaluate {run.path} makes it") from error


def values(run: Run) -> dict[str, float]:
    """The value of each measure of the run, by its name."""
    return {name: measure["value"] for name, measure in read(run)["measures"].items()}


def by_class(run: Run) -> dict[str, Any]:
    """What was measured of each class: the list ["names"], and arrays (classes,) or (classes, classes).

    length          mean norm of mu of the class's test images
    overlap         share of the codes of two classes that their neighbours misname, as latent.overlaps has it
    centre          mean probability of the class near z = 0, as latent.centre_probabilities has it
    reconstruction  of the test images that the classifier gives the row's label, the share whose reconstruction it
                    gives the column's
    hits_diagonal   share of draws from the class's Gaussian that are named as the class, with a diagonal covariance
    hits_full       the same with the full covariance
    seen_full       of the draws of the row's class, the share that is named as the column's

    All but length and overlap are there only if a classifier was. nan is the share of nothing. InputError where the
    run was evaluated before there were such tables.
    """
    tables = dict(read(run).get("by_class", {}))
    if not tables:
        raise InputError(f"{run.path}/metrics.json has nothing by class: vaelib evaluate {run.path} measures it")
    return {"names": tables.pop("names"), **{name: np.array(table, float) for name, table in tables.items()}}


def noises(run: Run) -> pd.DataFrame:
    """How images are restored that were corrupted, a row for each level that was measured, clean images first.

    noise, kind and level say how they were corrupted; then come error, noisy_error and median_error (mean squared
    error a pixel of the restored, the corrupted and the median-filtered image), cost_nats, and if there was a
    classifier accuracy, noisy_accuracy and median_accuracy. InputError where no noise was measured.
    """
    found = read(run).get("noise", {})
    if not found:
        raise InputError(
            f"{run.path}/metrics.json has nothing of noise: vaelib evaluate {run.path} --noise salt-pepper:0.1 "
            "measures it"
        )
    rows = []
    for noise, measures in found.items():
        kind, level = (CLEAN, 0.0) if noise == CLEAN else parse_noise(noise)
        values = {name: measure["value"] for name, measure in measures.items()}
        rows.append({"noise": noise, "kind": kind, "level": level} | values)
    table = pd.DataFrame(rows).sort_values(["kind", "level"], kind="stable")
    return table.sort_values("level", key=lambda level: level > 0, kind="stable", ignore_index=True)


def bound_counts(content: dict[str, Any]) -> list[int]:
    """The k of the bounds L_k that an evaluation holds, the smallest first."""
    return sorted(int(name[1:-5]) for name in content["measures"] if name[0] == "l" and name[1:-5].isdigit())


def report(content: dict[str, Any]) -> str:
    """What metrics.json holds as a table, a line for each measure, and one for each level of noise."""
    lines = [f"{content['split']} images, in nats unless named otherwise; log N = {content['log_images']:.2f}"]
    for name, one in content["measures"].items():
        kind = "standard error" if one["over"] in UNITS else "deviation"
        error = "" if one["error"] is None else f"  {kind} {one['error']:.3g} over {one['n']:,} {one['over']}"
        lines.append(f"  {name:36} {one['value']:12.6g}{error}")
    if noise := content.get("noise"):
        table = pd.DataFrame(
            {level: {name: one["value"] for name, one in found.items()} for level, found in noise.items()}
        ).T
        lines += ["restored from noise", *(f"  {line}" for line in table.to_string(float_format="%.4g").splitlines())]
    lines += [f"  {name}: {fact}" for name, facts in content["networks"].items() for fact in facts.values()]
    return "\n".join(lines + [f"  {name} is missing: {reason}" for name, reason in content["missing"].items()])


def _renamed(content: dict[str, Any]) -> dict[str, Any]:
    """The content of metrics.json in today's words: older runs call the classifier and its measures "mnist"."""
    return content | {
        key: {re.sub("^mnist(?=_|$)", "classifier", name): one for name, one in content[key].items()}
        for key in ("networks", "missing", "measures")
        if key in content
    }
