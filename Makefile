# Two commands for a newcomer: make demo, make test. VENV and PYTHON may be given: make test VENV=.venv PYTHON=python3.12
VENV ?= .venv
PYTHON ?= python3
PYTEST_WORKERS ?= 2
bin := $(VENV)/bin
installed := $(VENV)/.installed
demo := $(VENV)/.installed-demo
dev := $(VENV)/.installed-dev
bench := $(VENV)/.installed-bench

.PHONY: demo test test-all lint format tensorboard clean

demo: $(demo)
	$(bin)/finelab fit -c configs/quickstart.yaml

test: $(dev) $(demo)
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadfile -m "not slow"

test-all: $(dev) $(demo) $(bench)
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadfile

lint: $(dev) build/typing/finelab
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/pyright --pythonpath $(bin)/python
	PYTHONPATH=build/typing $(bin)/lint-imports --no-cache

format: $(dev)
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

tensorboard: $(installed)
	$(bin)/tensorboard --logdir runs

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The constraints pin the tested set: a newer torch would pull gigabytes that nobody here has run.
$(installed): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(bin)/python -m pip install -c constraints.txt -e .
	touch $@

$(demo): requirements/demo.txt $(installed)
	$(bin)/python -m pip install --no-deps --require-hashes -r requirements/demo.txt
	touch $@

$(dev): $(installed)
	$(bin)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@

$(bench): $(installed)
	$(bin)/python -m pip install -c constraints.txt -e ".[bench]"
	touch $@

# Type checkers and import-linter do not see an editable install of mapped folders; a git-ignored link shows them.
build/typing/finelab:
	mkdir -p build/typing
	ln -sfn ../.. $@
