# Every target sets itself up: only python3 (with its venv module) and make have to be there.

PYTHON ?= python3
DEMO_DIR ?= calreg-demo
PYTEST_ARGS ?=
N ?= 20000

VENV := .venv
PIPELINE_VENV := .venv-pipeline
BIN := $(VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check
INSTALL := $(BIN)/python $(PIP) -c constraints.txt
# What the words and the science cover more closely than the rest (CONVENTIONS: 95 %).
LOWER_FLOORS := calreg/science/*,calreg/instruments/*,calreg/errors.py,calreg/units.py,calreg/domain.py,calreg/flags.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-pipeline coverage attack lint types bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.stamp-demo  ## the main job on a full simulated programme
	$(BIN)/calreg demo $(DEMO_DIR)

test: $(VENV)/.stamp-test  ## all tests, on SQLite and PostgreSQL
	$(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

test-pipeline: $(PIPELINE_VENV)/.stamp-pipeline  ## the proofs with the real JWST pipeline
	$(PIPELINE_VENV)/bin/python -m pytest -m pipeline tests/pipeline $(PYTEST_ARGS)

coverage: $(VENV)/.stamp-test  ## all tests with branch coverage and its limits
	$(BIN)/python -m pytest -n auto --cov --cov-report=term $(PYTEST_ARGS)
	$(BIN)/python -m coverage report --include='$(LOWER_FLOORS)' --fail-under=95

lint: $(VENV)/.stamp-dev  ## ruff, codespell, numpydoc
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	find calreg -name '*.py' -exec $(BIN)/numpydoc lint {} +

types: $(VENV)/.stamp-dev  ## mypy, strict
	$(BIN)/mypy

attack: $(VENV)/.stamp-test  ## N damaged files through every door (N=20000), kills, stopped servers
	CALREG_ATTACK_N=$(N) $(BIN)/python -m pytest -n auto -rP tests/attack $(PYTEST_ARGS)

bench: $(VENV)/.stamp-test  ## the benchmark table
	$(BIN)/python -m benchmarks

clean:  ## remove everything that make has made
	rm -rf $(VENV) $(PIPELINE_VENV) $(DEMO_DIR) build dist htmlcov .coverage .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find calreg migrations tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp-venv $(PIPELINE_VENV)/.stamp-venv:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "calreg needs Python 3.11 or newer, but there is no '$(PYTHON)'; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "calreg needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	    exit 1; }
	$(PYTHON) -m venv $(@D)
	@touch $@

$(VENV)/.stamp-demo: $(VENV)/.stamp-venv pyproject.toml constraints.txt
	$(INSTALL) -e '.[arrow]'
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-venv pyproject.toml constraints.txt
	$(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.stamp-demo

$(VENV)/.stamp-dev: $(VENV)/.stamp-venv pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.stamp-test $(VENV)/.stamp-demo

# An environment of its own: jwst asks for older releases of asdf and drizzle.
$(PIPELINE_VENV)/.stamp-pipeline: $(PIPELINE_VENV)/.stamp-venv pyproject.toml constraints-pipeline.txt
	$(PIPELINE_VENV)/bin/python $(PIP) -c constraints-pipeline.txt -e '.[test,pipeline]'
	@touch $@
