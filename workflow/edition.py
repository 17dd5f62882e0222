"""An edition of the report, as editions/*.yaml names it: which models are trained, evaluated and compared.

Everything is checked before anything is trained, and what is wrong is said in one line: the key, the value, what is
accepted.
"""

import dataclasses
import hashlib
import itertools
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, StrictBool, StrictStr, ValidationError, model_validator

from vaelib.config import ARCHS, DATASETS, OWN_IMAGES, InputError, TrainingConfig, as_text
from vaelib.sizes import COUNTS, scaled_to

# What the edition itself decides, and its settings therefore may not name.
DECIDED = {"dataset", "arch", "latent_dim", "seed", "runs_root", "name"}
# The lines that every ablation has beside its changes.
ALWAYS = {"tuned": {}, "the textbook model": {"preset": "textbook"}}


def whole(low: int, high: int):
    """A whole number from low to high."""

    def check(value):
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"accepted is a whole number, {low:,} to {high:,}")
        return value

    return Annotated[int, BeforeValidator(check)]


def several(item, example: str, least: int = 1):
    """A list of these items, each of them once."""

    def check(value):
        if not isinstance(value, list) or len(value) < least:
            raise ValueError(f"accepted is a list{f' of {least} or more' if least > 1 else ''}, such as {example}")
        for own in value:
            if value.count(own) > 1:
                raise ValueError(f"{own!r} stands there twice, accepted is a list without repetitions")
        return value

    return Annotated[list[item], BeforeValidator(check)]


def settings_without(decided: set[str]):
    """Settings of a training, none of which the edition decides. Their values are checked by TrainingConfig."""
    known = [f.name for f in dataclasses.fields(TrainingConfig) if f.name not in decided]

    def check(value):
        if not isinstance(value, dict):
            raise ValueError("accepted are pairs such as {epochs: 15}")
        for name in value:
            if name in decided:
                raise ValueError(f"{name} is what the edition itself decides, accepted are {', '.join(known)}")
            if name not in known:
                raise ValueError(f"unknown setting {name!r}, accepted are {', '.join(known)}")
        return value

    return Annotated[dict[str, Any], BeforeValidator(check)]


def edition_name(value):
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", str(value)):
        raise ValueError(
            "accepted are 1 to 40 lower-case letters, digits, - and _, of which the first is a letter or a digit"
        )
    return str(value)


def architecture(value):
    if value not in ARCHS:
        raise ValueError(f"accepted is one of {', '.join(ARCHS)}")
    return value


def line_name(value):
    """The name of a change: it stands in figures, in HTML and in Markdown."""
    if not isinstance(value, str) or not re.fullmatch(r"[^<>&\"'`$|\\\s]([^<>&\"'`$|\\]{0,38}\S)?", value):
        raise ValueError("accepted are 1 to 40 characters without < > & $ | \\ and quotes")
    if not value.isprintable():
        raise ValueError("accepted are characters that can be printed")
    if value in ALWAYS:
        raise ValueError(f"{' and '.join(ALWAYS)} are lines of every ablation, accepted is the name of a change")
    return value


Arch = Annotated[str, BeforeValidator(architecture)]
Dimension = whole(1, 4096)
Seed = whole(0, 2**31 - 1)
Choices = settings_without({*DECIDED, "data_root"})  # every model of an edition reads the same images
Changes = dict[Annotated[str, BeforeValidator(line_name)], Choices]


class Part(BaseModel):
    """A part of the file. A key without a value is as if it were not there."""

    @model_validator(mode="before")
    @classmethod
    def only_known_keys(cls, values):
        known = ", ".join(cls.model_fields)
        if not isinstance(values, dict):
            raise ValueError(f"accepted are pairs with the keys {known}")
        for key in values:
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}, accepted are {known}")
        values = {key: value for key, value in values.items() if value is not None}
        for key, field in cls.model_fields.items():
            if field.is_required() and key not in values:
                raise ValueError(f"{key} is missing, see editions/quick.yaml")
        return values


class Classifier(Part):
    """How the classifier is trained; what is not given is what `vaelib classifier` takes."""

    epochs: whole(1, 10_000) | None = None
    batch_size: whole(2, 60_000) | None = None


class Evaluation(Part):
    """How deeply each model is measured; what is not given is what `vaelib evaluate` takes."""

    draws: whole(1, 100_000) | None = None
    images: whole(1, 100_000) | None = None
    all_draws: whole(0, 100_000) | None = None
    resamplings: whole(1, 100) | None = None


class Sizes(Part):
    """Further sizes of every architecture."""

    latent_dim: Dimension
    parameters: several(whole(1, 1_000_000_000), "[350_000, 700_000]")


