"""A run's directory: settings, weights, history, snapshots; everything downstream reads it.

config.json        every setting, and where the run came from: data checksum and shape, versions, commit
history.csv        epoch, split, recon, kl, loss, seconds; nats per image
steps.csv          step, epoch, recon, kl, loss of each step's batch, nats per image; with log_steps alone
snapshots.npz      the same images reconstructed and encoded after each epoch
weights/           epoch-0005.safetensors: the weights after every keep_every-th epoch
resume.pt          the state to go on from; of a finished run it is kept where the learning rate is constant, as a
                   run of more epochs goes on from it
model.safetensors  final weights, written last: a run that has them is finished
weights.sha256     in the place of the weights in a record, a run that is kept without what only its weights could give
"""

import dataclasses
import hashlib
import io
import json
import os
import platform
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from vaelib.config import DATASETS, InputError, TrainingConfig, expanded
from vaelib.data.sets import ImageData
from vaelib.models.build import build, count_parameters
from vaelib.models.vae import VAE
from vaelib.provenance import code_sha256, commit, version

HISTORY = ["epoch", "split", "recon", "kl", "loss", "seconds"]
STEPS = ["step", "epoch", "recon", "kl", "loss"]
CODE = "vaelib.training.loop"  # the module whose code, with all that it imports, decides a run's weights
# These decide the weights beside the settings: an unfinished run that differs in one of them is begun again.
DECIDES = ("data_sha256", "code_sha256", "device", "precision", "torch")
NEEDED = {"data_sha256", "parameters", "precision"}  # of a run's provenance, whatever its age


