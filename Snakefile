"""Builds an edition of the report: snakemake --configfile editions/quick.yaml

runs -> executed notebooks -> staged pages -> build/EDITION/_build/html/index.html
"""

import itertools
import json
import os
import re
import shlex
import sys
from pathlib import Path

from vaelib import InputError, models
from vaelib.config import TrainingConfig
from vaelib.settings import as_text
from snakemake.exceptions import WorkflowError

# cells run side by side, one thread each
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

KEYS = {
    "edition", "dataset", "archs", "latent_dims", "seeds", "settings", "classifier", "evaluation", "sizes", "ablation",
}
if set(config) != KEYS:
    raise WorkflowError(
        f"an edition has the keys {', '.join(sorted(KEYS))}, this one has {', '.join(sorted(config)) or 'none'}: "
        "give --configfile editions/quick.yaml"
    )

for key in ("archs", "latent_dims", "seeds"):
    if not isinstance(config[key], list) or not config[key]:
        example = "[linear, conv]" if key == "archs" else "[2, 10]"
        raise WorkflowError(f"{key} {config[key]!r}: accepted is a list such as {example}")
ABLATION_KEYS = {"settings", "latent_dims", "seeds", "changes"}
if not isinstance(config["ablation"], dict) or set(config["ablation"]) != ABLATION_KEYS:
    raise WorkflowError(f"ablation: accepted are the keys {', '.join(sorted(ABLATION_KEYS))}, as in editions/quick.yaml")
for key, kind in (("settings", dict), ("latent_dims", list), ("seeds", list), ("changes", dict)):
    if not isinstance(config["ablation"][key], kind):
        raise WorkflowError(f"ablation: {key} {config['ablation'][key]!r}: accepted is what editions/quick.yaml has there")
if len(config["ablation"]["seeds"]) < 2:
    raise WorkflowError(f"ablation: seeds {config['ablation']['seeds']}: an interval needs two at least")
if not isinstance(config["classifier"], dict) or set(config["classifier"]) - {"epochs", "batch_size"}:
    raise WorkflowError(f"classifier {config['classifier']!r}: accepted are epochs and batch_size, or {{}}")
EVALUATION_KEYS = {"draws", "images", "all_draws", "resamplings"}
if not isinstance(config["evaluation"], dict) or set(config["evaluation"]) - EVALUATION_KEYS:
    raise WorkflowError(f"evaluation {config['evaluation']!r}: accepted are {', '.join(sorted(EVALUATION_KEYS))}, or {{}}")
if not isinstance(config["sizes"], dict) or set(config["sizes"]) != {"latent_dim", "parameters"}:
    raise WorkflowError(f"sizes {config['sizes']!r}: accepted are latent_dim and parameters, as in editions/quick.yaml")
if not isinstance(config["settings"], dict):
    raise WorkflowError(f"settings {config['settings']!r}: accepted are pairs such as {{epochs: 15}}, or {{}}")
twice = {"dataset", "arch", "latent_dim", "seed", "runs_root"} & set(config["settings"])
if twice:
    raise WorkflowError(f"settings of the edition name {', '.join(sorted(twice))}, which the edition itself decides")

BUILD = f"build/{config['edition']}"
PYTHON = shlex.quote(sys.executable)
EXECUTE = f"{PYTHON} workflow/execute.py"
BOOK = shlex.quote(str(Path(sys.executable).with_name("jupyter-book")))


def cell(arch, latent_dim, seed, changed={}):
    own = dict(dataset=config["dataset"], arch=arch, latent_dim=latent_dim, seed=seed, runs_root=f"{BUILD}/runs")
    try:
        return TrainingConfig.from_mapping(config["settings"] | changed | own)
    except InputError as error:
        raise WorkflowError(f"edition {config['edition']}: {error}")


GRID = [cell(*values) for values in itertools.product(config["archs"], config["latent_dims"], config["seeds"])]
if not {2, 3} <= set(config["latent_dims"]):
    raise WorkflowError(f"latent_dims {config['latent_dims']}: the chapters on the latent space need 2 and 3 among them")
