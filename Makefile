# make run        set up .venv, install, and train a network on the built-in digits
# make test       every operation in float32 on the CPU, the rest on a representative part; at most 10 minutes on 2 cores
# make test-all   the whole product: float64, every layout, simulator and PTX of every kernel
# make test-peers arrays, modules and optimisers of other libraries (installs them)
# make lint       ruff: rules and format
# make bench      ratios against PyTorch in one run (installs it), kept in docs/benchmarks.json; NAMES="math rows" runs a part
# make bench-check  exit with 1 if ratios fell by more than 15% against docs/benchmarks.json; NAMES as above

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal -q

.PHONY: run test test-rest test-all test-peers lint format bench bench-check clean

run: $(VENV)/.run
	$(BIN)/numbadl train

test: $(VENV)/.test
	$(PYTEST) -m "not slow and not gpu and not peers"

test-rest: $(VENV)/.test
	$(PYTEST) -m "slow and not gpu and not peers"

test-all: $(VENV)/.test
	$(PYTEST) -m "not gpu and not peers"

test-peers: $(VENV)/.test $(VENV)/.peers
	$(PYTEST) -m "not gpu" tests/peers

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.peers
	$(BIN)/numbadl bench $(NAMES) --peers torch --json docs/benchmarks.json

bench-check: $(VENV)/.peers
	$(BIN)/numbadl bench $(NAMES) --peers torch --check docs/benchmarks.json

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[plot]"
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

$(VENV)/.peers: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[plot,peers]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info kernels/__pycache__ .pytest_cache .ruff_cache
