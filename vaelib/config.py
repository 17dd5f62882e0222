"""The settings of one training: names, defaults, ranges, help and presets, all in one place.

The command line, the notebooks' parameters and a run's config.json are made of these fields. Nothing here imports
torch, so that a wrong setting is answered at once.
"""

import ast
import configparser
import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


class InputError(ValueError):
    """What was asked for cannot be done; the message names the value and what would be accepted."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in the place of a traceback: the line says it all."""
        return [str(self)]


@dataclass(frozen=True)
class Arch:
    """What the settings and the figures know of an architecture; models/archs.py builds the one of the same name.

    presets is what each setting marked "preset" is when it is not given: "tuned" did well on held-out images,
    "textbook" is what a first tutorial shows. widths are the least and the most entries of encoder_widths, hidden
    says whether there are hidden_widths, colour and marker stand for the architecture in every figure.
    """

    presets: dict[str, dict[str, Any]]
    widths: tuple[int, int]
    hidden: bool
    colour: str
    marker: str


_TEXTBOOK = dict(
    batch_size=128, lr=1e-3, schedule="constant", activation="relu", norm="none", blocks=0, output_bias="zero"
)
_TUNED = dict(
    batch_size=128, lr=4e-3, schedule="onecycle:0.3", activation="gelu", norm="layer", blocks=1, output_bias="zero"
)
_CONVBN = _TEXTBOOK | dict(activation="leaky-relu", norm="batch", encoder_widths=(32, 64), hidden_widths=(256,))
PRESETS = ("tuned", "textbook")

# The order is that of the rows and panels of every table and figure.
ARCHS = {
    "linear": Arch(
        presets={
            "tuned": _TUNED | dict(encoder_widths=(600, 256), hidden_widths=()),
            "textbook": _TEXTBOOK | dict(encoder_widths=(400,), hidden_widths=()),
        },
        widths=(1, 8),
        hidden=False,
        colour="#0072B2",
        marker="o",
    ),
    "conv": Arch(
        presets={
            "tuned": _TUNED | dict(encoder_widths=(48,), hidden_widths=(256, 256), lr=3e-3, output_bias="mean"),
            "textbook": _TEXTBOOK | dict(encoder_widths=(32, 64), hidden_widths=()),
        },
        widths=(1, 2),
        hidden=True,
        colour="#D55E00",
        marker="s",
    ),
    "convbn": Arch(
        presets={"tuned": _CONVBN, "textbook": _CONVBN}, widths=(1, 2), hidden=True, colour="#009E73", marker="^"
    ),
}
# The known sets, and the height and width of their images.
DATASETS = {"mnist": (28, 28), "fashion-mnist": (28, 28), "kmnist": (28, 28), "digits": (28, 28)}
OWN_IMAGES = "the path of a folder with a folder of images for each class, of an .npz file, or of four IDX files"
NOISES = ("salt-pepper", "gaussian")
# What other programs call some of the settings.
FOREIGN = {
    "z_dim": "latent_dim", "z_dims": "latent_dim", "latent_size": "latent_dim",
    "nb_epochs": "epochs", "num_epochs": "epochs", "n_epochs": "epochs",
    "learning_rate": "lr", "gpu": "device", "beta": "k2", "model_save_frequency": "keep_every",
    "exp_name": "name", "model_folder": "runs_root",
}  # fmt: skip
# These settings say where files lie, which a run's config.json does not keep: its folder may be moved.
PLACES = ("data_root", "runs_root", "name")
_ANY_NAME = object()


def setting(default, help, *, low=None, high=None, choices=(), identity=True, before=_ANY_NAME):
    """A dataclass field that knows its own help, range and whether it decides a run's weights.

    A default of None is filled in from the preset. A setting that is newer than some runs names in ``before`` what
    those runs were trained with; without it that is the default.
    """
    accepts = "one of " + ", ".join(choices) if choices else ""
    if low is not None:
        accepts = f"{low:,} to {high:,}"
    before = default if before is _ANY_NAME else before
    metadata = dict(help=help, low=low, high=high, choices=choices, accepts=accepts, identity=identity, before=before)
    return field(default=default, metadata=metadata)


