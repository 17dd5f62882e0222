"""An edition of the report, as editions/*.yaml names it: which models are trained, evaluated and compared.

Everything is checked before anything is trained, and what is wrong is said in one line: the key, the value, what is
accepted.
"""

import dataclasses
import hashlib
import inspect
import itertools
import math
import os
import re
from functools import cached_property
from pathlib import Path
from posixpath import relpath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, StrictBool, StrictStr, ValidationError, model_validator

from vaelib.cli import measure
from vaelib.config import ARCHS, DATASETS, OWN_IMAGES, InputError, TrainingConfig, as_text, parse_noise
from vaelib.sizes import COUNTS, scaled_to

# What the edition itself decides, and its settings therefore may not name.
DECIDED = {"dataset", "arch", "latent_dim", "seed", "runs_root", "name"}
# What `vaelib evaluate` takes where an option is not given.
BY_DEFAULT = {name: option.default for name, option in inspect.signature(measure.evaluate).parameters.items()}


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


def arm_name(value):
    """The name of an arm: it stands in figures, in HTML and in Markdown."""
    if not isinstance(value, str) or not re.fullmatch(r"[^<>&\"`$|\\\s]([^<>&\"`$|\\]{0,38}\S)?", value):
        raise ValueError("accepted are 1 to 40 characters without < > & $ | \\ ` and double quotes")
    if not value.isprintable():
        raise ValueError("accepted are characters that can be printed")
    return value