@dataclass(frozen=True)
class Run:
    """A directory that holds one training, finished or not."""

    path: Path
    config: TrainingConfig
    provenance: dict[str, Any]

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """The run in that directory; InputError when there is none or its config is not readable."""
        path = Path(expanded(path))
        if path.name in ("", ".."):
            path = path.resolve()  # A run is named by its directory, which "." does not tell.
        file = path / "config.json"
        if not file.is_file():
            raise InputError(
                f"{path} is no run: it has no config.json (vaelib train prints the path of the run it made)"
            )
        try:
            content = json.loads(file.read_text())
            if "classifier" in content:
                raise InputError(f"{path} is a classifier: accepted is a run that vaelib train made")
            settings = content["settings"] | content.get("extras", {})
            config = TrainingConfig.from_stored(settings, str(path.parent.parent), path.name)
            made_of = dict(content["provenance"])
        except InputError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file} is damaged: {error!r}") from error
        if missing := NEEDED - set(made_of):
            raise InputError(f"{file} is damaged: it lacks {', '.join(sorted(missing))}")
        return cls(path, config, made_of)

    @classmethod
    def find(cls, config: TrainingConfig, path: Path | None = None, renew: bool = False) -> Self | None:
        """The run of this config in its directory, or at the path; None where there is none yet.

        None too for an unfinished run of other code. InputError when the directory holds anything that is no run, or
        another config; with renew such a run is returned, as presets may have changed since its name was made. A
        name that was given says nothing of the settings: what it holds of another config is never given up.
        """
        path = path or config.run_path
        if not path.exists() or all(file.name.startswith(".") for file in path.iterdir()):
            return None
        unfinished = not (path / "model.safetensors").is_file()
        if not config.name and unfinished and _begun_by(path) not in ("", code_sha256(CODE)):
            return None  # It is begun again, as other code may have had other settings.
        run = cls.load(path)
        differing = run.differences(config)
        given = config.name or run.config.cell_id != config.cell_id
        if differing and (given or not renew):
            raise InputError(
                f"{path} holds another config ({'; '.join(differing)}): "
                "give another --name or --runs-root, or move it away"
            )
        return run

    @classmethod
    def create(cls, config: TrainingConfig, provenance: dict[str, Any], path: Path | None = None) -> Self:
        """A run without anything learnt yet: its settings written, what an earlier training left there removed."""
        path = path or config.run_path
        path.mkdir(parents=True, exist_ok=True)
        for file in [*(path / name for name in ("model.safetensors", "resume.pt", "steps.csv")), *events_in(path)]:
            file.unlink(missing_ok=True)
        shutil.rmtree(path / "weights", ignore_errors=True)
        run = cls(path, config, provenance)
        run._write_config()
        return run

    def _write_config(self):
        config = self.config
        content = {"name": config.run_path.name, "settings": config.settings(), "extras": config.extras()}
        content["provenance"] = self.provenance
        write(self.path / "config.json", json.dumps(content, indent=2).encode())

    def with_extras(self, config: TrainingConfig) -> Self:
        """The run, which from now on keeps what this config asks for beside the weights; its config.json says so."""
        if self.config.extras() == config.extras():
            return self
        run = dataclasses.replace(self, config=dataclasses.replace(self.config, name=config.name, **config.extras()))
        run._write_config()
        return run

    def differences(self, config: TrainingConfig) -> list[str]:
        """The settings in which the run's config is another than this one, each in a few words."""
        asked, held = config.settings(), self.config.settings()
        if not {asked["dataset"], held["dataset"]} & set(DATASETS):
            held["dataset"] = asked["dataset"]  # Own images may be found in another place; their checksum decides.
        return [f"{key} {held[key]!r} there, {asked[key]!r} asked" for key in asked if held[key] != asked[key]]

    @property
    def finished(self) -> bool:
        """Whether training went to its end."""
        return (self.path / "model.safetensors").is_file()

    @property
    def recorded(self) -> bool:
        """Whether it is finished, or the record of a run that was: config, history and metrics without the weights."""
        return self.finished or (self.path / "weights.sha256").is_file()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of its images; runs that do not name them learnt images of 28x28."""
        return tuple(self.provenance.get("shape", (28, 28)))

    @property
    def weights_sha256(self) -> str:
        """sha256 of the file of the weights; InputError for an unfinished run."""
        self.require_recorded()
        if not self.finished:
            return (self.path / "weights.sha256").read_text("utf-8").strip()
        return hashlib.sha256((self.path / "model.safetensors").read_bytes()).hexdigest()

    def model(self, epoch: int | None = None) -> VAE:
        """The trained model in evaluation mode, on the CPU; with epoch, as it was after that epoch.

        InputError for an unfinished run, and for an epoch whose weights were not kept.
        """
        self.require_finished()
        file = self.weights_file(self.config.epochs if epoch is None else epoch)
        model = build(self.config, self.shape)
        try:
            model.load_state_dict(safetensors.torch.load_file(file))
        except (safetensors.SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{file} is damaged or of another model: {reason}") from error
        return model.eval()

    def weights_file(self, epoch: int) -> Path:
        """The file of the weights after that epoch; InputError where they were not kept."""
        kept = self.kept_epochs()
        if epoch not in kept:
            shown = kept if len(kept) < 12 else [*kept[:3], "...", *kept[-3:]]
            raise InputError(
                f"epoch {epoch!r}: accepted of {self.path} is one of {', '.join(map(str, shown))} "
                "(vaelib train --keep-every keeps the weights of more epochs, while it trains)"
            )
        return self.path / ("model.safetensors" if epoch == self.config.epochs else epoch_file(epoch))

    def kept_epochs(self) -> list[int]:
        """The epochs whose weights can be loaded, of a finished run the last among them."""
        files = (self.path / "weights").glob("epoch-*.safetensors")
        last = {self.config.epochs} if self.finished else set()
        return sorted({int(file.stem.removeprefix("epoch-")) for file in files} | last)

    def lacks(self, config: TrainingConfig, epochs: int) -> list[str]:
        """What this config asks for beside the weights and the run has not kept of so many first epochs, in words."""
        lacking = []
        if config.keep_every and set(range(config.keep_every, epochs + 1, config.keep_every)) - {*self.kept_epochs()}:
            lacking.append(f"the weights after every {config.keep_every} epochs")
        if config.log_steps and set(range(1, epochs + 1)) - self._logged_epochs():
            lacking.append("the losses of every step")
        return lacking

    def _logged_epochs(self) -> set[int]:
        file = self.path / "steps.csv"
        return set(read_steps(file).epoch) if file.is_file() else set()

    def history(self) -> pd.DataFrame:
        """epoch, split (train, and test or validation), recon, kl, loss (nats per image) and seconds, a row for each.

        seconds are those of the training pass in a train row, of both evaluations in the other.
        """
        self.require_recorded()
        try:
            # The file is opened here, as pandas has its own reading of a path.
            with open(self.path / "history.csv", encoding="utf-8") as file:
                history = pd.read_csv(file)
            if list(history) != HISTORY or history.epoch.max() != self.config.epochs:
                raise ValueError(f"wanted are {', '.join(HISTORY)} up to epoch {self.config.epochs}")
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}/history.csv is damaged: {error}") from error
        return history

    def steps(self) -> pd.DataFrame:
        """step (from 1), epoch, recon, kl and loss (nats per image) of each step's batch, before it was learnt from.

        InputError where training did not keep them, or is not finished.
        """
        self.require_recorded()
        file = self.path / "steps.csv"
        if not file.is_file():
            raise InputError(
                f"{self.path} has no losses of its steps: vaelib train --log-steps keeps them, while it trains"
            )
        return read_steps(file)

    def final(self, split: str | None = None) -> dict[str, float]:
        """recon_nats, kl_nats and their sum, negative_elbo_nats, after the last epoch; nats per image.

        Of the test images, or of the validation images of a run that held some out.
        """
        history = self.history()
        last = history[history.split == (split or self.config.measured)].iloc[-1]
        return {"recon_nats": last.recon, "kl_nats": last.kl, "negative_elbo_nats": last.recon + last.kl}

    def train_seconds(self) -> float:
        """Seconds of the training passes alone, all at the pace of the fastest: other work only ever adds time."""
        history = self.history()
        return float(self.config.epochs * history[history.split == "train"].seconds.min())

    def snapshots(self) -> dict[str, np.ndarray]:
        """train_x, test_x (classes, h, w) and train_recon, test_recon (epochs, classes, h, w), uint8; test_mu
        (epochs, n, latent_dim), float32; test_labels (n,)."""
        self.require_finished()
        try:
            with np.load(self.path / "snapshots.npz") as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}/snapshots.npz is damaged: {error}") from error

    def require_finished(self):
        """Raises InputError for an unfinished run, and for a record."""
        self.require_recorded()
        if not self.finished:
            raise InputError(f"{self.path} is a record, without weights: vaelib train with its settings makes them")

    def require_recorded(self):
        """Raises InputError for an unfinished run."""
        if not self.recorded:
            raise InputError(f"{self.path} is not finished: the same vaelib train command goes on where it was")


def load(path: str | os.PathLike) -> Run:
    """The run in that directory, as ``vaelib train`` or ``vaelib.train`` made it; InputError where there is none."""
    return Run.load(path)


def shorter_runs(config: TrainingConfig) -> list[Run]:
    """The finished runs beside the config's that differ from it in fewer epochs alone, the most epochs first."""
    found = []
    for file in config.run_path.parent.glob("[!.]*/model.safetensors"):
        try:
            run = Run.load(file.parent)
        except (InputError, OSError):  # a classifier, or a run that is damaged or being exchanged
            continue
        alike = not run.differences(dataclasses.replace(config, epochs=run.config.epochs))
        if alike and run.config.epochs < config.epochs:
            found.append(run)
    return sorted(found, key=lambda run: run.config.epochs, reverse=True)


