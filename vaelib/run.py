"""A run's directory: settings, weights, history, snapshots; everything downstream reads it.

config.json        every setting, and where the run came from: data checksum, versions, commit
history.csv        epoch, split, recon, kl, loss, seconds; nats per image
snapshots.npz      the same images reconstructed and encoded after each epoch
resume.pt          the state to go on from; removed when training ends
model.safetensors  final weights, written last: a run that has them is finished
"""

import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from vaelib import InputError, models
from vaelib.config import TrainingConfig
from vaelib.provenance import PROVENANCE, begun_by, code_sha256

HISTORY = ["epoch", "split", "recon", "kl", "loss", "seconds"]


@dataclass(frozen=True)
class Run:
    """A directory that holds one training, finished or not."""

    path: Path
    config: TrainingConfig
    provenance: dict[str, Any]

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """The run in that directory; InputError when there is none or its config is not readable."""
        path = Path(path)
        file = path / "config.json"
        if not file.is_file():
            raise InputError(
                f"{path} is no run: it has no config.json (vaelib train prints the path of the run it made)"
            )
        try:
            content = json.loads(file.read_text())
            if "classifier" in content:
                raise InputError(f"{path} is a classifier: accepted is a run that vaelib train made")
            settings, made_of = content["settings"], content["provenance"]
            config = TrainingConfig.from_mapping(settings | {"runs_root": str(path.parent.parent)})
            missing = (set(config.settings()) - set(settings)) | (set(PROVENANCE) - set(made_of))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{file} is damaged: {error!r}") from error
        if missing:
            raise InputError(f"{file} is damaged: it lacks {', '.join(sorted(missing))}")
        return cls(path, config, made_of)

    @classmethod
    def find(cls, config: TrainingConfig) -> Self | None:
        """The run in the config's directory, or None where there is none yet.

        None too for an unfinished run of other code. InputError when the directory holds another config or
        anything that is no run.
        """
        path = config.run_path
        if not path.exists() or all(file.name.startswith(".") for file in path.iterdir()):
            return None
        if not (path / "model.safetensors").is_file() and begun_by(path) not in ("", code_sha256()):
            return None  # to be begun again: other code may have had other settings
        run = cls.load(path)
        asked, held = config.settings(), run.config.settings()
        differing = [f"{key} {held[key]!r} there, {asked[key]!r} asked" for key in asked if held[key] != asked[key]]
        if differing:
            raise InputError(
                f"{path} holds another config ({'; '.join(differing)}): give another --runs-root, or move it away"
            )
        return run

    @classmethod
    def create(cls, config: TrainingConfig, provenance: dict[str, Any]) -> Self:
        """A run without anything learnt yet: its settings written, what an earlier try left there removed."""
        path = config.run_path
        path.mkdir(parents=True, exist_ok=True)
        for file in [path / "resume.pt", *path.glob("events.out.tfevents*")]:
            file.unlink(missing_ok=True)
        content = {"name": config.run_name, "settings": config.settings(), "provenance": provenance}
        write(path / "config.json", json.dumps(content, indent=2).encode())
        return cls.load(path)

    @property
    def finished(self) -> bool:
        return (self.path / "model.safetensors").is_file()

    def model(self) -> models.VAE:
        """The trained model in evaluation mode, on the CPU; InputError for an unfinished run."""
        self.require_finished()
        model = models.build(self.config)
        try:
            model.load_state_dict(safetensors.torch.load_file(self.path / "model.safetensors"))
        except (safetensors.SafetensorError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.path}/model.safetensors is damaged or of another model: {reason}") from error
        return model.eval()

    def history(self) -> pd.DataFrame:
        """epoch, split (train, and test or validation), recon, kl, loss (nats per image) and seconds, a row for each.

        seconds are those of the training pass in a train row, of both evaluations in the other.
        """
        self.require_finished()
        try:
            history = pd.read_csv(self.path / "history.csv")
            if list(history) != HISTORY or history.epoch.max() != self.config.epochs:
                raise ValueError(f"wanted are {', '.join(HISTORY)} up to epoch {self.config.epochs}")
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}/history.csv is damaged: {error}") from error
        return history

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
        """train_x, test_x (10, 28, 28) and train_recon, test_recon (epochs, 10, 28, 28), uint8; test_mu
        (epochs, n, latent_dim), float32; test_labels (n,)."""
        self.require_finished()
        try:
            with np.load(self.path / "snapshots.npz") as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}/snapshots.npz is damaged: {error}") from error

    def require_finished(self):
        if not self.finished:
            raise InputError(f"{self.path} is not finished: the same vaelib train command goes on where it was")


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
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def torch_bytes(state: dict) -> bytes:
    # by way of memory: a full disk then raises OSError in write, not deep inside torch's zip writer
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
