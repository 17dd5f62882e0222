"""Builds an edition of the report: snakemake --configfile editions/quick.yaml

runs -> executed notebooks -> staged pages -> build/EDITION/_build/html/index.html

Snakemake removes the outputs of a job before it starts it. A run that took a night must outlive that: what a job leaves
for Snakemake is a stamp in build/EDITION/done, and its files are left to the command, which replaces a run only by a
whole one. Every stamp is a target as the site is, because Snakemake does not miss an intermediate file while the last
one is there: a failed edition would count as done.

Where the edition says so, one job takes a group of models: starting Python takes longer than a small model trains.
"""

import atexit
import json
import os
import re
import sys
from pathlib import Path

from snakemake.logging import logger

sys.path.insert(0, workflow.basedir)  # the project's own packages win over others of their names

from vaelib.config import InputError
from vaelib.provenance import code_sha256
from workflow import chapters
from workflow.edition import Edition, all_settings, options
from workflow.progress import Steps
from workflow.sources import notebook_code

# Jobs run side by side, one thread each.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

try:
    edition = Edition(config)
    PAGES, TOC, LACKING = chapters.pages(edition), chapters.contents(edition), chapters.absent(edition)
except InputError as error:
    sys.exit(": ".join([*map(os.path.relpath, workflow.configfiles), str(error)]))

PYTHON = sys.executable
JUPYTER_BOOK = str(Path(sys.executable).with_name("jupyter-book"))
BUILD = edition.build
DONE = f"{BUILD}/done"
BOOK = chapters.book_files()
RECORDS = edition.records()
IMAGES = edition.images()
WHERE = {"data_root": edition.data_root} if edition.data_root else {}
CODE = {template: notebook_code(chapters.read(template)) for template in {page.template for page in PAGES.values()}}
BATCHES = chapters.batches(PAGES)
STUDIED = chapters.unique([place for study in edition.studies for place in edition.places(study)])
EVALUATED = {group: [place for place in places if place in edition.evaluated] for group, places in edition.groups.items()}
EVALUATED = {group: places for group, places in EVALUATED.items() if places}
GROUP = {place: group for group, places in edition.groups.items() for place in places}

# What each stamp stands for; a stamp counts while that is there.
STAMPS = {f"train/{group}": [f"{place}/model.safetensors" for place in own] for group, own in edition.groups.items()}
STAMPS |= {f"evaluate/{group}": [f"{place}/metrics.json" for place in own] for group, own in EVALUATED.items()}
STAMPS |= {"classifier": [f"{edition.classifier}/model.safetensors"]}
STAMPS |= {f"execute/{batch}": [f"executed/{page}.ipynb" for page in own] for batch, own in BATCHES.items()}
STAMPS |= {f"stage/{batch}": [f"book/pages/{page}.ipynb" for page in own] for batch, own in BATCHES.items()}
for stamp, files in STAMPS.items() if workflow.is_main_process else []:
    if not all(Path(BUILD, file).exists() for file in files):
        Path(DONE, stamp).unlink(missing_ok=True)


def one_of(names):
    return "|".join(map(re.escape, names)) or "(?!)"


def made_before(batch):
    """The stamps and files that have to be there before the pages are executed."""
    stamps, files = [], []
    for page in (PAGES[name] for name in BATCHES[batch]):
        stamps += [f"{DONE}/train/{GROUP[place]}" for place in [*page.trained, *page.evaluated]]
        stamps += [f"{DONE}/evaluate/{GROUP[place]}" for place in page.evaluated]
        stamps += [f"{DONE}/classifier"] if page.evaluated or "classifier" in page.values else []
        files += page.files
    return chapters.unique(stamps + files)


def of_studies():
    """The stamps and files of all studies, also of one that no page shows."""
    stamps = [f"{DONE}/train/{GROUP[place]}" for place in STUDIED]
    stamps += [f"{DONE}/evaluate/{GROUP[place]}" for place in STUDIED if place in edition.evaluated]
    return stamps + [f"{BUILD}/studies/{study}.json" for study in edition.studies]


def trainings(group):
    """The commands that train the group's models, by the models' folders."""
    configs = {place: edition.runs[place] for place in edition.groups[group]}
    return {place: ["train", "--renew", *options(all_settings(c))] for place, c in configs.items()}


def evaluations(group):
    """The commands that measure the group's models, by the models' folders."""
    classifier = f"--classifier={BUILD}/{edition.classifier}"
    depths = {place: options(edition.depth(place) | WHERE) for place in EVALUATED[group]}
    return {place: ["evaluate", f"{BUILD}/{place}", classifier, *depth] for place, depth in depths.items()}


wildcard_constraints:
    group=one_of(edition.groups),
    batch=one_of(BATCHES),
    record=one_of(RECORDS),


