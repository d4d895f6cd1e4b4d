# make help says what there is. Everything runs in .venv, which `make install` fills from constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo plant test fuzz lint bench clean
BENCHMARKS := demo learning_parts busy_machine scale_check scale_train inference line_overhead gate metrics_cost soak training accuracy near_duplicates ledger depth stem_gradients combine drift chosen_epoch

help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(DONE) ## a virtual environment with everything, versions from constraints.txt

# torch first: the version in constraints.txt is found as a CPU build by plain pip; what comes later is then satisfied
# and does not fetch a CUDA one.
$(DONE): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lineside needs Python 3.11 or newer; name it: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(DONE)

demo: $(DONE) ## check, train, evaluate, export and run on the built-in nuts
	$(BIN)/lineside demo

plant: $(DONE) ## camera, line, PLC, MES and SCADA on this machine (needs mosquitto)
	$(BIN)/python examples/plant/plant.py

test: $(DONE) ## all tests, lint, types, structure, docs: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -rs

fuzz: $(DONE) ## the tests of properties, each time with other examples
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m hypothesis --hypothesis-profile fuzz

lint: $(DONE) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DONE) ## every benchmark, side by side with its peer; results go to benchmarks/results/, and into the README
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done
	$(BIN)/python -m benchmarks.table

clean: ## remove what was built
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis
