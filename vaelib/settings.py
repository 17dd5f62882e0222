"""What a setting is: its range, help and what the presets make of it; how it is checked, how its text is read."""

import dataclasses
import math
from dataclasses import field

from vaelib import InputError

DATASETS = ("mnist", "fashion-mnist", "kmnist", "digits")
ARCHS = ("linear", "conv", "convbn")
NOISES = ("salt-pepper", "gaussian")

# What a setting is when it is not given. "tuned" did well on held-out images, "textbook" is what a first
# tutorial shows; convbn has one form only.
_TEXTBOOK = dict(
    batch_size=128, lr=1e-3, schedule="constant", activation="relu", norm="none", blocks=0, output_bias="zero"
)
_TUNED = dict(
    batch_size=128, lr=4e-3, schedule="onecycle:0.3", activation="gelu", norm="layer", blocks=1, output_bias="zero"
)
_CONVBN = _TEXTBOOK | dict(activation="leaky-relu", norm="batch", encoder_widths=(32, 64), hidden_widths=(256,))
PRESETS = {
    "tuned": {
        "linear": _TUNED | dict(encoder_widths=(600, 256), hidden_widths=()),
        "conv": _TUNED | dict(encoder_widths=(48,), hidden_widths=(256, 256), lr=3e-3, output_bias="mean"),
        "convbn": _CONVBN,
    },
    "textbook": {
        "linear": _TEXTBOOK | dict(encoder_widths=(400,), hidden_widths=()),
        "conv": _TEXTBOOK | dict(encoder_widths=(32, 64), hidden_widths=()),
        "convbn": _CONVBN,
    },
}


def setting(default, help, *, low=None, high=None, choices=(), identity=True):
    """A dataclass field that knows its own help, range and whether it decides a run's weights.

    A default of None is filled in from the preset.
    """
    accepts = "one of " + ", ".join(choices) if choices else ""
    if low is not None:
        accepts = f"{low:,} to {high:,}"
    metadata = dict(help=help, low=low, high=high, choices=choices, accepts=accepts, identity=identity)
    return field(default=default, metadata=metadata)


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


def as_text(value, separator=",") -> str:
    """A setting's value as one word: lists joined, whole floats without a point."""
    if isinstance(value, tuple | list):
        return separator.join(map(str, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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
