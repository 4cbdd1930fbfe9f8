# Every target sets up what it needs: a fresh clone needs no step before it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export MUJOCO_GL ?= disabled
export OMP_NUM_THREADS ?= 1

.PHONY: setup setup-bench demo datasets test test-slow test-chaos lint format clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# d3rlpy wants an older Gymnasium than Ray, and works with this one: hence without its dependencies. Gym, which it
# imports, would print a notice before every message of ours.
setup-bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'd3rlpy==2.8.*'
	$(BIN)/python -m pip uninstall --quiet --disable-pip-version-check --yes gym-notices

demo: setup
	$(BIN)/distill-rl train demo --out runs/demo --overwrite

datasets: setup
	$(BIN)/distill-rl collect hopper walker2d half_cheetah maze2d

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not chaos"

# Kills processes; the full disk needs root.
test-chaos: setup
	$(BIN)/python -m pytest -m chaos

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
