"""An edition of the report, as editions/*.yaml names it: which models are trained, evaluated and compared.

Everything is checked before anything is trained.
"""

import itertools
from typing import Any

from vaelib import InputError, models
from vaelib.config import TrainingConfig

KEYS = {
    "edition", "dataset", "archs", "latent_dims", "seeds", "settings", "classifier", "evaluation", "sizes", "ablation",
}  # fmt: skip
# the keys of each part, and whether all have to be there
PARTS = {
    "classifier": ({"epochs", "batch_size"}, False),
    "evaluation": ({"draws", "images", "all_draws", "resamplings"}, False),
    "sizes": ({"latent_dim", "parameters"}, True),
    "ablation": ({"settings", "latent_dims", "seeds", "changes"}, True),
}
# lines of every ablation
ALWAYS = {"tuned": {}, "the textbook cell": {"preset": "textbook"}}


class Edition:
    """The edition of these values; InputError names one that means nothing.

    grid      a config for each architecture, latent_dim and seed
    ablation  arch -> change -> configs: each change of a tuned cell, measured on training images that were held out
    equal     linear models of each conv's number of parameters, in the order of convs
    sized     both architectures at further sizes
    """

    def __init__(self, values: dict[str, Any]):
        check(values)
        self.values = values
        self.name, self.dataset, self.seeds = values["edition"], values["dataset"], values["seeds"]
        self.build = f"build/{self.name}"
        cells = itertools.product(values["archs"], values["latent_dims"], self.seeds)
        self.grid = [self.cell(*cell) for cell in cells]
        self.convs = [c for c in self.grid if c.arch == "conv"]
        self.ablation = self._ablation(values["ablation"])
        self.equal = [
            self.matched("linear", c.latent_dim, c.seed, models.count_parameters(models.build(c))) for c in self.convs
        ]
        self.sized = [
            self.matched(arch, values["sizes"]["latent_dim"], seed, parameters)
            for parameters in values["sizes"]["parameters"]
            for arch in ("linear", "conv")
            for seed in self.seeds
        ]

    def cell(self, arch: str, latent_dim: int, seed: int, settings: dict[str, Any] | None = None) -> TrainingConfig:
        """The edition's config of that cell, with these settings changed."""
        own = dict(dataset=self.dataset, arch=arch, latent_dim=latent_dim, seed=seed, runs_root=f"{self.build}/runs")
        return TrainingConfig.from_mapping(self.values["settings"] | (settings or {}) | own)

    def matched(self, arch: str, latent_dim: int, seed: int, parameters: int) -> TrainingConfig:
        """The arch's cell with its widths scaled to that many parameters."""
        own = dict(dataset=self.dataset, seed=seed, runs_root=f"{self.build}/runs")
        return models.match_parameters(arch, latent_dim, parameters, **self.values["settings"] | own)

    def depth(self, c: TrainingConfig) -> dict[str, int]:
        """How deeply a model is evaluated: on all images the grid's models of ten dimensions of the first seed."""
        own = {key: value for key, value in self.values["evaluation"].items() if key != "all_draws"}
        if c.latent_dim == 10 and c.seed == self.seeds[0] and c in self.grid:
            own["all_draws"] = self.values["evaluation"].get("all_draws", 0)
        return own

    def _ablation(self, part: dict[str, Any]) -> dict[str, dict[str, list[TrainingConfig]]]:
        cells = list(itertools.product(part["latent_dims"], part["seeds"]))
        lines = {
            arch: {
                change: [self.cell(arch, latent_dim, seed, part["settings"] | settings) for latent_dim, seed in cells]
                for change, settings in {**ALWAYS, **changes}.items()
            }
            for arch, changes in part["changes"].items()
        }
        names = {c.run_name for changes in lines.values() for configs in changes.values() for c in configs}
        if names & {c.run_name for c in self.grid}:
            raise InputError(f"ablation: settings {part['settings']} make a cell of the grid: hold some images out")
        return lines


def check(values: dict[str, Any]):
    """InputError where a key is missing or unknown, or a value is not what the report needs."""
    if set(values) != KEYS:
        has = ", ".join(sorted(values)) or "none"
        raise InputError(
            f"an edition has the keys {', '.join(sorted(KEYS))}, this one has {has}: "
            "give --configfile editions/quick.yaml"
        )
    for key, example in (("archs", "[linear, conv]"), ("latent_dims", "[2, 10]"), ("seeds", "[0, 1]")):
        if not isinstance(values[key], list) or not values[key]:
            raise InputError(f"{key} {values[key]!r}: accepted is a list such as {example}")
    for part, (accepted, all_needed) in PARTS.items():
        own = values[part]
        if not isinstance(own, dict) or set(own) - accepted or (all_needed and set(own) != accepted):
            kind = "accepted are the keys" if all_needed else "accepted are any of"
            raise InputError(f"{part} {own!r}: {kind} {', '.join(sorted(accepted))}, as in editions/quick.yaml")
    ablation = values["ablation"]
    for key, kind in (("settings", dict), ("latent_dims", list), ("seeds", list), ("changes", dict)):
        if not isinstance(ablation[key], kind):
            raise InputError(f"ablation: {key} {ablation[key]!r}: accepted is what editions/quick.yaml has there")
    if len(ablation["seeds"]) < 2:
        raise InputError(f"ablation: seeds {ablation['seeds']}: an interval needs two at least")
    if any(name in changes for changes in ablation["changes"].values() for name in ALWAYS):
        raise InputError(f"ablation: {' and '.join(ALWAYS)} are lines of every ablation: name the changes only")
    if not isinstance(values["settings"], dict):
        raise InputError(f"settings {values['settings']!r}: accepted are pairs such as {{epochs: 15}}, or {{}}")
    twice = {"dataset", "arch", "latent_dim", "seed", "runs_root"} & set(values["settings"])
    if twice:
        raise InputError(f"settings of the edition name {', '.join(sorted(twice))}, which the edition itself decides")
    if not {2, 3} <= set(values["latent_dims"]):
        dims = values["latent_dims"]
        raise InputError(f"latent_dims {dims}: the chapters on the latent space need 2 and 3 among them")
    if not {"linear", "conv"} <= set(values["archs"]):
        archs = values["archs"]
        raise InputError(f"archs {archs}: the chapter on equal size needs linear and conv among them")
