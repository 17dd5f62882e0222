"""The command line: ``vaelib train``, ``classifier``, ``info``; cli_images draws and cli_measures measures."""

import dataclasses
import enum
import inspect
import sys
import warnings
from pathlib import Path
from typing import Annotated, Optional

import typer

from vaelib import InputError, cli_images, cli_measures
from vaelib.config import TrainingConfig, read_toml
from vaelib.settings import DATASETS, as_text

app = typer.Typer(
    help="Train and measure variational autoencoders on small grey images.",
    epilog="Start with: vaelib train --dataset digits --arch conv --latent-dim 2 --epochs 2",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


Dataset = enum.StrEnum("Dataset", {name.replace("-", "_"): name for name in DATASETS})


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; 0 when it worked, 2 after one line on stderr when what was asked for cannot be done."""
    usage_error = typer.BadParameter.__base__  # of whichever click typer carries
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"vaelib: {message}", file=sys.stderr)
            return app(arguments, standalone_mode=False) or 0
    except usage_error as error:
        message = error.format_message()
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    except (KeyboardInterrupt, typer.Abort):
        print("vaelib: interrupted; a training goes on where it was when asked for again", file=sys.stderr)
        return 130
    print(message if message.startswith("Usage:") else f"vaelib: {message}", file=sys.stderr)
    return 2


def train(config: Optional[Path] = None, **flags):  # noqa: UP045
    """Train one model, or go on with it, and print the path of its run.

    A flag wins over the --config file, which wins over the default. The same settings and seed give
    the same weights; a finished run is not trained again.
    """
    values = read_toml(config) if config else {}
    values |= {name: value for name, value in flags.items() if value is not None}
    for name in ("encoder_widths", "decoder_widths", "hidden_widths"):
        if isinstance(values.get(name), str):
            values[name] = _widths(name, values[name])
    settings = TrainingConfig.from_mapping(values, f"key in {config}" if config else "setting")

    from vaelib import training  # after the settings are checked: importing torch takes seconds

    run = training.train(settings)
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


def _train_options() -> inspect.Signature:
    """Each field of TrainingConfig as an option of ``vaelib train``, so that there is one list of settings."""
    kind = inspect.Parameter.KEYWORD_ONLY
    toml = Annotated[Optional[Path], typer.Option(help="TOML file of these settings, with _ for -.", exists=True)]  # noqa: UP045
    parameters = [inspect.Parameter("config", kind, default=None, annotation=toml)]
    for field in dataclasses.fields(TrainingConfig):
        listed = field.type not in (int, float, str)
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
app.command()(train)


@app.command()
def classifier(
    dataset: Annotated[Dataset, typer.Option(help="Image set to learn.")] = Dataset.mnist,
    epochs: Annotated[int, typer.Option(min=1, max=10_000, help="Passes over the training images.")] = 6,
    batch_size: Annotated[int, typer.Option(min=2, max=60_000, help="Images per step.")] = 128,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the weights, the order of images, shifts.")] = 0,
    data_root: Annotated[str, typer.Option(help="Folder of the data, $VAELIB_DATA or a cache folder.")] = "",
    runs_root: Annotated[str, typer.Option(help="Folder that the runs are kept in.")] = "runs",
):
    """Train the small convolutional classifier that judges samples and reconstructions; print its path.

    Two minutes on one core for MNIST's six epochs. A classifier that is there already is not trained again.
    """
    from vaelib import classifier_training

    made = classifier_training.train(dataset.value, epochs, batch_size, seed, data_root or None, runs_root)
    print(f"test accuracy {made.accuracy:.2%}, weights sha256 {made.sha256}")
    print(made.path)


@app.command()
def info(run: cli_measures.RunPath):
    """Print a run's settings, where it came from, its layers and its results; of a classifier too."""
    from vaelib import classifier as judge
    from vaelib import models
    from vaelib.run import Run

    if judge.is_one(run):
        made = judge.Classifier.load(run)
        _print_rows("settings", made.settings)
        _print_rows("provenance", made.provenance | {"sha256": made.sha256})
        return
    loaded = Run.load(run)
    _print_rows("settings", loaded.config.settings())
    _print_rows("provenance", loaded.provenance)
    model = models.build(loaded.config)
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


def _print_rows(title: str, rows: dict):
    print(title)
    for key, value in rows.items():
        print(f"  {key:16} {as_text(value) if value != '' and value != [] else '-'}")


def _widths(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"{name} {text!r}: accepted are whole numbers separated by commas, such as 512,256") from None


for command in (cli_images.generate, cli_measures.evaluate, cli_measures.fid, cli_measures.compare):
    app.command()(command)

if __name__ == "__main__":
    sys.exit(main())
