# The index of commands. Everything is set up on the way: `make demo` works on a fresh machine with Python and make.
PORT ?= 8000
CONFIG ?= configs/nano.yaml
UV := $(or $(shell command -v uv),.uv/bin/uv)
PYTHON := .venv/bin/python

.PHONY: help demo serve test check fmt bench nano nano-codec nano-lm clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/base  ## Start the service, make demo.wav by one HTTP request, stop the service
	$(PYTHON) -m tools.demo

serve: .venv/base  ## Serve CONFIG (configs/nano.yaml) on PORT (8000) until Ctrl-C
	@$(PYTHON) -m serve_app.launcher $(CONFIG) --port $(PORT)

test: .venv/all  ## Run all tests
	$(PYTHON) -m pytest

check: .venv/all  ## Lint, types, import directions
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest tests/test_imports.py

fmt: .venv/all  ## Format the code
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: .venv/all  ## Measure a decode step beside AudioCraft's
	$(PYTHON) -W ignore -m benchmarks.decode --scale small --device cpu --steps 100 --against audiocraft

nano: .venv/all  ## Make the embedded model's checkpoint again (untrained)
	$(PYTHON) -m tools.make_nano

nano-codec: .venv/all  ## Train a codec for the embedded model in build/nano; goes on where it stopped
	$(PYTHON) -W ignore -m tools.nano.codec build/nano

nano-lm: .venv/all  ## Train its language model on the codes of that codec; goes on where it stopped
	$(PYTHON) -W ignore -m tools.nano.language_model build/nano

clean:  ## Remove the environments
	rm -rf .venv .uv

.venv/base: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --inexact
	@touch $@

.venv/all: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --all-extras
	@touch $@ .venv/base

.uv/bin/uv:
	@echo "Installing uv into .uv"
	@python3 -m venv .uv || { echo "python3 -m venv failed: install it (Debian: apt install python3-venv)"; exit 1; }
	@.uv/bin/python -m pip install --quiet uv
