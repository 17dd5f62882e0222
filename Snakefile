"""Builds an edition of the report: snakemake --configfile editions/quick.yaml

runs -> executed notebooks -> staged pages -> build/EDITION/_build/html/index.html
"""

import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from vaelib import InputError
from vaelib.settings import as_text
from workflow.edition import Edition

# cells run side by side, one thread each
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

try:
    edition = Edition(config)
except InputError as error:
    raise WorkflowError(str(error))

BUILD = edition.build
PYTHON = shlex.quote(sys.executable)
EXECUTE = f"{PYTHON} workflow/execute.py"
BOOK = shlex.quote(str(Path(sys.executable).with_name("jupyter-book")))

CONFIGS = {c.run_name: c for c in edition.grid}
MATCHED = {c.run_name: c for c in edition.equal + edition.sized}
ABLATED = {c.run_name: c for changes in edition.ablation.values() for configs in changes.values() for c in configs}
# the runs that have no page of their own
BESIDE = ABLATED | {name: c for name, c in MATCHED.items() if name not in CONFIGS}
# a page for each cell's first seed; the other seeds are in the tables
PAGES = {c.cell_id: c for c in edition.grid if c.seed == edition.seeds[0]}
FOLDERS = {"runs_root": f"{BUILD}/runs", "data_root": edition.grid[0].data_root}
SPEED = "bench/results.json" if Path("bench/results.json").exists() else ""
CLASSIFIER = f"{BUILD}/runs/{edition.dataset}/classifier-s0"
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
    return json.dumps(c.settings() | FOLDERS)


def options(values):
    """Settings as options of a vaelib command."""
    return shlex.join(f"--{name.replace('_', '-')}={as_text(value)}" for name, value in values.items())


def studied(study):
    """The configs whose runs a study reads."""
    beside = {"ablation": list(ABLATED.values()), "equal": edition.equal + edition.convs + edition.sized}
    return beside.get(study, edition.grid)


def study_parameters(study):
    if study == "ablation":
        lines = {
            arch: {change: [str(c.run_path) for c in configs] for change, configs in changes.items()}
            for arch, changes in edition.ablation.items()
        }
        return {"lines": lines}
    if study == "equal":
        paths = {"linear": edition.equal, "conv": edition.convs, "sized": edition.sized}
        return {name: [str(c.run_path) for c in configs] for name, configs in paths.items()}
    own = {"edition": edition.name, "speed": SPEED} if study == "reproduce" else {}
    if study not in ("evolution", "reproduce", "bound"):
        own["data_root"] = FOLDERS["data_root"]
    if study in JUDGED:
        own["classifier"] = CLASSIFIER
    return {"runs": [str(c.run_path) for c in edition.grid]} | own


def finished(configs):
    return [f"{c.run_path}/model.safetensors" for c in configs]


def evaluated(configs):
    return [f"{c.run_path}/metrics.json" for c in configs]


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
        f"{BUILD}/runs/{edition.dataset}/{{run}}/model.safetensors",
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
        f"{BUILD}/runs/{edition.dataset}/{{run}}/model.safetensors",
    wildcard_constraints:
        run="|".join(map(re.escape, BESIDE)),
    params:
        flags=lambda wildcards: options(BESIDE[wildcards.run].settings() | FOLDERS),
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
        flags=options(edition.values["classifier"]),
    log:
        f"{BUILD}/logs/classifier-s0.log",
    shell:
        "rm -rf {CLASSIFIER} && {PYTHON} -m vaelib.cli classifier --dataset {edition.dataset} --runs-root {BUILD}/runs"
        " {params.flags} > {log} 2>&1"


rule evaluate:
    input:
        MEASURES,
        f"{CLASSIFIER}/model.safetensors",
        f"{BUILD}/runs/{edition.dataset}/{{run}}/model.safetensors",
    output:
        f"{BUILD}/runs/{edition.dataset}/{{run}}/metrics.json",
    wildcard_constraints:
        run="|".join(map(re.escape, {**CONFIGS, **MATCHED})),
    params:
        depth=lambda wildcards: options(edition.depth({**CONFIGS, **MATCHED}[wildcards.run])),
    log:
        f"{BUILD}/logs/{{run}}.evaluate.log",
    shell:
        "{PYTHON} -m vaelib.cli evaluate {BUILD}/runs/{edition.dataset}/{wildcards.run} --classifier {CLASSIFIER}"
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