if not {"linear", "conv"} <= set(config["archs"]):
    raise WorkflowError(f"archs {config['archs']}: the chapter on equal size needs linear and conv among them")
if any(name in changes for changes in config["ablation"]["changes"].values() for name in ("tuned", "the textbook cell")):
    raise WorkflowError("ablation: the tuned and the textbook cell are lines of every ablation: name the changes only")
ALWAYS = {"tuned": {}, "the textbook cell": {"preset": "textbook"}}
# the ablation: each change of a tuned cell, measured on training images that were held out
ABLATION = {
    arch: {
        change: [
            cell(arch, latent_dim, seed, config["ablation"]["settings"] | settings)
            for latent_dim in config["ablation"]["latent_dims"]
            for seed in config["ablation"]["seeds"]
        ]
        for change, settings in {**ALWAYS, **changes}.items()
    }
    for arch, changes in config["ablation"]["changes"].items()
}


def matched(arch, latent_dim, seed, parameters):
    """The arch's cell with its widths scaled to that many parameters."""
    own = dict(dataset=config["dataset"], seed=seed, runs_root=f"{BUILD}/runs")
    try:
        return models.match_parameters(arch, latent_dim, parameters, **config["settings"] | own)
    except InputError as error:
        raise WorkflowError(f"edition {config['edition']}: {error}")


CONVS = [c for c in GRID if c.arch == "conv"]
# dense against conv at equal size: linear models of each conv's number of parameters, then both at further sizes
EQUAL = [matched("linear", c.latent_dim, c.seed, models.count_parameters(models.build(c))) for c in CONVS]
SIZED = [
    matched(arch, config["sizes"]["latent_dim"], seed, parameters)
    for parameters in config["sizes"]["parameters"]
    for arch in ("linear", "conv")
    for seed in config["seeds"]
]
CONFIGS = {c.run_name: c for c in GRID}
MATCHED = {c.run_name: c for c in EQUAL + SIZED}
ABLATED = {c.run_name: c for changes in ABLATION.values() for configs in changes.values() for c in configs}
# the runs that have no page of their own
BESIDE = ABLATED | {name: c for name, c in MATCHED.items() if name not in CONFIGS}
if set(ABLATED) & set(CONFIGS):
    raise WorkflowError(f"ablation: settings {config['ablation']['settings']} make a cell of the grid: hold some images out")
# a page for each cell's first seed; the other seeds are in the tables
PAGES = {c.cell_id: c for c in GRID if c.seed == config["seeds"][0]}
SPEED = "bench/results.json" if Path("bench/results.json").exists() else ""
CLASSIFIER = f"{BUILD}/runs/{config['dataset']}/classifier-s0"
# the chapters on the latent space; those that a classifier judges
LATENT = ["embeddings", "evolution", "map", "interpolation", "classes", "confusion"]
JUDGED = ["map", "interpolation", "classes", "confusion", "samples"]
# the chapters that read metrics.json
MEASURED = ["bound", "rate", "samples", "equal"]
STUDIES = ["grid", *MEASURED, *LATENT, "ablation", "reproduce"]
# what chapters show, or give to take along, beside a page
FILES = ["grid-reconstructions.png", "evolution-plane.gif", "interpolation-morph.gif"]
CHAPTERS = [
    str(file.relative_to("book"))
    for file in sorted(Path("book").rglob("*"))
    if file.is_file() and file.parts[1] not in ("pages", "_build", "_toc.yml")
]


def parameters(c):
    return json.dumps(c.settings() | {"runs_root": c.runs_root, "data_root": c.data_root})


def flags(c):
    """The settings of a config as options of vaelib train."""
    values = c.settings() | {"runs_root": c.runs_root, "data_root": c.data_root}
    return shlex.join(f"--{name.replace('_', '-')}={as_text(value)}" for name, value in values.items())


