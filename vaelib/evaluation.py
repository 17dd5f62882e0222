"""Everything that is measured of a finished run, kept beside its weights.

metrics.json has the measures as measures.py describes them, under their names; metrics.npz has those over images of
each image, so that two models can be compared image by image.
"""

import hashlib
import json
from typing import Any

import numpy as np
import torch

from vaelib import InputError, __version__, data
from vaelib.features import FeatureNetwork
from vaelib.measures import Depth, of_likelihood, of_samples, samples
from vaelib.provenance import commit
from vaelib.run import Run, npz_bytes, write


def evaluate(
    run: Run,
    images: data.ImageData,
    networks: dict[str, FeatureNetwork],
    missing: dict[str, str] | None = None,
    depth: Depth | None = None,
) -> dict[str, Any]:
    """What metrics.json holds, once it is written.

    networks are those that samples are compared by, under the names that their measures begin with; missing says
    of others why they are not there. Of an earlier evaluation of the same weights, the bounds on all images and the
    measures by other networks are kept. InputError for an unfinished run, and where the images are not those that
    the run learnt.
    """
    depth = depth or Depth()
    model = run.model()
    if images.checksum != run.provenance["data_sha256"]:
        raise InputError(f"{run.path} learnt other images than this {images.name}")
    if run.config.held_out:
        images = data.hold_out(images, run.config.held_out)
    facts, per_image = of_likelihood(model, images, run, depth)
    content = {
        "weights_sha256": weights_sha256(run),
        "data_sha256": run.provenance["data_sha256"],
        "split": run.config.measured,
        "networks": {name: network.facts() for name, network in networks.items()},
        "missing": missing or {},
        "torch": torch.__version__,
        "vaelib": __version__,
        "commit": commit(),
        **facts,
    }
    sets = samples(model, images, run.config.latent_dim, depth.resamplings) if networks else {}
    for name, network in networks.items():
        found = of_samples(sets, images, network, depth.resamplings)
        content["measures"] |= {f"{name}_{key}": measure for key, measure in found.items()}
    _keep(run, content)
    try:
        text = json.dumps(content, indent=1, allow_nan=False)
    except ValueError as error:
        raise InputError(f"{run.path}: a measure is not a number, the model's weights are of no use") from error
    write(run.path / "metrics.npz", npz_bytes({name: each.float().numpy() for name, each in per_image.items()}))
    write(run.path / "metrics.json", text.encode())
    return content


def _keep(run: Run, content: dict[str, Any]):
    """Adds what an earlier evaluation of these weights found and this one did not look for: it may have cost hours."""
    try:
        earlier = read(run)
    except InputError:
        return
    others = [name for name in earlier["networks"] if name not in content["networks"]]
    for name in others:
        content["networks"][name] = earlier["networks"][name]
        content["missing"].pop(name, None)
    for name, measure in earlier["measures"].items():
        if name.startswith(("all_l", *(f"{other}_" for other in others))):
            content["measures"].setdefault(name, measure)


def read(run: Run) -> dict[str, Any]:
    """What evaluate found of the run; InputError where there is no metrics.json, or one of other weights."""
    sha256 = weights_sha256(run)
    file = run.path / "metrics.json"
    if not file.is_file():
        raise InputError(f"{run.path} has no metrics.json: vaelib evaluate {run.path} makes it")
    try:
        content = json.loads(file.read_text())
        right, measures = content["weights_sha256"] == sha256, content["measures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error!r}; vaelib evaluate {run.path} makes it anew") from error
    if not right:
        raise InputError(f"{file} was measured of other weights: vaelib evaluate {run.path} measures these")
    if not isinstance(measures, dict) or not measures:
        raise InputError(f"{file} has no measures: vaelib evaluate {run.path} makes it anew")
    return content


def per_image(run: Run) -> dict[str, np.ndarray]:
    """The measures over images of each image, (N,); InputError where metrics.npz cannot be read."""
    try:
        with np.load(run.path / "metrics.npz") as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{run.path}/metrics.npz cannot be read: vaelib evaluate {run.path} makes it") from error


def values(run: Run) -> dict[str, float]:
    """The value of each measure of the run, by its name."""
    return {name: measure["value"] for name, measure in read(run)["measures"].items()}


def bound_counts(content: dict[str, Any]) -> list[int]:
    """The k of the bounds L_k that an evaluation holds, the smallest first."""
    return sorted(int(name[1:-5]) for name in content["measures"] if name[0] == "l" and name[1:-5].isdigit())


def as_text(content: dict[str, Any]) -> str:
    """What metrics.json holds as a table, a line for each measure."""
    lines = [f"{content['split']} images, in nats unless named otherwise; log N = {content['log_images']:.2f}"]
    for name, one in content["measures"].items():
        kind = "standard error" if one["over"] == "images" else "deviation"
        error = "" if one["error"] is None else f"  {kind} {one['error']:.3g} over {one['n']:,} {one['over']}"
        lines.append(f"  {name:36} {one['value']:12.6g}{error}")
    lines += [f"  {name}: {fact}" for name, facts in content["networks"].items() for fact in facts.values()]
    return "\n".join(lines + [f"  {name} is missing: {reason}" for name, reason in content["missing"].items()])


def weights_sha256(run: Run) -> str:
    """sha256 of the file of the run's weights; InputError for an unfinished run."""
    run.require_finished()
    return hashlib.sha256((run.path / "model.safetensors").read_bytes()).hexdigest()
