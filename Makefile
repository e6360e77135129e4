# make predict   the main job: what a JVM of 4 GiB pays to start another program
# make test      lint, types, layers, tests
# make stress    what takes an hour: a sweep and a calibration killed at 20 instants each, a million points, every price
#                seeded wrong, a hundred resamples
# make questions what the model was built to answer, in words
# make renew     after a calibration: derive the machine files from the literature, accept the answers of now, store the
#                outputs of the notebooks
# make bench | notebooks | docs | lock | clean
#
# Needed: python3 (3.11 or newer, with venv), make, a C compiler. Everything else is installed into .venv, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_LOCK := .locks/run.lock
DEV_LOCK := .locks/dev.lock
PYTEST_ARGS ?=

# The stamps bear the folder's checksum: a copied or moved clone has scripts that point elsewhere and makes its own .venv.
# Every pin of the run lock is in the development lock too, so whoever installed the latter has both.
HERE := $(shell pwd -P | cksum | cut -d ' ' -f 1)
MADE := $(VENV)/.made-$(HERE)
RUN := $(VENV)/.run-$(HERE)
DEV := $(VENV)/.dev-$(HERE)

INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
EDITABLE = $(INSTALL) --no-deps --no-build-isolation -e .

.DEFAULT_GOAL := predict
.PHONY: predict test stress lint bench questions notebooks renew docs lock clean

predict: $(RUN)
	@$(BIN)/spawncost main-job

test: lint
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

stress: $(DEV)
	@SPAWNCOST_KILLS=20 SPAWNCOST_POINTS=1000000 SPAWNCOST_RESAMPLES=100 $(BIN)/python -m pytest $(PYTEST_ARGS) \
	  tests/experiments/test_sweep_killed.py tests/calibration/test_check.py tests/calibration/test_killed.py

lint: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(RUN)
	@$(BIN)/python -m experiments.bench

questions: $(RUN)
	@$(BIN)/python -m experiments.questions

notebooks: $(DEV)
	@$(BIN)/python -m pytest $(PYTEST_ARGS) tests/test_notebooks.py

renew: $(DEV)
	@$(BIN)/python -m calibration.literature
	@$(BIN)/spawncost check --expected --accept
	@$(BIN)/jupyter execute --inplace notebooks/*.ipynb

docs: $(DEV)
	@$(BIN)/python -m experiments.docs

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'make: $(PYTHON) is missing or older than 3.11 (name a newer one: make PYTHON=python3.12 ...)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'make: $(PYTHON) has no venv with pip (on Debian and Ubuntu: apt-get install python3-venv)' >&2; exit 1; }
	@echo 'making $(VENV) (once) ...' >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(RUN): $(RUN_LOCK) pyproject.toml | $(MADE)
	@echo 'installing from $(RUN_LOCK) ...' >&2
	@$(INSTALL) --require-hashes -r $(RUN_LOCK)
	@$(EDITABLE)
	@touch $@

$(DEV): $(DEV_LOCK) pyproject.toml | $(MADE)
	@echo 'installing from $(DEV_LOCK) ...' >&2
	@$(INSTALL) --require-hashes -r $(DEV_LOCK)
	@$(EDITABLE)
	@touch $@ $(RUN)

# The locks, made anew from pyproject.toml: for every platform and Python >= 3.11, with hashes, without index addresses.
# Pins that still fit stay; UPGRADE=--upgrade moves them. uv itself comes into a temporary virtualenv.
UPGRADE ?=
COMPILE = pip compile -q --no-config --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-build-options $(UPGRADE)
lock:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && $(PYTHON) -m venv "$$tmp" && \
	"$$tmp/bin/pip" install -qq --disable-pip-version-check uv && \
	"$$tmp/bin/uv" $(COMPILE) pyproject.toml .locks/build.in -o $(RUN_LOCK) && \
	"$$tmp/bin/uv" $(COMPILE) -c $(RUN_LOCK) --group dev pyproject.toml .locks/build.in -o $(DEV_LOCK)

clean:
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