def studied(study):
    """The configs whose runs a study reads."""
    return {"ablation": list(ABLATED.values()), "equal": EQUAL + CONVS + SIZED}.get(study, GRID)


def study_parameters(study):
    if study == "ablation":
        lines = {
            arch: {change: [str(c.run_path) for c in configs] for change, configs in changes.items()}
            for arch, changes in ABLATION.items()
        }
        return {"lines": lines}
    if study == "equal":
        paths = {"linear": EQUAL, "conv": CONVS, "sized": SIZED}
        return {name: [str(c.run_path) for c in configs] for name, configs in paths.items()}
    own = {"edition": config["edition"], "speed": SPEED} if study == "reproduce" else {}
    if study not in ("evolution", "reproduce", "bound"):
        own["data_root"] = GRID[0].data_root
    if study in JUDGED:
        own["classifier"] = CLASSIFIER
    return {"runs": [str(c.run_path) for c in GRID]} | own


def finished(configs):
    return [f"{c.run_path}/model.safetensors" for c in configs]


def evaluated(configs):
    return [f"{c.run_path}/metrics.json" for c in configs]


def depth(c):
    """The options of vaelib evaluate for a config: all images for the models of ten dimensions of the first seed."""
    own = {key: value for key, value in config["evaluation"].items() if key != "all_draws"}
    if c.latent_dim == 10 and c.seed == config["seeds"][0] and c.run_name in CONFIGS:
        own["all_draws"] = config["evaluation"].get("all_draws", 0)
    return shlex.join(f"--{key.replace('_', '-')}={value}" for key, value in own.items())


rule site:
    input:
        expand(f"{BUILD}/book/pages/{{page}}.ipynb", page=STUDIES + list(PAGES)),
        expand(f"{BUILD}/book/{{file}}", file=[*CHAPTERS, "_toc.yml"]),
        config="_config.yml",
    output:
        f"{BUILD}/_build/html/index.html",
    log:
        f"{BUILD}/logs/site.log",
    shell:
        "{BOOK} build {BUILD}/book --config {input.config} --path-output {BUILD}"
        " -W --keep-going -q > {log} 2>&1"


def modules(*names):
    return [f"vaelib/{name}.py" for name in names]


TRAINS = modules(
    "__init__", "config", "settings", "data", "layers", "models", "objective", "provenance", "run", "step", "training"
)
MEASURES = modules("likelihood", "quality", "features", "density", "measures", "evaluation")
# what the chapters are drawn with
DRAWS = modules("tables", "intervals", "plots", "curve_plots")
DRAWS_LATENT = modules("latent", "latent_plots", "map_plots", "embedding", "density", "paths", "films")
DRAWS_MEASURED = modules("measure_plots", "latent_plots", "map_plots", "comparison")


rule train:
    priority: 1  # before the ablation
    input:
        TRAINS,
        template=ancient("notebooks/train.ipynb"),
        execute=ancient("workflow/execute.py"),
    output:
        f"{BUILD}/runs/{config['dataset']}/{{run}}/model.safetensors",
    wildcard_constraints:
        run="|".join(map(re.escape, CONFIGS)),
    params:
        settings=lambda wildcards: parameters(CONFIGS[wildcards.run]),
    log:
        f"{BUILD}/logs/{{run}}.log",
    shell:
        "{EXECUTE} {input.template} {BUILD}/logs/{wildcards.run}.ipynb --until train -p {params.settings:q} > {log} 2>&1"


rule train_beside:
    input:
        TRAINS,
    output:
        f"{BUILD}/runs/{config['dataset']}/{{run}}/model.safetensors",
    wildcard_constraints:
        run="|".join(map(re.escape, BESIDE)),
    params:
        flags=lambda wildcards: flags(BESIDE[wildcards.run]),
    log:
        f"{BUILD}/logs/{{run}}.log",
    shell:
        "{PYTHON} -m vaelib.cli train {params.flags} > {log} 2>&1"


