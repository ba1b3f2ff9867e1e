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
.PHONY: help setup lock demo test tools cluster unit simulation chart integration e2e soak lint format verify generate clean

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(STAMP) ## Install everything into .venv
$(STAMP): pyproject.toml constraints.txt crds/pyproject.toml operator/pyproject.toml trainer_image/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || $(INSTALL_VENV) || { echo "python3-venv is needed (Debian: apt-get install python3-venv)"; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.10'
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e 'crds[storage]' -e 'operator[cli]' -e trainer_image --group dev
	@touch $@
# Debian keeps venv in a package of its own; root may simply have it.
INSTALL_VENV = { test "$$(id -u)" = 0 && apt-get update -q && apt-get install -yq --no-install-recommends python3-venv && $(PYTHON) -m venv --clear $(VENV); }
lock: setup ## Note the installed versions in constraints.txt
	@{ sed -n '/^#/p' constraints.txt; $(BIN)/uv pip freeze --quiet --python $(BIN)/python --exclude-editable | sed 's/^torch==\([0-9.]*\).*/torch==\1/'; } > constraints.new && mv constraints.new constraints.txt

DEMO ?=
demo: setup ## Train a model on this machine; DEMO="..." are options of `trainingjob run`
	@trainingjob run examples/digits.yaml $(DEMO)

test: setup tools ## Everything that must hold: style, types, generated files, and all tests; LANES=1 runs them in lanes (tests/rings.py), side by side
	@mkdir -p build; $(MAKE) --no-print-directory cluster >build/cluster.log 2>&1 </dev/null & cluster=$$!; \
	$(MAKE) --no-print-directory lint verify || { kill $$cluster; exit 1; }; pytest $(if $(LANES),--lanes) --durations 10 --override-ini console_output_style=classic
unit: setup ## Rules and parts, in seconds
	pytest tests/unit
simulation: setup ## The invariants over made-up histories of faults
	pytest tests/simulation
chart: setup ## The charts
	pytest tests/chart
integration: setup ## The operator, the definition and the charts on a real API server
	pytest tests/integration
e2e: setup tools ## The real command and a real cluster, with real processes, storage and kills
	pytest tests/e2e
soak: setup ## An hour of little CPU time and long ways: no false alarm, no memory that grows; and operators killed in every phase of a job
	SOAK_SECONDS=$${SOAK_SECONDS:-3600} pytest tests/e2e/soak

tools: ## What the tests need beside Python: an S3 server and a data set, once, into a cache
	@tests/tools/versitygw.sh
	@tests/tools/fashion_mnist.sh
include tests/cluster/cluster.mk tests/cluster/images/images.mk tests/bench/bench.mk
cluster: setup ## What the tests on a cluster need: its programs, two nodes, the images in them
	@$(CLUSTER) preflight && $(MAKE) --no-print-directory cluster-tools cluster-up images

lint: setup ## Style, types and the architecture's sentences
	ruff check .
	ruff format --check .
	mypy
	lint-imports
format: setup ## Put the code into its standard form
	ruff check --fix .
	ruff format .
GENERATED := crds/trainingjob.yaml docs/api.md helm/trainingjob-crds/templates/trainingjob.yaml helm/trainingjob-operator/templates/_rules.tpl helm/trainingjob-operator/README.md
generate: setup ## Rewrite every generated file
	python -m trainingjob_cli.generate $(filter-out %/README.md,$(GENERATED))
	python tests/chart/values_table.py
verify: generate ## Are the generated files current?
	git diff --exit-code -- $(GENERATED)
clean: ## Remove what was installed and built here
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