def checked(f: dataclasses.Field, value):
    """The value in the field's type, or InputError. Text is read as on the command line."""

    def refuse(found=value, wanted=f.metadata["accepts"] or "text"):
        raise InputError(f"{f.name} {found!r}: accepted is {wanted} ({f.metadata['help']})")

    def number(item, kind):
        if isinstance(item, str):
            with contextlib.suppress(ValueError):
                item = kind(item)
        if not isinstance(item, int | kind) or isinstance(item, bool):
            refuse(item, f"a {'whole ' if kind is int else ''}number, {f.metadata['accepts']}")
        # The comparison comes before the conversion: it refuses nan, and does not overflow on a number of any length.
        if not f.metadata["low"] <= item <= f.metadata["high"]:
            refuse(item)
        return kind(item)

    if f.type in (int, float):
        return number(value, f.type)
    if f.type is bool:
        found = {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else value
        if not isinstance(found, bool):
            refuse(wanted="true or false")
        return found
    if f.type is str:
        if not isinstance(value, str) or (f.metadata["choices"] and value not in f.metadata["choices"]):
            refuse()
        return value
    if isinstance(value, str):
        value = [part for part in value.strip(" []()").split(",") if part.strip()]
    if isinstance(value, int) and not isinstance(value, bool):  # papermill and YAML read one width as a number
        value = [value]
    if not isinstance(value, list | tuple) or len(value) > 8:
        raise InputError(f"{f.name} {value!r}: accepted is a list of at most 8 widths, such as 512,256 or [512, 256]")
    return tuple(number(item, int) for item in value)


def as_text(value, separator=",") -> str:
    """A setting's value as one word: lists joined, whole floats without a point, true and false in small letters."""
    if isinstance(value, tuple | list):
        return separator.join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def parse_noise(noise: str) -> tuple[str, float]:
    """``salt-pepper:0.1`` as ("salt-pepper", 0.1): a share of pixels; ``gaussian:0.3``: a standard deviation."""
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


def warm_up(schedule: str) -> float | None:
    """The share of the steps in which the rate rises: ``onecycle:0.3`` is 0.3, ``constant`` None."""
    kind, _, share = schedule.partition(":")
    try:
        value = float(share or "nan")
    except ValueError:
        value = math.nan
    if schedule == "constant":
        return None
    if kind != "onecycle" or not 0 < value < 1:
        raise InputError(
            f"schedule {schedule!r}: accepted are constant and onecycle:SHARE, with a number between 0 and 1"
        )
    return value


def expanded(path: str | os.PathLike) -> str:
    """The path with ``~`` expanded; an empty one stays empty."""
    return str(Path(path).expanduser()) if str(path) else ""


def dataset_name(dataset: str) -> str:
    """What a data set's folder of runs is called: its name, or the last part of its path without .npz."""
    if dataset in DATASETS:
        return dataset
    name = re.sub(r"\.npz$", "", Path(dataset).name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "images"


def is_run_name(name: str) -> bool:
    """Whether a run's folder may be called so. Folders of classifiers lie beside those of runs."""
    return bool(re.fullmatch(r"(?!\.|classifier)[A-Za-z0-9._-]{1,100}", name))


def _dataset(text: str) -> str:
    """A data set as settings keep it: a known name, or a path, which always has a slash."""
    if text in DATASETS:
        return text
    path = os.path.normpath(expanded(text))
    if not text or not (os.path.dirname(text) or os.path.exists(path)):
        raise InputError(f"dataset {text!r}: accepted is one of {', '.join(DATASETS)}, or {OWN_IMAGES}")
    return path if os.path.dirname(path) else os.path.join(".", path)


@dataclass(frozen=True)
class TrainingConfig:
    """One training. The defaults are those of the published grid; see ``vaelib train --help``."""

    dataset: str = setting("mnist", f"image set: {', '.join(DATASETS)}, or {OWN_IMAGES}")
    arch: str = setting("linear", "kind of encoder and decoder", choices=tuple(ARCHS))
    preset: str = setting("tuned", "what fills in each setting marked preset", choices=PRESETS)
    latent_dim: int = setting(2, "dimensions of z", low=1, high=4096)
    epochs: int = setting(15, "passes over the training images", low=1, high=100_000)
    batch_size: int = setting(None, "images per step", low=1, high=60_000)
    lr: float = setting(None, "Adam's learning rate; where it follows a schedule, its peak", low=1e-8, high=10)
    schedule: str = setting(
        None, "learning rate over the training: constant, or onecycle:SHARE, the share of the steps that it rises in"
    )
    held_out: int = setting(
        0, "training images that are kept out, and measured in the place of the test images", low=0, high=59_999
    )
    seed: int = setting(
        0, "seed of everything random: initial weights, order of images, z, noise", low=0, high=2**31 - 1
    )
    k1: float = setting(1.0, "weight of the reconstruction, above 0", low=1e-6, high=1_000_000)
    k2: float = setting(1.0, "weight of the KL; k2/k1 is the effective beta", low=0, high=1_000_000)
    kl_warmup: int = setting(
        0, "epochs in which the weight of the KL rises from 0 to k2; 0: it is k2 from the start", low=0, high=100_000
    )
    encoder_widths: tuple[int, ...] = setting(
        None, "hidden units (linear), or channels: one width is a 4x4 step down, two are halvings (conv)",
        low=1, high=8192,
    )  # fmt: skip
    decoder_widths: tuple[int, ...] = setting(
        None, "the same for the decoder; by default the encoder's, reversed", low=1, high=8192
    )
    hidden_widths: tuple[int, ...] = setting(
        None, "fully connected units between channels and z, mirrored in the decoder (conv)", low=1, high=8192
    )
    blocks: int = setting(None, "residual layers of the decoder, at its innermost width", low=0, high=16)
    activation: str = setting(None, "activation between layers", choices=("relu", "gelu", "silu", "leaky-relu"))
    norm: str = setting(None, "normalisation before each activation", choices=("none", "layer", "batch"))
    output_bias: str = setting(
        None, "where the pixels' logits start: at 0, or at the logit of the mean pixel", choices=("zero", "mean")
    )
    noise: str = setting("", "corruption of the input, not of the target: salt-pepper:P or gaussian:SD")
    precision: str = setting(
        "auto",
        "precision of the matrix products in training; auto is bfloat16 where the CPU multiplies it in hardware",
        choices=("auto", "float32", "bfloat16"),
    )
    device: str = setting(
        "auto", "device to train on; auto is a GPU where there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    threads: int = setting(1, "CPU threads; their number is part of what makes a run repeatable", low=1, high=256)
    data_root: str = setting("", "folder of the known sets; empty: $VAELIB_DATA or a cache folder", identity=False)
    runs_root: str = setting("runs", "folder that the runs are kept in", identity=False)
    name: str = setting(
        "", "what the run's folder is called, in letters, digits, dots, _ and -; empty: a name made of the settings",
        identity=False,
    )  # fmt: skip
    keep_every: int = setting(
        0, "the weights after every so many epochs are kept; 0: those after the last alone", low=0, high=100_000,
        identity=False,
    )  # fmt: skip
    log_steps: bool = setting(False, "the losses of every step are kept, in steps.csv and TensorBoard", identity=False)

    def __post_init__(self):
        for f in dataclasses.fields(self):
            if getattr(self, f.name) is not None or f.default is not None:
                object.__setattr__(self, f.name, checked(f, getattr(self, f.name)))
        # From here on nothing is left to a preset, which may change: a stored config says what was trained.
        for name, value in self.defaults().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "dataset", _dataset(self.dataset))
        for name in ("data_root", "runs_root"):
            object.__setattr__(self, name, expanded(getattr(self, name)))
        if self.name and not is_run_name(self.name):
            raise InputError(
                f"name {self.name!r}: accepted are 1 to 100 letters from a to z, digits, dots, _ and -, "
                "not beginning with a dot or with classifier"
            )
        warm_up(self.schedule)
        if self.noise:
            kind, level = parse_noise(self.noise)
            object.__setattr__(self, "noise", f"{kind}:{level!r}")
        self._check_together()

    def _check_together(self):
        """Refuses values that are right alone and wrong together."""
        arch = ARCHS[self.arch]
        low, high = arch.widths
        for name in ("encoder_widths", "decoder_widths"):
            widths = getattr(self, name)
            if not low <= len(widths) <= high:
                raise InputError(f"{name} {list(widths)}: accepted is {low} to {high} widths for {self.arch}")
        if self.hidden_widths and not arch.hidden:
            raise InputError(
                f"hidden_widths {list(self.hidden_widths)}: {self.arch} has none, give encoder_widths instead"
            )

    def defaults(self) -> dict[str, Any]:
        """What each setting is that is not given, under this arch, preset and encoder_widths."""
        values = {f.name: f.default for f in dataclasses.fields(self)} | ARCHS[self.arch].presets[self.preset]
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
        """The place in the grid: ``conv-d10-s0``."""
        return f"{self.arch}-d{self.latent_dim}-s{self.seed}"

    @property
    def run_name(self) -> str:
        """cell_id, then each further setting that is not at its default: ``conv-d10-s0-epochs3``.

        It says what is trained, also where the folder has a name of its own. A name that is too long for a file system
        is cut, and ends in a hash of the whole.
        """
        identity = [f.name for f in dataclasses.fields(self) if f.metadata["identity"]]
        in_path = {"dataset", "arch", "latent_dim", "seed"}
        defaults = self.defaults() | {"preset": "tuned"}
        changed = [name for name in identity if name not in in_path and getattr(self, name) != defaults[name]]
        parts = [
            self.preset if name == "preset" else name + (as_text(getattr(self, name), ".").replace(":", "") or "none")
            for name in changed
        ]
        name = "-".join([self.cell_id, *parts])
        return name if len(name) <= 240 else f"{name[:220]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"

    @property
    def run_path(self) -> Path:
        """The run's directory: ``runs_root/dataset/run_name``, or ``name`` in the place of run_name where it is given.

        Of own images the folder of runs is named as they are.
        """
        return Path(self.runs_root) / dataset_name(self.dataset) / (self.name or self.run_name)

    def settings(self) -> dict[str, Any]:
        """What decides the weights, as JSON keeps it."""
        kept = [f.name for f in dataclasses.fields(self) if f.metadata["identity"]]
        return json.loads(json.dumps({name: getattr(self, name) for name in kept}))

    def extras(self) -> dict[str, Any]:
        """What a training keeps beside the final weights; it decides none of them."""
        kept = [f.name for f in dataclasses.fields(self) if not f.metadata["identity"] and f.name not in PLACES]
        return {name: getattr(self, name) for name in kept}

    @classmethod
    def from_mapping(cls, values: dict[str, Any], source: str = "setting") -> Self:
        """A config of these values; a key that is no setting raises InputError."""
        known = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                hint = f", which is {FOREIGN[key]} here" if key in FOREIGN else ""
                raise InputError(f"unknown {source} {key!r}{hint}: accepted are {', '.join(known)}")
        return cls(**values)

    @classmethod
    def from_stored(cls, settings: dict[str, Any], runs_root: str, folder: str = "") -> Self:
        """The config that a run kept, whose directory has that name.

        A setting that is newer than the run is what the run was trained with.
        """
        kept = {f.name: f.metadata["before"] for f in dataclasses.fields(cls) if f.metadata["identity"]}
        config = cls.from_mapping(kept | settings | {"runs_root": runs_root})
        named = is_run_name(folder) and folder != config.run_name
        return dataclasses.replace(config, name=folder) if named else config

    @classmethod
    def from_notebook(cls, namespace: dict[str, Any]) -> Self:
        """A config of the values that a notebook's parameters cell defined, given ``globals()``."""
        return cls(**notebook_parameters(namespace, [f.name for f in dataclasses.fields(cls)], made="config"))


def notebook_parameters(namespace: dict[str, Any], known: list[str], made: str) -> dict[str, Any]:
    """The plain values of a notebook's namespace; one that is no known parameter raises InputError.

    papermill only warns of a parameter that the template does not have, and would run the default. In IPython only
    what the cells before this one assign is looked at: a startup file may define whatever it likes. Once the notebook
    has what it made of its parameters, names that a reader adds by hand are let be.
    """
    plain = (bool, int, float, str, list, tuple, dict, type(None))
    hidden = {"In", "Out"}  # IPython defines these two
    values = {
        name: value
        for name, value in namespace.items()
        if isinstance(value, plain) and not name.startswith("_") and name not in hidden
    }
    given = _assigned(namespace["In"][:-1]) if "In" in namespace else set(values)
    for name in values:
        if name in given and name not in known and made not in namespace:
            raise InputError(f"unknown parameter {name!r}: accepted are {', '.join(known)}")
    return {name: value for name, value in values.items() if name in known}


def _assigned(cells: list[str]) -> set[str]:
    """The names that these cells assign at their top level."""
    names = set()
    for cell in cells:
        try:
            statements = ast.parse(cell).body
        except SyntaxError:  # a cell with a line for IPython alone, such as %matplotlib
            continue
        for statement in statements:
            if isinstance(statement, ast.Assign):
                names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return names


def read_settings(path: str | os.PathLike) -> dict[str, Any]:
    """The settings in a TOML file, or in one whose name ends in .ini, unchecked; InputError for what is neither."""
    text = _text(path)
    if Path(path).suffix.lower() == ".ini":
        return _of_ini(path, text)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is no TOML file: {error}") from error


def _text(path: str | os.PathLike) -> str:
    try:
        return Path(expanded(path)).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no file of text in UTF-8: {error}") from error


def _of_ini(path: str | os.PathLike, text: str) -> dict[str, str]:
    """The pairs of all sections, as text. A comment begins with ; or # at the beginning of a line or after a space."""
    # A value may hold a %, and no section is read into the others, whatever it is called.
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";", "#"), default_section="")
    values = {}
    try:
        parser.read_string(text)
    except configparser.MissingSectionHeaderError as error:
        raise InputError(
            f"{path}: line {error.lineno} stands in no section: accepted is one below a line such as [VAE]"
        ) from None
    except configparser.DuplicateOptionError as error:
        raise InputError(f"{path}: line {error.lineno} gives {error.option} again: accepted is each key once") from None
    except configparser.DuplicateSectionError as error:
        raise InputError(
            f"{path}: line {error.lineno} begins [{error.section}] again: accepted is each section once"
        ) from None
    except configparser.ParsingError as error:
        lineno, line = error.errors[0]
        raise InputError(f"{path}: line {lineno} reads {line}: accepted is a key, =, and its value") from None
    if not parser.sections():
        raise InputError(f"{path} has no section: accepted are keys and values below a line such as [VAE]")
    for section in parser.sections():
        for key, value in parser.items(section):
            key = key.replace("-", "_")
            if key in values:
                raise InputError(f"{path}: [{section}] gives {key} again: accepted is each key once")
            values[key] = value
    return values
