# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: setup demo test test-deployment test-all lint gate bench bench-quality bench-dp clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: setup
	$(BIN)/braing3n sim run --out $(RUN)

# A file's tests stay on one worker, as they share what they set up.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: setup
	$(BIN)/python -m pytest $(PARALLEL)

# Real servers on loopback, started through our own commands; needs nginx.
test-deployment: setup
	$(BIN)/python -m pytest -m "" tests/deployment

test-all: setup
	$(BIN)/python -m pytest -m ""

# The privacy gate: attack the training of every network by both of our engines, at nano size.
GATE := $(foreach stage,pretrain decoder diffusion,$(foreach engine,loop bookkeeping,$(stage)/$(engine)))

gate: setup
	@for one in $(GATE); do \
		$(BIN)/braing3n audit empirical --stage $${one%/*} --engine $${one#*/} || exit 1; \
	done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/model.py
	$(BIN)/python benchmarks/phantom.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/dp.py

bench-quality: setup
	$(BIN)/python benchmarks/quality.py

bench-dp: setup
	$(BIN)/python benchmarks/dp_utility.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
