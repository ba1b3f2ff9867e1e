# The only way to run anything: people, pre-commit and CI use these same targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= python3
# Test tools that are built once, outside the checkout.
export TRAININGJOB_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/trainingjob
# A folder with a CPU build of torch, if there is one beside the checkout.
WHEELS := $(wildcard ../shared/wheels)
ifneq ($(WHEELS),)
export UV_FIND_LINKS := $(abspath $(WHEELS))
endif
export PATH := $(abspath $(BIN)):$(PATH)
.PHONY: help setup demo test unit simulation integration e2e bench lint format typecheck imports verify generate clean

help: ## Show the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(STAMP) ## Install everything into .venv
$(STAMP): pyproject.toml constraints.txt crds/pyproject.toml operator/pyproject.toml trainer_image/pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed (Debian: apt-get install python3 python3-venv)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is needed (Debian: apt-get install python3-venv)"; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e 'crds[storage]' -e operator -e trainer_image --group dev
	@touch $@

DEMO ?=
demo: setup ## Train a model on this machine: three workers, checkpoints, a result table (options of `trainingjob run`: DEMO="...")
	@trainingjob run examples/digits.yaml $(DEMO)

test: lint unit simulation e2e ## Everything that must hold

unit: setup
	pytest tests/unit
simulation: setup
	pytest tests/simulation
e2e: setup
	pytest tests/e2e

lint: setup ## Style, types and the architecture's sentences
	ruff check .
	ruff format --check .
	mypy
	lint-imports
format: setup ## Put the code into its standard form
	ruff check --fix .
	ruff format .
generate: setup ## Rewrite every generated file
	python -m trainingjob_cli.generate crds/trainingjob.yaml docs/api.md
verify: generate ## Are the generated files current?
	git diff --exit-code -- crds docs
clean: ## Remove what was installed and built here
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