class Ablation(Part):
    """Models that differ from the tuned one in one choice each, measured on training images that were held out."""

    settings: Choices
    latent_dims: several(Dimension, "[2, 10]")
    seeds: several(Seed, "[0, 1, 2]", least=2)  # an interval over seeds needs two
    changes: Annotated[
        dict[Arch, Changes],
        BeforeValidator(lambda value: {a: c or {} for a, c in value.items()} if isinstance(value, dict) else value),
    ]


class Values(Part):
    """What the file says."""

    edition: Annotated[str, BeforeValidator(edition_name)]
    dataset: StrictStr
    archs: several(Arch, "[linear, conv]")
    latent_dims: several(Dimension, "[2, 10]")
    seeds: several(Seed, "[0, 1, 2]")
    settings: settings_without(DECIDED) = {}
    classifier: Classifier = Classifier()
    evaluation: Annotated[Evaluation | None, BeforeValidator(lambda value: None if value is False else value)] = (
        Evaluation()
    )
    equal: StrictBool | None = None
    together: whole(1, 1000) = 1
    chapters: dict[str, dict[str, Any]] = {}
    sizes: Sizes | None = None
    ablation: Ablation | None = None


class Edition:
    """The edition of these values; InputError names the one that means nothing.

    grid      a config for each architecture, latent_dim and seed
    equal     pairs of configs: the edition's first architecture at the number of parameters of each other model
    sized     every architecture at further sizes
    ablation  arch -> change -> configs
    runs      place -> config of every run, where a place is its folder in build/EDITION: runs/mnist/conv-d2-s0
    groups    name -> places of the runs that one process trains, then one evaluates, then one draws the pages of
    """

    def __init__(self, values: dict[str, Any]):
        try:
            self.values = Values.model_validate(values)
        except ValidationError as error:
            raise InputError(in_one_line(error)) from None
        own = self.values
        self.name, self.seeds, self.latent_dims = own.edition, own.seeds, own.latent_dims
        self.build = f"build/{self.name}"
        self.grid = [self.config(*cell) for cell in itertools.product(own.archs, own.latent_dims, own.seeds)]
        # A config keeps a path with ~ expanded and with a slash in it.
        self.dataset, self.data_root = self.grid[0].dataset, self.grid[0].data_root
        if self.dataset not in DATASETS and not Path(self.dataset).exists():
            raise InputError(f"dataset {own.dataset!r}: accepted is one of {', '.join(DATASETS)}, or {OWN_IMAGES}")
        # The ablation is checked first, because counting parameters takes seconds.
        self.ablation, self.equal, self.sized = self._ablation(), self._equal(), self._sized()
        self.sizes = [*itertools.chain(*self.equal), *self.sized]
        self.ablated = [c for changes in self.ablation.values() for configs in changes.values() for c in configs]
        self.runs = {self.place(c): c for c in [*self.grid, *self.sizes, *self.ablated]}
        self.evaluated = {self.place(c): c for c in [*self.grid, *self.sizes]} if own.evaluation else {}
        self.groups = self._groups()
        self.classifier = f"runs/{self.grid[0].run_path.parent.name}/classifier-s0"

    def config(self, arch: str, latent_dim: int, seed: int, root: str = "runs", **changed) -> TrainingConfig:
        """The edition's config of that model, with these settings changed."""
        own = dict(dataset=self.values.dataset, arch=arch, latent_dim=latent_dim, seed=seed)
        return TrainingConfig(**self.values.settings | changed | own, runs_root=f"{self.build}/{root}")

    def place(self, c: TrainingConfig) -> str:
        """The run's folder in build/EDITION."""
        return c.run_path.relative_to(self.build).as_posix()

    def _groups(self) -> dict[str, list[str]]:
        """As many groups as it takes for none to have more than `together` runs; the large models fall on all of them.

        Starting Python takes longer than a small model takes to train. Where models are large each is a group of its
        own, so that one that fails holds up no other.
        """
        places = list(self.runs)
        count = -(-len(places) // self.values.together)
        if count == len(places):
            return {place: [place] for place in places}
        return {f"models-{index + 1}": places[index::count] for index in range(count)}

    def _equal(self) -> list[tuple[TrainingConfig, TrainingConfig]]:
        first, *others = self.values.archs
        if self.values.equal and not others:
            raise InputError(f"equal True: accepted is false where archs {self.values.archs} names one architecture")
        if not others or self.values.equal is False:
            return []
        pairs = []
        for arch, latent_dim in itertools.product(others, self.latent_dims):
            models = [self.config(arch, latent_dim, seed) for seed in self.seeds]
            matched = self._matched("equal", first, latent_dim, self._parameters(models[0]))
            pairs += zip(matched, models, strict=True)
        return pairs

    def _sized(self) -> list[TrainingConfig]:
        sizes = self.values.sizes
        wanted = itertools.product(sizes.parameters, self.values.archs) if sizes else []
        return [c for size, arch in wanted for c in self._matched("sizes", arch, sizes.latent_dim, size)]

    def _matched(self, key: str, arch: str, latent_dim: int, parameters: int) -> list[TrainingConfig]:
        """A config for each seed, its widths scaled to that many parameters; one that the grid has is the grid's."""
        settings = self.values.settings | dict(dataset=self.values.dataset, runs_root=f"{self.build}/sized")
        try:
            found = scaled_to(parameters, self._parameters, arch, latent_dim, **settings)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
        grid = {c.run_name: c for c in self.grid}
        configs = [dataclasses.replace(found, seed=seed) for seed in self.seeds]
        return [grid.get(c.run_name, c) for c in configs]

    def _parameters(self, c: TrainingConfig) -> int:
        if c.arch in COUNTS:
            return COUNTS[c.arch](c, self.shape)
        from vaelib import models  # importing torch takes seconds, and most editions do without

        return models.count_of(c, self.shape)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images; a known set, which may have to be downloaded, is not read for it."""
        if self.dataset in DATASETS:
            return DATASETS[self.dataset]
        from vaelib import data

        return data.load(self.dataset).shape

    def _ablation(self) -> dict[str, dict[str, list[TrainingConfig]]]:
        part = self.values.ablation
        if not part:
            return {}
        cells = list(itertools.product(part.latent_dims, part.seeds))
        lines = {}
        for arch, changes in part.changes.items():
            lines[arch] = {}
            for change, changed in {**ALWAYS, **changes}.items():
                try:
                    configs = [self.config(arch, *cell, root="ablation", **part.settings | changed) for cell in cells]
                except InputError as error:
                    raise InputError(f"ablation, {arch}, {change}: {error}") from None
                if not configs[0].held_out:
                    raise InputError(
                        f"ablation, {arch}, {change}: held_out 0: accepted is 1 or more, "
                        "since a choice that the test images make would flatter every other table"
                    )
                if change in changes and configs == lines[arch]["tuned"]:
                    raise InputError(f"ablation, {arch}, {change}: {changed!r}: accepted is what changes the model")
                lines[arch][change] = configs
        return lines

    def depth(self, c: TrainingConfig) -> dict[str, int]:
        """How deeply a model is evaluated: on all images the grid's models of ten dimensions of the first seed."""
        own = self.values.evaluation.model_dump(exclude_none=True)
        if not (c.latent_dim == 10 and c.seed == self.seeds[0] and c in self.grid):
            own.pop("all_draws", None)
        return own

    def records(self) -> dict[str, dict]:
        """The content of the files that say which runs belong together, by their place in build/EDITION.

        ablation/lines.json has arch -> change -> runs, in its own folder; sized/sizes.json has equal, pairs of runs,
        and sized, runs, both in build/EDITION.
        """
        lines = {
            arch: {
                change: [self.place(c).removeprefix("ablation/") for c in configs] for change, configs in own.items()
            }
            for arch, own in self.ablation.items()
        }
        equal = [[self.place(matched), self.place(other)] for matched, other in self.equal]
        sizes = {"equal": equal, "sized": [self.place(c) for c in self.sized]}
        return {"ablation/lines.json": lines, "sized/sizes.json": sizes}

    def images(self) -> str:
        """A hash over name, size and time of each file of own images, to notice a change; empty for a known set."""
        if self.dataset in DATASETS:
            return ""
        root = Path(self.dataset)
        files = sorted(Path(folder, name) for folder, _, names in os.walk(root) for name in names) or [root]
        facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return hashlib.sha256(repr(facts).encode()).hexdigest()


def all_settings(c: TrainingConfig) -> dict[str, Any]:
    """What `vaelib train` and notebooks/train.ipynb are given: what decides the weights, what is kept, and where."""
    extras = {name: value for name, value in c.extras().items() if value}
    return c.settings() | extras | {"data_root": c.data_root, "runs_root": c.runs_root}


def options(values: dict[str, Any]) -> list[str]:
    """Settings as options of a vaelib command; one that is true is a flag without a value."""
    texts = {name: "" if value is True else f"={as_text(value)}" for name, value in values.items()}
    return [f"--{name.replace('_', '-')}{text}" for name, text in texts.items()]


def in_one_line(error: ValidationError) -> str:
    """The first thing that is wrong: key, value, what is accepted."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"])).removesuffix(".[key]")
    reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
    value = repr(first["input"])
    value = value if len(value) < 80 else f"{value[:76]}..."
    return f"{key} {value}: {reason.replace('Input should be', 'accepted is')}" if key else reason
