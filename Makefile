# make run    install once, run the pipeline on the embedded digits
# make test   the test suite              make check   make lint, and the fast tests
# make slow   crashes, servers, whole benchmarks: the tests that take minutes
# make lint   format, lint, types, import rules
# make docs   the documentation as a site, in build/site
# make matrix the fast tests with each Python version, and with the lowest and newest packages (hours; not in CI)
# make bench  speed beside its goals (bench-quick: three minutes)      make ui      MLflow's pages for this folder's store

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8

# Where it is set, each of a run's or a test's processes would compile torch, Prefect and MLflow anew.
unexport PYTHONDONTWRITEBYTECODE

# Two workers of two threads each would wait for each other on two cores.
test slow check: export OMP_NUM_THREADS := 1

.PHONY: run test slow lint check docs matrix bench bench-quick ui format clean

run: $(VENV)/.run-installed
	@$(BIN)/semisup run digits

ui: $(VENV)/.run-installed
	@$(BIN)/semisup ui

test: $(VENV)/.dev-installed
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

slow: $(VENV)/.dev-installed
	$(BIN)/pytest -n 2 --dist loadfile -m slow

lint: $(VENV)/.dev-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not slow and not gpu and not prefect"

# mkdocs warns of a version 2 that the theme does not go along with; both are pinned.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.dev-installed
	$(BIN)/mkdocs build --quiet --strict
	@echo "build/site/index.html"

format: $(VENV)/.dev-installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.run-installed
	$(BIN)/python -m benchmarks.suite

bench-quick: $(VENV)/.run-installed
	$(BIN)/python -m benchmarks.suite --quick

matrix: $(VENV)/.dev-installed
	nice $(BIN)/python -m benchmarks.robustness.matrix

clean:
	rm -rf $(VENV) .matrix build/site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# The environment is made once, and again only when what it is made of changes.
$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "semisup needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.run-installed: $(VENV)/bin/uv pyproject.toml constraints.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev-installed: $(VENV)/.run-installed
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@
