# Two commands matter: `make run` and `make test`. Each sets up .venv by itself.
PYTHON ?= python3
MINUTES ?= 60
BIN := .venv/bin
SHARED := --numprocesses logical --maxprocesses 4 --dist loadfile  # a file stays together
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run evidence test lint lab bench drawings
help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# pip runs again only when a lock or the package's metadata changed
.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

# what only tests, linters and the recipes for clusters need
.venv/ready-dev: .venv/ready requirements-dev.txt
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@

run: .venv/ready  ## every notebook, quick profile, into reports/quick, then reports/index.html
	$(BIN)/python papermill_runs.py

evidence: .venv/ready  ## MINUTES=60 of trials that the medium profile still lacks, at low priority
	$(BIN)/python papermill_runs.py --evidence $(MINUTES)

test: .venv/ready-dev lint  ## unit tests, notebook rules, then the notebooks against their outputs
	$(BIN)/python -m pytest $(SHARED) tests
	$(BIN)/python -m pytest $(SHARED) --nbval-lax --nbval-current-env \
	  --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks

lint: .venv/ready-dev  ## ruff, on modules and notebooks, and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: .venv/ready  ## JupyterLab in notebooks/
	$(BIN)/jupyter lab --notebook-dir notebooks

bench: .venv/ready  ## speed against plain reference loops
	$(BIN)/python benchmarks/bench.py

drawings: .venv/ready  ## the schematics of the notebooks, notebooks/drawings/*.svg
	for script in $$(ls notebooks/drawings/*.py | grep -v -e parts.py -e strip.py); do $(BIN)/python $$script || exit 1; done