def study_name(value):
    """The name of a study: that of its chapter's template, and of the file that names its runs."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", str(value)) or value == "sizes":
        raise ValueError(
            "accepted are 1 to 40 lower-case letters, digits, - and _, of which the first is a letter; "
            "sizes is the file of models of equal and further sizes"
        )
    return value


def noise_level(value):
    """A corruption of images as metrics.json names it."""
    try:
        kind, level = parse_noise(str(value))
    except InputError as error:
        raise ValueError(str(error).partition(": ")[2]) from None
    return f"{kind}:{level!r}"


def not_empty(value):
    if not isinstance(value, dict) or not value:
        raise ValueError("accepted are pairs, one at least, such as {linear: {tuned: {}, ReLU: {activation: relu}}}")
    return value


def or_false(part):
    """A part of the file, or false: then it is None."""
    return Annotated[part | None, BeforeValidator(lambda value: None if value is False else value)]


Arch = Annotated[str, BeforeValidator(architecture)]
Dimension = whole(1, 4096)
Seed = whole(0, 2**31 - 1)
Noise = Annotated[str, BeforeValidator(noise_level)]
Choices = settings_without({*DECIDED, "data_root"})  # every model of an edition reads the same images
Arms = Annotated[dict[Annotated[str, BeforeValidator(arm_name)], Choices], BeforeValidator(not_empty)]


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


class Depth(Part):
    """How deeply models are measured; what is not given is what `vaelib evaluate` takes."""

    draws: whole(1, 100_000) | None = None
    images: whole(1, 100_000) | None = None
    resamplings: whole(1, 100) | None = None
    paths: whole(1, 100_000) | None = None
    class_draws: whole(1, 100_000) | None = None
    embedded: whole(1, 100_000) | None = None
    noises: several(Noise, "['salt-pepper:0.1', 'gaussian:0.25']") | None = None


class Evaluation(Depth):
    """The same for the grid, whose models of ten dimensions of the first seed are measured on all images too."""

    all_draws: whole(0, 100_000) | None = None


class Sizes(Part):
    """Further sizes of every architecture."""

    latent_dim: Dimension
    parameters: several(whole(1, 1_000_000_000), "[350_000, 700_000]")


class Study(Part):
    """Models that are compared with one another: arms, which differ in the settings that are named beside them.

    Latent dimensions, seeds and each number of its evaluation are the edition's where they are not given.
    """

    latent_dims: several(Dimension, "[2, 10]") | None = None
    seeds: several(Seed, "[0, 1, 2]") | None = None
    settings: Choices = {}
    evaluation: or_false(Depth) = Depth()
    arms: Annotated[dict[Arch, Arms], BeforeValidator(not_empty)]


class Values(Part):
    """What the file says."""

    edition: Annotated[str, BeforeValidator(edition_name)]
    dataset: StrictStr
    archs: several(Arch, "[linear, conv]")
    latent_dims: several(Dimension, "[2, 10]")
    seeds: several(Seed, "[0, 1, 2]")
    settings: settings_without(DECIDED) = {}
    classifier: Classifier = Classifier()
    evaluation: or_false(Evaluation) = Evaluation()
    equal: StrictBool | None = None
    together: whole(1, 1000) = 1
    chapters: dict[str, dict[str, Any]] = {}
    sizes: Sizes | None = None
    studies: dict[Annotated[str, BeforeValidator(study_name)], Study] = {}


class Edition:
    """The edition of these values; InputError names the one that means nothing.

    build     the folder that it lies in, build/EDITION where none is given; a place is a folder or file in there
    grid      a config for each architecture, latent_dim and seed
    equal     pairs of configs: the edition's first architecture at the number of parameters of each other model
    sized     every architecture at further sizes
    studies   name -> arch -> arm -> configs
    runs      place -> config of every run, such as runs/mnist/conv-d2-s0
    evaluated the same of those that are measured
    groups    name -> places of the runs that one process trains, then one evaluates, then one draws the pages of
    """

    def __init__(self, values: dict[str, Any], build: str = ""):
        try:
            self.values = Values.model_validate(values)
        except ValidationError as error:
            raise InputError(in_one_line(error)) from None
        own = self.values
        self.name, self.seeds, self.latent_dims = own.edition, own.seeds, own.latent_dims
        self.build = build or f"build/{self.name}"
        self.grid = [self.config(*cell) for cell in itertools.product(own.archs, own.latent_dims, own.seeds)]
        # A config keeps a path with ~ expanded and with a slash in it.
        self.dataset, self.data_root = self.grid[0].dataset, self.grid[0].data_root
        if self.dataset not in DATASETS and not Path(self.dataset).exists():
            raise InputError(f"dataset {own.dataset!r}: accepted is one of {', '.join(DATASETS)}, or {OWN_IMAGES}")
        # The studies are checked first, because counting parameters takes seconds.
        self.studies = {name: self._study(name, study) for name, study in own.studies.items()}
        self.equal, self.sized = self._equal(), self._sized()
        self.sizes = [*itertools.chain(*self.equal), *self.sized]
        self.runs = self._runs()
        self._asked = self._evaluations()
        self.evaluated = {place: c for place, c in self.runs.items() if place in self._asked}
        self.groups = self._groups()
        self.classifier = f"runs/{self.grid[0].run_path.parent.name}/classifier-s0"

    def config(self, arch: str, latent_dim: int, seed: int, root: str = "runs", **changed) -> TrainingConfig:
        """The edition's config of that model, with these settings changed."""
        own = dict(dataset=self.values.dataset, arch=arch, latent_dim=latent_dim, seed=seed)
        return TrainingConfig(**self.values.settings | changed | own, runs_root=f"{self.build}/{root}")

    def place(self, c: TrainingConfig) -> str:
        """The run's folder in build."""
        return c.run_path.relative_to(self.build).as_posix()

    def places(self, study: str) -> list[str]:
        """The runs of that study."""
        arms = [configs for own in self.studies[study].values() for configs in own.values()]
        return list(dict.fromkeys(self.place(c) for configs in arms for c in configs))

    def _or_the_grids(self, c: TrainingConfig) -> TrainingConfig:
        """The grid's config where it is this one but for the folder: its run is trained once."""
        there = dataclasses.replace(c, runs_root=self.grid[0].runs_root)
        return next((own for own in self.grid if own == there), c)

    def _runs(self) -> dict[str, TrainingConfig]:
        """Every run by its place. One that two studies ask for keeps beside its weights what either of them asks."""
        runs = {}
        studied = [c for arms in self.studies.values() for own in arms.values() for c in itertools.chain(*own.values())]
        for c in [*self.grid, *self.sizes, *studied]:
            other = runs.get(self.place(c), c)
            keep_every = math.gcd(c.keep_every, other.keep_every)  # the epochs of both are among those of every gcd-th
            kept = {"keep_every": keep_every, "log_steps": c.log_steps or other.log_steps}
            runs[self.place(c)] = dataclasses.replace(c, **kept)
        return runs

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
        settings = self.values.settings | dict(dataset=self.values.dataset, runs_root=f"{self.build}/studies")
        try:
            found = scaled_to(parameters, self._parameters, arch, latent_dim, **settings)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None
        return [self._or_the_grids(dataclasses.replace(found, seed=seed)) for seed in self.seeds]

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

    def _study(self, name: str, study: Study) -> dict[str, dict[str, list[TrainingConfig]]]:
        """arch -> arm -> a config for each latent_dim and seed; one that the grid has is the grid's."""
        cells = list(itertools.product(study.latent_dims or self.latent_dims, study.seeds or self.seeds))
        found = {}
        for arch, arms in study.arms.items():
            found[arch] = {}
            for arm, changed in arms.items():
                key, settings = f"studies.{name}.arms.{arch}.{arm}", study.settings | changed
                try:
                    configs = [self.config(arch, *cell, root="studies", **settings) for cell in cells]
                except InputError as error:
                    raise InputError(f"{key}: {error}") from None
                for other, own in found[arch].items():
                    if own[0].settings() == configs[0].settings():
                        raise InputError(f"{key} {changed!r}: accepted is what changes the model, which {other!r} has")
                found[arch][arm] = [self._or_the_grids(c) for c in configs]
        return found

    def _evaluations(self) -> dict[str, list[dict[str, Any]]]:
        """Place of each run that is measured -> how deeply each part of the edition asks for it."""
        asked, part = {}, self.values.evaluation
        shared = part.model_dump(exclude_none=True) if part else {}
        all_draws = shared.pop("all_draws", None)
        for c in [*self.grid, *self.sizes] if part else []:
            deepest = all_draws is not None and c.latent_dim == 10 and c.seed == self.seeds[0] and c in self.grid
            asked.setdefault(self.place(c), []).append(shared | ({"all_draws": all_draws} if deepest else {}))
        for name, study in self.values.studies.items():
            own = study.evaluation.model_dump(exclude_none=True) if study.evaluation else {}
            for place in self.places(name) if study.evaluation and (part or own) else []:
                asked.setdefault(place, []).append(shared | own)
        return asked

    def depth(self, place: str) -> dict[str, Any]:
        """The options by which `vaelib evaluate` measures that run as deeply as the deepest part asks."""
        asked = self._asked[place]
        given = [name for name in Evaluation.model_fields if any(name in own for own in asked)]
        options = {name: max(own.get(name, BY_DEFAULT[name]) for own in asked) for name in given if name != "noises"}
        noises = dict.fromkeys(noise for own in asked for noise in own.get("noises", []))
        return options | ({"noise": list(noises)} if noises else {})

    def records(self) -> dict[str, Any]:
        """The content of the files that say which runs belong together, by their place; runs are named as from there.

        studies/NAME.json has arch -> arm -> runs; studies/sizes.json has equal, pairs of runs, and sized, runs.
        """

        def named(c: TrainingConfig) -> str:
            return relpath(self.place(c), "studies")

        files = {
            f"studies/{name}.json": {
                arch: {arm: [named(c) for c in configs] for arm, configs in own.items()} for arch, own in arms.items()
            }
            for name, arms in self.studies.items()
        }
        equal = [[named(matched), named(other)] for matched, other in self.equal]
        return files | {"studies/sizes.json": {"equal": equal, "sized": [named(c) for c in self.sized]}}

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
    """Settings as options of a vaelib command.

    One that is true is a flag without a value. A list of words is an option that is given again for each of them, a
    list of widths is one value.
    """
    given = []
    for name, value in values.items():
        words = isinstance(value, list) and value and all(isinstance(own, str) for own in value)
        for own in value if words else [value]:
            given.append(f"--{name.replace('_', '-')}" + ("" if own is True else f"={as_text(own)}"))
    return given


def in_one_line(error: ValidationError) -> str:
    """The first thing that is wrong: key, value, what is accepted."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"])).removesuffix(".[key]")
    reason = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
    value = repr(first["input"])
    value = value if len(value) < 80 else f"{value[:76]}..."
    return f"{key} {value}: {reason.replace('Input should be', 'accepted is')}" if key else reason
