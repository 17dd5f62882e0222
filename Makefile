# Every target sets up .venv first, from the lock, on Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --configfile
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
# What pip says of each package becomes a line that counts them; on a terminal it is the same line again and again.
COUNTED = awk -v of=$$(grep -c == requirements.txt) -v again=$$(if [ -t 1 ]; then echo 1; fi) \
	'/^(Collecting|Processing|Ignoring|Requirement)/ {printf "%s%d of %d packages: %s", again ? "\r\033[K" : n ? "\n" : "", ++n, of, $$2; fflush()} \
	/^Installing/ {print "\nunpacking them, which takes minutes too"; fflush()}'

.DEFAULT_GOAL := help
.PHONY: help report mnist full publish pages book lab test test-long test-edition bench lint lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

report: .venv/installed ## the whole book on small digits, from nothing, in minutes
	$(SNAKEMAKE) editions/quick.yaml
	@echo "The book is built. Next: open it; vaelib draw draws a run of build/quick/runs; make mnist is the real thing."
	@echo "$(CURDIR)/build/quick/_build/html/index.html"

mnist: .venv/installed ## the course report on MNIST: one seed, without studies and further sizes
	$(SNAKEMAKE) editions/mnist.yaml
	@echo "$(CURDIR)/build/mnist/_build/html/index.html"

full: .venv/installed ## the whole book on MNIST: three seeds, studies, sizes
	$(SNAKEMAKE) editions/full.yaml
	@echo "$(CURDIR)/build/full/_build/html/index.html"

publish: full ## build the full book and make its pages, and the records of its runs, the ones that the project carries
	$(BIN)/python workflow/publish.py build/full/book
	$(BIN)/python workflow/records.py editions/full.yaml

pages: .venv/installed ## refresh the published pages from templates and records; SAME="grid map" where new code changes no output
	$(BIN)/python workflow/pages.py $(if $(SAME),--same $(SAME))

book: .venv/installed ## render the pages that the project carries; trains nothing
	$(BIN)/jupyter-book build --all book/ -W --keep-going
	@echo "$(CURDIR)/_build/html/index.html"

lab: .venv/lab ## open the notebooks in JupyterLab, which is installed first
	$(BIN)/jupyter lab notebooks

test: .venv/installed ## the whole test suite
	$(BIN)/python -m pytest -n auto --dist loadfile

test-long: .venv/installed ## what takes minutes: the published likelihood and memory, on MNIST
	$(BIN)/python -m pytest -m slow

test-edition: .venv/installed ## what CONTRIBUTING.md promises: a new architecture, chapter and measure in an edition of their own
	$(BIN)/python -m pytest -m edition

bench: .venv/installed ## training against a textbook loop, side by side; writes bench/results.json
	$(BIN)/python bench/training.py

lint: .venv/installed ## style, format and imports, as continuous integration checks them
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb
	$(BIN)/lint-imports

lock: ## compile requirements.txt from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url -o requirements.txt

clean: ## remove what was built: editions with their runs, and the rendered book
	rm -rf build _build .snakemake

.venv/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('Python 3.11 or newer is needed: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv: about 6 GB, most of it PyTorch"
	@$(BIN)/pip install --disable-pip-version-check --progress-bar off --no-deps -r requirements.txt | $(COUNTED)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Of JupyterLab's dependencies this one makes every start of a notebook tool seconds slower; all works without it.
.venv/lab: .venv/installed
	@echo "Installing JupyterLab into .venv"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[lab]'
	@$(BIN)/pip uninstall --quiet --yes rfc3987-syntax
	@$(BIN)/python -m ipykernel install --sys-prefix --display-name "Python 3 (vaelib)"
	@touch $@
