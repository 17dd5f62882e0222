"""The settings of one training: their names, defaults, ranges and help, in one place.

The command line, the notebooks' parameters and a run's config.json are made of these fields.
Nothing here imports torch, so that a wrong flag is answered at once.
"""

import dataclasses
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vaelib import InputError
from vaelib.settings import ARCHS, DATASETS, PRESETS, as_text, checked, parse_noise, setting, warm_up


@dataclass(frozen=True)
class TrainingConfig:
    """One training. The defaults are those of the published grid; see ``vaelib train --help``."""

    dataset: str = setting("mnist", "image set", choices=DATASETS)
    arch: str = setting("linear", "encoder and decoder", choices=ARCHS)
    preset: str = setting("tuned", "what fills in each setting marked preset", choices=tuple(PRESETS))
    latent_dim: int = setting(2, "dimensions of z", low=1, high=4096)
    epochs: int = setting(15, "passes over the training images", low=1, high=100_000)
    batch_size: int = setting(None, "images per step", low=1, high=60_000)
    lr: float = setting(None, "Adam's learning rate, of a schedule its peak", low=1e-8, high=10)
    schedule: str = setting(None, "of the learning rate: constant, or onecycle:SHARE, the share of steps it rises in")
    held_out: int = setting(
        0, "training images kept out, to be measured in the place of the test images", low=0, high=59_999
    )
    seed: int = setting(0, "of the weights, the order of images, z and noise", low=0, high=2**31 - 1)
    k1: float = setting(1.0, "weight of the reconstruction, above 0", low=1e-6, high=1_000_000)
    k2: float = setting(1.0, "weight of the KL; k2/k1 is the effective beta", low=0, high=1_000_000)
    encoder_widths: tuple[int, ...] = setting(
        None, "hidden units (linear), or channels: one 4x4 step down, or two of 2x2 (conv)", low=1, high=8192
    )
    decoder_widths: tuple[int, ...] = setting(
        None, "the same for the decoder: the encoder's, reversed", low=1, high=8192
    )
    hidden_widths: tuple[int, ...] = setting(
        None, "fully connected units between channels and z, mirrored in the decoder (conv)", low=1, high=8192
    )
    blocks: int = setting(None, "residual layers of the decoder, at its innermost width", low=0, high=16)
    activation: str = setting(None, "between layers", choices=("relu", "gelu", "silu", "leaky-relu"))
    norm: str = setting(None, "before each activation", choices=("none", "layer", "batch"))
    output_bias: str = setting(
        None, "where the pixels' logits start: 0, or at the mean pixel's", choices=("zero", "mean")
    )
    noise: str = setting("", "corrupt the input, not the target: salt-pepper:P or gaussian:SD")
    precision: str = setting(
        "auto",
        "of matrix products in training; auto takes bfloat16 where the CPU computes it",
        choices=("auto", "float32", "bfloat16"),
    )
    device: str = setting(
        "auto", "what to train on; auto takes a GPU where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    threads: int = setting(1, "CPU threads; part of what makes a run repeatable", low=1, high=256)
    data_root: str = setting("", "folder of the data, $VAELIB_DATA or a cache folder", identity=False)
    runs_root: str = setting("runs", "folder that the runs are kept in", identity=False)

    def __post_init__(self):
        for f in dataclasses.fields(self):
            if getattr(self, f.name) is not None or f.default is not None:
                object.__setattr__(self, f.name, checked(f, getattr(self, f.name)))
        # from here on nothing is left to a preset that may change: a stored config says what it was
        for name, value in self.defaults().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        warm_up(self.schedule)
        if self.noise:
            kind, level = parse_noise(self.noise)
            object.__setattr__(self, "noise", f"{kind}:{level!r}")
        self._check_together()

    def _check_together(self):
        """Values that are right alone and wrong together."""
        for name in ("encoder_widths", "decoder_widths"):
            widths = getattr(self, name)
            if not widths or (self.arch != "linear" and len(widths) > 2):
                wanted = "1 to 8 widths" if self.arch == "linear" else "one width (a step of 4) or two (halvings)"
                raise InputError(f"{name} {list(widths)}: accepted is {wanted} for {self.arch}")
        if self.arch == "linear" and self.hidden_widths:
            raise InputError(f"hidden_widths {list(self.hidden_widths)}: linear has none, give encoder_widths")

    def defaults(self) -> dict[str, Any]:
        """What each setting is that is not given, under this arch, preset and encoder_widths."""
        values = {f.name: f.default for f in dataclasses.fields(self)} | PRESETS[self.preset][self.arch]
        encoder_widths = self.encoder_widths or values["encoder_widths"]
        return values | {"decoder_widths": encoder_widths[::-1]}

    @property
    def effective_beta(self) -> float:
        """Weight of one nat of KL against one nat of reconstruction, at any batch size."""
        return self.k2 / self.k1

    @property
    def measured(self) -> str:
        """The split that is measured beside the training images: test, or validation where some are held out."""
        return "validation" if self.held_out else "test"

    @property
    def cell_id(self) -> str:
        """The cell of the grid: ``conv-d10-s0``."""
        return f"{self.arch}-d{self.latent_dim}-s{self.seed}"

    @property
    def run_name(self) -> str:
        """The cell, then each further setting that is not at its default: ``conv-d10-s0-epochs3``."""
        identity = [f.name for f in dataclasses.fields(self) if f.metadata["identity"]]
        in_path = {"dataset", "arch", "latent_dim", "seed"}
        defaults = self.defaults() | {"preset": "tuned"}
        changed = [name for name in identity if name not in in_path and getattr(self, name) != defaults[name]]
        parts = [
            self.preset if name == "preset" else name + (as_text(getattr(self, name), ".").replace(":", "") or "none")
            for name in changed
        ]
        return "-".join([self.cell_id, *parts])

    @property
    def run_path(self) -> Path:
        """The run's directory: ``runs_root/dataset/run_name``."""
        return Path(self.runs_root) / self.dataset / self.run_name

    def settings(self) -> dict[str, Any]:
        """What decides the weights, as JSON keeps it: all but where files lie."""
        kept = [f.name for f in dataclasses.fields(self) if f.metadata["identity"]]
        return json.loads(json.dumps({name: getattr(self, name) for name in kept}))

    @classmethod
    def from_mapping(cls, values: dict[str, Any], source: str = "setting") -> Self:
        """A config of these values; a key that is no setting raises InputError."""
        known = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise InputError(f"unknown {source} {key!r}: accepted are {', '.join(known)}")
        return cls(**values)

    @classmethod
    def from_notebook(cls, namespace: dict[str, Any]) -> Self:
        """A config of the values that a notebook's parameters cell defined, given ``globals()``."""
        return cls(**notebook_parameters(namespace, [f.name for f in dataclasses.fields(cls)], made="config"))


def notebook_parameters(namespace: dict[str, Any], known: list[str], made: str) -> dict[str, Any]:
    """The plain values of a notebook's namespace; one that is no known parameter raises InputError.

    papermill only warns of a parameter that the template does not have, and would run the default.
    Once the notebook has what it made of its parameters, names that a reader adds by hand are let be.
    """
    plain = (bool, int, float, str, list, tuple, dict, type(None))
    hidden = {"In", "Out"}  # IPython's
    values = {
        name: value
        for name, value in namespace.items()
        if isinstance(value, plain) and not name.startswith("_") and name not in hidden
    }
    for name in values:
        if name not in known and made not in namespace:
            raise InputError(f"unknown parameter {name!r}: accepted are {', '.join(known)}")
    return {name: value for name, value in values.items() if name in known}


def read_toml(path: str | os.PathLike) -> dict[str, Any]:
    """The settings in a TOML file, unchecked."""
    try:
        return tomllib.loads(Path(path).read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML file: {error}") from error