def events_in(path: Path) -> list[Path]:
    """TensorBoard's files in that directory."""
    return sorted(path.glob("events.out.tfevents*"))


def epoch_file(epoch: int) -> str:
    """Where in a run's directory the weights after that epoch are kept."""
    return f"weights/epoch-{epoch:04d}.safetensors"


def read_steps(file: Path) -> pd.DataFrame:
    """The table of a steps.csv; InputError where it is damaged. A last line that a kill cut off is left out."""
    try:
        header, *rows = [line.split(",") for line in file.read_text("utf-8").split("\n")[:-1]] or [[]]
        if header != STEPS:
            raise ValueError(f"wanted are {', '.join(STEPS)}")
        # The same bits come back from the text, which not every version of pandas promises.
        steps = pd.DataFrame([[float(value) for value in row] for row in rows], columns=STEPS)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged: {error}") from error
    return steps.astype({"step": int, "epoch": int})


def provenance_of(config: TrainingConfig, images: ImageData, device: torch.device, precision: str) -> dict[str, Any]:
    """Where a run comes from: data, versions, commit, machine; and what its settings amount to."""
    return {
        "data_sha256": images.checksum,
        "shape": list(images.shape),
        "code_sha256": code_sha256(CODE),
        "effective_beta": config.effective_beta,
        "parameters": count_parameters(build(config, images.shape)),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": precision,
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vaelib": version(),
        "commit": commit(),
    }


def _begun_by(path: Path) -> str:
    """The code_sha256 that a run's directory names; empty where it names none."""
    try:
        return str(json.loads((path / "config.json").read_text())["provenance"]["code_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def successor(path: Path) -> Path:
    """Where a training that shall replace what is at the path is kept until it is whole."""
    return path.with_name(f".{path.name}.next")


def replace(path: Path):
    """Puts the whole successor of a directory in its place. A kill in between is mended by recover."""
    aside = path.with_name(f".{path.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if path.exists():
        path.rename(aside)
    successor(path).rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def recover(path: Path):
    """Finishes what a kill in the middle of replace left: the successor was whole by then."""
    aside = path.with_name(f".{path.name}.old")
    if aside.exists() and not path.exists() and successor(path).exists():
        replace(path)
    shutil.rmtree(aside, ignore_errors=True)


def write(path: Path, content: bytes):
    """The whole file or none: a reader, a kill or a full disk never meets half of it. OSError names the file."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """The arrays as the content of a compressed .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def torch_bytes(state: dict) -> bytes:
    """The state as the content of a file of torch's."""
    # torch writes to memory first: a full disk then raises OSError in write, not deep inside torch's zip writer.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
