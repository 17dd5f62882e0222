"""Builds an edition of the report: snakemake --configfile editions/quick.yaml

runs -> executed notebooks -> staged pages -> build/EDITION/_build/html/index.html

Snakemake removes the outputs of a job before it starts it. A run that took a night must outlive that: what training
and evaluation leave for Snakemake is a stamp in build/EDITION/done, and the run's folder is left to vaelib, which
replaces a run only by a whole one. Every file between is a target as the site is, because Snakemake does not miss an
intermediate file while the last one is there: a failed edition would count as done.
"""

import json
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)  # the project's own packages win over others of their names

from vaelib.config import InputError
from vaelib.provenance import code_sha256
from workflow import chapters
from workflow.edition import Edition, all_settings, options
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

# A stamp counts while what it stands for is there.
STAMPS = {f"{place}/train": f"{place}/model.safetensors" for place in edition.runs}
STAMPS |= {f"{place}/evaluate": f"{place}/metrics.json" for place in edition.evaluated}
STAMPS |= {"classifier": f"{edition.classifier}/model.safetensors"}
for stamp, file in STAMPS.items() if workflow.is_main_process else []:
    if not Path(BUILD, file).exists():
        Path(DONE, stamp).unlink(missing_ok=True)


def one_of(names):
    return "|".join(map(re.escape, names)) or "(?!)"


def made_before(page):
    """The stamps and files that have to be there before the page is executed."""
    stamps = [f"{DONE}/{place}/train" for place in [*page.trained, *page.evaluated]]
    stamps += [f"{DONE}/{place}/evaluate" for place in page.evaluated]
    stamps += [f"{DONE}/classifier"] if page.evaluated or "classifier" in page.values else []
    return stamps + page.files


wildcard_constraints:
    run=one_of(edition.runs),
    page=one_of(PAGES),
    record=one_of(RECORDS),


rule report:
    input:
        list(dict.fromkeys(before for page in PAGES.values() for before in made_before(page))),
        expand(f"{BUILD}/executed/{{page}}.ipynb", page=PAGES),
        expand(f"{BUILD}/book/pages/{{page}}.ipynb", page=PAGES),
        expand(f"{BUILD}/book/{{file}}", file=[*BOOK, "_toc.yml"]),
        f"{BUILD}/_build/html/index.html",


rule train:
    output:
        touch(f"{DONE}/{{run}}/train"),
    threads: lambda wildcards: edition.runs[wildcards.run].threads
    params:
        flags=lambda wildcards: options(all_settings(edition.runs[wildcards.run])),
        code=code_sha256("vaelib.training.loop"),
        images=IMAGES,
    log:
        f"{BUILD}/logs/{{run}}/train.log",
    shell:
        "{PYTHON:q} -m vaelib.cli train --renew {params.flags:q} > {log:q} 2>&1"


rule classifier:
    priority: 1
    output:
        touch(f"{DONE}/classifier"),
    params:
        flags=options({"dataset": edition.dataset} | edition.values.classifier.model_dump(exclude_none=True) | WHERE),
        code=code_sha256("vaelib.training.classifier"),
        images=IMAGES,
    log:
        f"{BUILD}/logs/classifier.log",
    shell:
        "{PYTHON:q} -m vaelib.cli classifier --renew {params.flags:q} --runs-root={BUILD:q}/runs > {log:q} 2>&1"


rule evaluate:
    input:
        f"{DONE}/{{run}}/train",
        f"{DONE}/classifier",
    output:
        touch(f"{DONE}/{{run}}/evaluate"),
    params:
        flags=lambda wildcards: options(edition.depth(edition.runs[wildcards.run]) | WHERE),
        code=code_sha256("vaelib.evaluation.evaluate"),
    log:
        f"{BUILD}/logs/{{run}}/evaluate.log",
    shell:
        "{PYTHON:q} -m vaelib.cli evaluate {BUILD:q}/{wildcards.run:q} --classifier {BUILD:q}/{edition.classifier:q}"
        " {params.flags:q} > {log:q} 2>&1"


rule record:
    output:
        f"{BUILD}/{{record}}",
    params:
        text=lambda wildcards: json.dumps(RECORDS[wildcards.record], indent=1),
    shell:
        "printf '%s' {params.text:q} > {output:q}"


rule execute:
    input:
        lambda wildcards: made_before(PAGES[wildcards.page]),
        template=lambda wildcards: ancient(PAGES[wildcards.page].template),
    output:
        f"{BUILD}/executed/{{page}}.ipynb",
    params:
        values=lambda wildcards: json.dumps(PAGES[wildcards.page].values),
        code=lambda wildcards: CODE[PAGES[wildcards.page].template],
    log:
        f"{BUILD}/logs/{{page}}.log",
    shell:
        "{PYTHON:q} workflow/execute.py {input.template:q} {output:q} -p {params.values:q} > {log:q} 2>&1"


rule stage:
    input:
        scripts=["workflow/stage.py", "workflow/chapters.py"],
        executed=f"{BUILD}/executed/{{page}}.ipynb",
        template=lambda wildcards: PAGES[wildcards.page].template,
    output:
        f"{BUILD}/book/pages/{{page}}.ipynb",
    params:
        lacking=[f"--lacking={file}" for file in LACKING],
    log:
        f"{BUILD}/logs/{{page}}.stage.log",
    shell:
        "{PYTHON:q} workflow/stage.py {input.executed:q} {input.template:q} {output:q} {params.lacking:q} > {log:q} 2>&1"


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
        expand(f"{BUILD}/book/pages/{{page}}.ipynb", page=PAGES),
        rules.book.output,
        config="_config.yml",
    output:
        f"{BUILD}/_build/html/index.html",
    log:
        f"{BUILD}/logs/site.log",
    shell:
        "{JUPYTER_BOOK:q} build {BUILD:q}/book --config {input.config:q} --path-output {BUILD:q}"
        " --all -W --keep-going -q > {log:q} 2>&1"
