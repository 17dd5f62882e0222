"""The commands that train, and the one that tells what was trained: ``vaelib train``, ``classifier``, ``info``."""

import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from vaelib.cli.options import DataRoot, Renew, RunPath, RunsRoot
from vaelib.config import TrainingConfig, as_text, read_settings


def train(config: Optional[Path] = None, renew: bool = False, **flags):  # noqa: UP045
    """Train one model, or go on with it, and print the path of its run.

    A flag wins over the --config file, which wins over the default. The same settings and seed give
    the same weights; a finished run is not trained again. With --schedule constant a run of more epochs
    goes on from the finished run of fewer.
    """
    values = read_settings(config) if config else {}
    values |= {name: value for name, value in flags.items() if value is not None}
    settings = TrainingConfig.from_mapping(values, f"key in {config}" if config else "setting")

    # PyTorch takes seconds to import, so the settings are checked first.
    from vaelib import training

    finished = (settings.run_path / "model.safetensors").is_file()
    if settings.schedule != "constant" and not settings.run_path.exists():
        for shorter in training.shorter_runs(settings)[:1]:
            _say(
                f"training begins at the start, and does not go on from the {shorter.config.epochs} epochs of "
                f"{shorter.path}: the learning rate of schedule {settings.schedule} depends on the number of all "
                "epochs; with --schedule constant a run of more epochs goes on from one of fewer"
            )
    run = training.train(settings, renew=renew)
    if lacking := run.lacks(settings, settings.epochs):
        state = "is finished already" if finished else "was begun without them"
        _say(
            f"{run.path} {state}, and {' and '.join(lacking)} are kept only while it trains: "
            "give another --name or --runs-root to train it again"
        )
    made_of, final = run.provenance, run.final()
    print(
        f"{made_of['parameters']:,} parameters; effective beta {settings.effective_beta:g} "
        f"(k2 {settings.k2:g} / k1 {settings.k1:g}, nats per image at any batch size)"
    )
    print(
        f"{settings.measured} negative ELBO {final['negative_elbo_nats']:.2f} nats per image: "
        f"recon {final['recon_nats']:.2f} + KL {final['kl_nats']:.2f}"
    )
    print(run.path)


def _say(message: str):
    print(f"vaelib: {message}", file=sys.stderr)


def _train_options() -> inspect.Signature:
    """Each field of TrainingConfig as an option of ``vaelib train``, so that there is one list of settings."""
    kind = inspect.Parameter.KEYWORD_ONLY
    file = typer.Option(help="File of these settings: TOML, with _ for -, or .ini, under any [section].")
    parameters = [
        inspect.Parameter("config", kind, default=None, annotation=Annotated[Optional[Path], file]),  # noqa: UP045
        inspect.Parameter("renew", kind, default=False, annotation=Renew),
    ]
    for field in dataclasses.fields(TrainingConfig):
        listed = field.type not in (int, float, str, bool)
        accepts = field.metadata["accepts"]
        notes = [f"{accepts} each, separated by commas"] if listed else [accepts] if accepts else []
        if field.default is None:
            notes.append("default: the preset's" if field.name != "decoder_widths" else "default: mirrored")
        elif field.default != "":
            notes.append(f"default {as_text(field.default)}")
        option = typer.Option(help=field.metadata["help"] + (f" [{'; '.join(notes)}]" if notes else ""))
        annotation = Annotated[(str if listed else field.type) | None, option]
        parameters.append(inspect.Parameter(field.name, kind, default=None, annotation=annotation))
    return inspect.Signature(parameters)


train.__signature__ = _train_options()
train.__annotations__ = {name: p.annotation for name, p in train.__signature__.parameters.items()}


def classifier(
    dataset: Annotated[str, typer.Option(help="Image set to learn: a known name, or a path as of train.")] = "mnist",
    epochs: Annotated[int, typer.Option(min=1, max=10_000, help="Passes over the training images.")] = 6,
    batch_size: Annotated[int, typer.Option(min=2, max=60_000, help="Images per step.")] = 128,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Seed of the weights, the order of images and their shifts.")
    ] = 0,
    data_root: DataRoot = "",
    runs_root: RunsRoot = "runs",
    renew: Renew = False,
):
    """Train the small convolutional classifier whose word is taken on pictures; print its path.

    Two minutes on one core for MNIST's six epochs. A classifier that is there already is not trained again.
    """
    from vaelib import training

    made = training.train_classifier(dataset, epochs, batch_size, seed, data_root or None, runs_root, renew)
    print(f"test accuracy {made.accuracy:.2%}, weights sha256 {made.sha256}")
    print(made.path)


def info(run: RunPath):
    """Print a run's settings, where it came from, its layers and its results; of a classifier too."""
    from vaelib import models, training

    if training.is_classifier(run):
        made = training.Classifier.load(run)
        _print_rows("settings", made.settings)
        _print_rows("provenance", made.provenance | {"sha256": made.sha256})
        return
    loaded = training.Run.load(run)
    _print_rows("settings", {"name": loaded.path.name} | loaded.config.settings() | loaded.config.extras())
    _print_rows("provenance", loaded.provenance)
    model = models.build(loaded.config, loaded.shape)
    print("layers")
    for name, layer, parameters in models.parameter_table(model):
        print(f"  {name:16} {layer:70} {parameters:>10,}")
    print(f"  {'total':16} {'':70} {models.count_parameters(model):>10,}")
    if not loaded.finished:
        print("not finished: the same vaelib train command goes on where it was")
        return
    print("after the last epoch, nats per image, z sampled")
    for split in ("train", loaded.config.measured):
        print(f"  {split:16} " + "  ".join(f"{key} {value:.2f}" for key, value in loaded.final(split).items()))
    print(f"  {'train_seconds':16} {loaded.train_seconds():.1f}")
    print(f"weights of the epochs {as_text(loaded.kept_epochs(), ', ')}")
    if loaded.config.log_steps:
        print(f"losses of {len(loaded.steps()):,} steps in {loaded.path}/steps.csv")


def _print_rows(title: str, rows: dict):
    print(title)
    for key, value in rows.items():
        print(f"  {key:16} {as_text(value) if value != '' and value != [] else '-'}")
