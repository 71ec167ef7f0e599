# Each command sets up .venv by itself, once for each state of pyproject.toml: no activation, no separate install.
#   make quickstart   the main job on scikit-learn's digits, to one table and runs/quickstart/report.html
#   make test         the test suite
#   make check        the test suite, ruff, pyright, import-linter
#   make docs         the site, to build/docs/index.html; every warning is an error (make linkcheck: links to other sites)
#   make dist         wheel and source archive, to dist/
# PYTHON=python3.12 names the interpreter that .venv is made with, EPS=8/255 the radius of the quickstart's
# attacks (for another one after a first run, remove runs/quickstart/*/finetune/results).

SHELL := /bin/bash
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p $(NEW_ENOUGH) && echo $$p && exit; done; echo python3)
BIN := .venv/bin
STAMP := .venv/.installed
RUN := $(BIN)/sslkuramoto
QUICK := runs/quickstart
EPS ?= 0.1
WORKERS ?= 2
# What is imported is compiled once and kept; pip would compile all 18,000 modules of the packages.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help quickstart quickstart-models test check docs linkcheck dist
.PRECIOUS: $(QUICK)/%/encoder.safetensors $(QUICK)/%/results/finetune-digits.json \
	$(QUICK)/%/finetune/results/robustness-quick.json

help:
	@sed -n 's/^#   //p' Makefile

$(STAMP): pyproject.toml
	@$(PYTHON) $(NEW_ENOUGH) || { echo "sslkuramoto needs Python 3.11 or newer; $(PYTHON) is" \
		"$$($(PYTHON) --version 2>/dev/null || echo missing): make $(MAKECMDGOALS) PYTHON=..." >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[dev]'
	@touch $@

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs build/docs

linkcheck: $(STAMP)
	$(BIN)/python -m sphinx -b linkcheck -q -d build/doctrees docs build/linkcheck

dist: $(STAMP)
	$(BIN)/python -m hatchling build -d dist

# Each finished part has a file, so that the same command continues where it was stopped. The two models share the
# machine, one thread each: that is as fast as taking turns on two cores, and does not collapse on a busy machine.
quickstart: | $(STAMP)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(MAKE) --no-print-directory -j2 quickstart-models
	$(RUN) report $(QUICK)/akorn $(QUICK)/resnet18 --html $(QUICK)/report.html --title "sslkuramoto quickstart"

quickstart-models: $(foreach model,akorn resnet18,$(QUICK)/$(model)/finetune/results/robustness-quick.json)

$(QUICK)/%/encoder.safetensors: | recipes/digits-%-xphinet.yaml $(STAMP)
	$(RUN) train recipes/digits-$*-xphinet.yaml --run $(@D)

$(QUICK)/%/results/finetune-digits.json: $(QUICK)/%/encoder.safetensors
	$(RUN) evaluate $(QUICK)/$* knn linear clustering finetune-digits

$(QUICK)/%/finetune/results/robustness-quick.json: $(QUICK)/%/results/finetune-digits.json
	$(RUN) evaluate $(QUICK)/$*/finetune robustness-quick eps=$(EPS) --as robustness-quick