rule report:
    input:
        chapters.unique([*(before for batch in BATCHES for before in made_before(batch)), *of_studies()]),
        expand(f"{DONE}/{{rule}}/{{batch}}", rule=["execute", "stage"], batch=BATCHES),
        expand(f"{BUILD}/book/{{file}}", file=[*BOOK, "_toc.yml"]),
        f"{BUILD}/_build/html/index.html",


rule train:
    output:
        f"{DONE}/train/{{group}}",
    threads: lambda wildcards: max(edition.runs[place].threads for place in edition.groups[wildcards.group])
    params:
        commands=lambda wildcards: json.dumps(trainings(wildcards.group)),
        code=code_sha256("vaelib.training.loop"),
        images=IMAGES,
    log:
        f"{BUILD}/logs/train/{{group}}.log",
    shell:
        "{PYTHON:q} workflow/together.py {params.commands:q} > {log:q} 2>&1 && touch {output:q}"


rule classifier:
    priority: 1
    output:
        f"{DONE}/classifier",
    params:
        flags=options({"dataset": edition.dataset} | edition.values.classifier.model_dump(exclude_none=True) | WHERE),
        code=code_sha256("vaelib.training.classifier"),
        images=IMAGES,
    log:
        f"{BUILD}/logs/classifier.log",
    shell:
        "{PYTHON:q} -m vaelib.cli classifier --renew {params.flags:q} --runs-root={BUILD:q}/runs > {log:q} 2>&1"
        " && touch {output:q}"


rule evaluate:
    input:
        f"{DONE}/train/{{group}}",
        f"{DONE}/classifier",
    output:
        f"{DONE}/evaluate/{{group}}",
    params:
        commands=lambda wildcards: json.dumps(evaluations(wildcards.group)),
        code=code_sha256("vaelib.evaluation.evaluate"),
    log:
        f"{BUILD}/logs/evaluate/{{group}}.log",
    shell:
        "{PYTHON:q} workflow/together.py {params.commands:q} > {log:q} 2>&1 && touch {output:q}"


rule record:
    output:
        f"{BUILD}/{{record}}",
    params:
        text=lambda wildcards: json.dumps(RECORDS[wildcards.record], indent=1),
    shell:
        "printf '%s' {params.text:q} > {output:q}"


rule execute:
    input:
        lambda wildcards: made_before(wildcards.batch),
        template=lambda wildcards: ancient(PAGES[BATCHES[wildcards.batch][0]].template),
    output:
        f"{DONE}/execute/{{batch}}",
    params:
        outs=lambda wildcards: [f"{BUILD}/executed/{page}.ipynb" for page in BATCHES[wildcards.batch]],
        values=lambda wildcards: [f"--parameters={json.dumps(PAGES[page].values)}" for page in BATCHES[wildcards.batch]],
        code=lambda wildcards: CODE[PAGES[BATCHES[wildcards.batch][0]].template],
    log:
        f"{BUILD}/logs/execute/{{batch}}.log",
    shell:
        "{PYTHON:q} workflow/execute.py {input.template:q} {params.outs:q} {params.values:q} > {log:q} 2>&1"
        " && touch {output:q}"


rule stage:
    input:
        f"{DONE}/execute/{{batch}}",
        scripts=["workflow/stage.py", "workflow/chapters.py", "workflow/sources.py"],
        template=lambda wildcards: PAGES[BATCHES[wildcards.batch][0]].template,
    output:
        f"{DONE}/stage/{{batch}}",
    params:
        pages=lambda wildcards: [f"{BUILD}/executed/{page}.ipynb" for page in BATCHES[wildcards.batch]],
        lacking=[f"--lacking={file}" for file in LACKING],
    log:
        f"{BUILD}/logs/stage/{{batch}}.log",
    shell:
        "{PYTHON:q} workflow/stage.py {input.template:q} {params.pages:q} {BUILD:q}/book/pages {params.lacking:q}"
        " > {log:q} 2>&1 && touch {output:q}"


rule book:
    input:
        "workflow/chapters.py",
        expand("book/{file}", file=BOOK),
    output:
        expand(f"{BUILD}/book/{{file}}", file=[*BOOK, "_toc.yml"]),
    params:
        toc=json.dumps(TOC),
    log:
        f"{BUILD}/logs/book.log",
    shell:
        "{PYTHON:q} workflow/chapters.py {BUILD:q}/book {params.toc:q} > {log:q} 2>&1"


rule site:
    input:
        expand(f"{DONE}/stage/{{batch}}", batch=BATCHES),
        rules.book.output,
        config="_config.yml",
    output:
        f"{BUILD}/_build/html/index.html",
    log:
        f"{BUILD}/logs/site.log",
    shell:
        "{JUPYTER_BOOK:q} build {BUILD:q}/book --config {input.config:q} --path-output {BUILD:q}"
        " --all -W --keep-going -q > {log:q} 2>&1"


steps = Steps()
if workflow.is_main_process:
    logger.addHandler(steps)
    atexit.register(steps.end)
