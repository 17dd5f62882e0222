"""The settings of one training: their names, defaults, ranges and help, in one place.

The command line, the notebooks' parameters and a run's config.json are made of these fields.
Nothing here imports torch, so that a wrong flag is answered at once.
"""

import dataclasses
import json
import math
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from vaelib import InputError

DATASETS = ("mnist", "fashion-mnist", "kmnist", "digits")
ARCHS = ("linear", "conv", "convbn")
NOISES = ("salt-pepper", "gaussian")
# of the encoder: hidden units of a linear model, channels after each halving of a conv one
DEFAULT_WIDTHS = {"linear": (400,), "conv": (8, 32), "convbn": (32, 64)}


def setting(default, help, *, low=None, high=None, choices=(), identity=True):
    """A dataclass field that knows its own help, range and whether it decides a run's weights."""
    accepts = "one of " + ", ".join(choices) if choices else ""
    if low is not None:
        accepts = f"{low:,} to {high:,}"
    metadata = dict(help=help, low=low, high=high, choices=choices, accepts=accepts, identity=identity)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainingConfig:
    """One training. The defaults are those of the published grid; see ``vaelib train --help``."""

    dataset: str = setting("mnist", "image set", choices=DATASETS)
    arch: str = setting("linear", "encoder and decoder", choices=ARCHS)
    latent_dim: int = setting(2, "dimensions of z", low=1, high=4096)
    epochs: int = setting(15, "passes over the training images", low=1, high=100_000)
    batch_size: int = setting(128, "images per step", low=1, high=60_000)
    lr: float = setting(1e-3, "Adam's learning rate", low=1e-8, high=10)
    seed: int = setting(0, "of the weights, the order of images, z and noise", low=0, high=2**31 - 1)
    k1: float = setting(1.0, "weight of the reconstruction, above 0", low=1e-6, high=1_000_000)
    k2: float = setting(1.0, "weight of the KL; k2/k1 is the effective beta", low=0, high=1_000_000)
    encoder_widths: tuple[int, ...] = setting(
        (), "hidden units (linear, 400) or channels (conv, 8,32)", low=1, high=8192
    )
    decoder_widths: tuple[int, ...] = setting((), "the same for the decoder, the encoder's reversed", low=1, high=8192)
    noise: str = setting("", "corrupt the input, not the target: salt-pepper:P or gaussian:SD")
    precision: str = setting("float32", "of the forward pass", choices=("float32", "bfloat16"))
    device: str = setting(
        "auto", "what to train on; auto takes a GPU where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    threads: int = setting(1, "CPU threads; part of what makes a run repeatable", low=1, high=256)
    data_root: str = setting("", "folder of the data, $VAELIB_DATA or a cache folder", identity=False)
    runs_root: str = setting("runs", "folder that the runs are kept in", identity=False)

    def __post_init__(self):
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, checked(f, getattr(self, f.name)))
        # from here on nothing is left to a default that may change: a stored config says what it was
        if self.noise:
            kind, level = parse_noise(self.noise)
            object.__setattr__(self, "noise", f"{kind}:{level!r}")
        if not self.encoder_widths:
            object.__setattr__(self, "encoder_widths", DEFAULT_WIDTHS[self.arch])
        if not self.decoder_widths:
            object.__setattr__(self, "decoder_widths", self.encoder_widths[::-1])
        if self.arch != "linear" and max(len(self.encoder_widths), len(self.decoder_widths)) > 2:
            widths = self.encoder_widths if len(self.encoder_widths) > 2 else self.decoder_widths
            raise InputError(f"{self.arch} halves 28 pixels at most twice: one or two widths, not {len(widths)}")

    @property
    def effective_beta(self) -> float:
        """Weight of one nat of KL against one nat of reconstruction, at any batch size."""
        return self.k2 / self.k1

    @property
    def cell_id(self) -> str:
        """The cell of the grid: ``conv-d10-s0``."""
        return f"{self.arch}-d{self.latent_dim}-s{self.seed}"

    @property
    def run_name(self) -> str:
        """The cell, then each further setting that is not at its default: ``conv-d10-s0-epochs3``."""
        defaults = {f.name: f.default for f in dataclasses.fields(self) if f.metadata["identity"]}
        defaults["encoder_widths"] = DEFAULT_WIDTHS[self.arch]
        defaults["decoder_widths"] = self.encoder_widths[::-1]
        in_path = {"dataset", "arch", "latent_dim", "seed"}
        changed = [name for name in defaults if name not in in_path and getattr(self, name) != defaults[name]]
        parts = [name + as_text(getattr(self, name), ".").replace(":", "") for name in changed]
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


def parse_noise(noise: str) -> tuple[str, float]:
    """``salt-pepper:0.1`` as ("salt-pepper", 0.1): a share of pixels; ``gaussian:0.3``: a deviation."""
    kind, _, level = noise.partition(":")
    try:
        value = float(level)
    except ValueError:
        value = math.nan
    if kind not in NOISES or not 0 < value <= 1:
        raise InputError(
            f"noise {noise!r}: accepted are salt-pepper:P and gaussian:SD, with a number above 0 and up to 1"
        )
    return kind, value


def as_text(value, separator=",") -> str:
    """A setting's value as one word: lists joined, whole floats without a point."""
    if isinstance(value, tuple | list):
        return separator.join(map(str, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def checked(f: dataclasses.Field, value):
    """The value in the field's type, or InputError."""

    def refuse(found=value):
        wanted = f.metadata["accepts"] or "text"
        raise InputError(f"{f.name} {found!r}: accepted is {wanted} ({f.metadata['help']})")

    def number(item, kind):
        numeric = isinstance(item, int | kind) and not isinstance(item, bool)
        # the comparison comes first: it refuses nan, and does not overflow on a number of any length
        if not numeric or not f.metadata["low"] <= item <= f.metadata["high"]:
            refuse(item)
        return kind(item)

    if f.type in (int, float):
        return number(value, f.type)
    if f.type is str:
        if not isinstance(value, str) or (f.metadata["choices"] and value not in f.metadata["choices"]):
            refuse()
        return value
    if not isinstance(value, list | tuple) or len(value) > 8:
        raise InputError(f"{f.name} {value!r}: accepted is a list of at most 8 widths, such as [512, 256]")
    return tuple(number(item, int) for item in value)
