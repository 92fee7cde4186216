# `make test` makes its own environment in .venv, at the versions of constraints.txt, and runs the tests in it, three
# files at a time: many wait for other processes. `tests/conftest.py` says which files stay together and come first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: test lint clean

test: .venv/ready
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 10

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/codespell

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e . --group test
	touch $@

clean: # checkpoints stay: interrupted runs resume from them
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache *.egg-info data/raw data/processed report