rule classifier:
    priority: 2
    input:
        modules("classifier", "classifier_training"),
    output:
        f"{CLASSIFIER}/model.safetensors",
    params:
        flags=shlex.join(f"--{key.replace('_', '-')}={value}" for key, value in config["classifier"].items()),
    log:
        f"{BUILD}/logs/classifier-s0.log",
    shell:
        "rm -rf {CLASSIFIER} && {PYTHON} -m vaelib.cli classifier --dataset {config[dataset]} --runs-root {BUILD}/runs"
        " {params.flags} > {log} 2>&1"


rule evaluate:
    input:
        MEASURES,
        f"{CLASSIFIER}/model.safetensors",
        f"{BUILD}/runs/{config['dataset']}/{{run}}/model.safetensors",
    output:
        f"{BUILD}/runs/{config['dataset']}/{{run}}/metrics.json",
    wildcard_constraints:
        run="|".join(map(re.escape, {**CONFIGS, **MATCHED})),
    params:
        depth=lambda wildcards: depth({**CONFIGS, **MATCHED}[wildcards.run]),
    log:
        f"{BUILD}/logs/{{run}}.evaluate.log",
    shell:
        "{PYTHON} -m vaelib.cli evaluate {BUILD}/runs/{config[dataset]}/{wildcards.run} --classifier {CLASSIFIER}"
        " {params.depth} > {log} 2>&1"


rule page:
    input:
        lambda wildcards: finished([PAGES[wildcards.cell]]),
        modules("latent", "plots", "curve_plots"),
        template="notebooks/train.ipynb",
    output:
        f"{BUILD}/executed/{{cell}}.ipynb",
    wildcard_constraints:
        cell="|".join(PAGES),
    params:
        settings=lambda wildcards: parameters(PAGES[wildcards.cell]),
    log:
        f"{BUILD}/logs/{{cell}}.page.log",
    shell:
        "{EXECUTE} {input.template} {output} -p {params.settings:q} > {log} 2>&1"


rule study:
    input:
        lambda wildcards: finished(studied(wildcards.study)),
        lambda wildcards: [SPEED] if SPEED and wildcards.study == "reproduce" else [],
        lambda wildcards: [f"{CLASSIFIER}/model.safetensors"] if wildcards.study in JUDGED else [],
        lambda wildcards: DRAWS_LATENT if wildcards.study in LATENT else [],
        lambda wildcards: evaluated(studied(wildcards.study)) if wildcards.study in MEASURED else [],
        lambda wildcards: DRAWS_MEASURED if wildcards.study in MEASURED else [],
        DRAWS,
        template="notebooks/{study}.ipynb",
    output:
        f"{BUILD}/executed/{{study}}.ipynb",
    wildcard_constraints:
        study="|".join(STUDIES),
    params:
        settings=lambda wildcards: json.dumps(study_parameters(wildcards.study)),
    log:
        f"{BUILD}/logs/{{study}}.log",
    shell:
        "{EXECUTE} {input.template} {output} -p {params.settings:q} > {log} 2>&1"


rule stage:
    input:
        executed=expand(f"{BUILD}/executed/{{page}}.ipynb", page=STUDIES + list(PAGES)),
        script="workflow/stage.py",
    output:
        expand(f"{BUILD}/book/pages/{{page}}.ipynb", page=STUDIES + list(PAGES)),
        expand(f"{BUILD}/book/pages/{{file}}", file=FILES),
    log:
        f"{BUILD}/logs/stage.log",
    shell:
        "{PYTHON} {input.script} {BUILD}/book/pages {input.executed} > {log} 2>&1"


rule chapter:
    input:
        "book/{file}",
    output:
        f"{BUILD}/book/{{file}}",
    wildcard_constraints:
        file="|".join(map(re.escape, CHAPTERS)),
    shell:
        "cp {input} {output}"


rule contents:
    input:
        toc="book/_toc.yml",
        script="workflow/toc.py",
    output:
        f"{BUILD}/book/_toc.yml",
    params:
        cells=list(PAGES),
    shell:
        "{PYTHON} {input.script} {input.toc} {output} {params.cells}"
