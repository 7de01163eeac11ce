# make demo | bench | test | lint | train-debug: each sets up .venv in this checkout when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
DEMO := src/difftalk/demo

.PHONY: demo bench test lint train-debug clean
.DELETE_ON_ERROR:

demo: .venv/.base
	@mkdir -p out
	$(BIN)/difftalk animate $(DEMO)/portrait.jpg $(DEMO)/voice.wav -o out/demo.mp4 --overwrite
	@echo "The portrait speaks in $(CURDIR)/out/demo.mp4"

bench: .venv/.dev
	@mkdir -p out
	$(BIN)/difftalk bench --published --repeats 3 --stages out/stages.png -o out/bench.json

test: .venv/.dev
	$(BIN)/python -m pytest

lint: .venv/.dev
	$(BIN)/ruff check src tests tools
	$(BIN)/ruff format --check src tests tools
	$(BIN)/mypy
	$(BIN)/lint-imports

train-debug: .venv/.dev
	@rm -rf out/debug
	$(BIN)/difftalk train first-stage --recipe debug --out out/debug/first-stage --steps 4
	$(BIN)/difftalk train motion --recipe debug --out out/debug/motion --steps 4
	$(BIN)/difftalk train painter --recipe debug --out out/debug/painter --steps 4
	$(BIN)/difftalk train denoiser --recipe debug --out out/debug/denoiser --steps 4

clean:
	rm -rf .venv out dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "difftalk needs Python 3.10 or newer: make PYTHON=...")'
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/.base: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing difftalk into .venv (what inference needs: about 600 MB, no torch)"
	@$(PIP) --editable .
	@touch $@

# Everything is in here too, so that a later `make demo` installs nothing.
.venv/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing difftalk into .venv with everything for training, evaluation and tests (about 2 GB)"
	@$(PIP) --editable '.[train,evaluate,onnxruntime,dev]'
	@touch .venv/.base $@
