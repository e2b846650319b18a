# `make quickstart` and `make test` do all the set-up themselves, once, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Whole files go to two workers, the longest first (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

.PHONY: quickstart paper test test-slow test-all fuzz setup lint format types bench toy clean

quickstart: $(VENV)/.installed
	$(BIN)/python -m experiments.run --config=quickstart.py

# The paper's tables and figures on the suite (about an hour on 2 cores); continues where it stopped.
paper: $(VENV)/.installed
	$(BIN)/python -m experiments.run --config=paper.py

# XLA compiles without its optimizations, which is faster; the slow tests run with them (docs/design/tests.md).
test: lint types $(VENV)/.installed-dev
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(PYTEST)

# What takes many seconds each: kills, several processes, Ray, studies, benchmarks.
test-slow: $(VENV)/.installed-dev
	$(PYTEST) -m "slow and not long"

test-all:
	$(MAKE) test
	$(MAKE) test-slow

# Hostile stores, runs, adapters, tables, images and replies: the long round, FUZZ_SECONDS (120) for each kind.
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/fuzz -m long

setup: $(VENV)/.installed-dev

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# Benchmarks (half an hour on 2 cores).
bench: $(VENV)/.installed-dev
	$(BIN)/python -m experiments.bench --out=bench.jsonl

# Train the toy MLLMs again (two hours on 2 cores).
toy: $(VENV)/.installed-dev
	$(BIN)/python -m extract.toy.training.train --model=toy-mllm
	$(BIN)/python -m extract.toy.training.train --model=toy-small
	$(BIN)/python -m extract.toy.training.train --model=toy-large

clean:
	rm -rf runs sweeps stores models

$(VENV)/.installed: pyproject.toml requirements.txt requirements-no-deps.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-no-deps.txt
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@
