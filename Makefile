# The index of commands. Everything is set up on the way: `make demo` works on a fresh machine with Python and make.
PORT ?= 8000
CONFIG ?= configs/nano.yaml
MINUTES ?= 10
BENCH ?= decode codec throughput precision cold_start service cost
UV := $(or $(shell command -v uv),.uv/bin/uv)
PYTHON := .venv/bin/python

.PHONY: help demo serve test check fmt bench nano nano-codec nano-data nano-text nano-lm nano-export nano-quality soak screenshots clean

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

bench: .venv/all  ## Run BENCH (decode codec throughput precision cold_start service cost), beside AudioCraft and others
	@for name in $(BENCH); do \
	  case $$name in \
	    decode) against="--against audiocraft transformers" ;; throughput) against="--against audiocraft" ;; *) against= ;; esac; \
	  echo "# $$name"; $(PYTHON) -W ignore -m benchmarks.$$name $$against || exit 1; echo; \
	done

soak: .venv/all  ## Let careless callers at the service for MINUTES (10); tell what it has left of them
	$(PYTHON) -m benchmarks.soak --minutes $(MINUTES)

nano: nano-codec nano-data nano-text nano-lm nano-export  ## Train the embedded model again, in build/nano: all stages

# glibc hands large blocks back to the system and asks for them again: most of a training's time on a CPU.
nano-codec nano-data nano-lm: export MALLOC_MMAP_THRESHOLD_ = 4294967296
nano-codec nano-data nano-lm: export MALLOC_TRIM_THRESHOLD_ = 8589934592

nano-codec: .venv/all  ## Train its codec; each stage goes on where it stopped
	$(PYTHON) -W ignore -m tools.nano.codec build/nano

nano-data: .venv/all  ## Make the music that its language model learns from, as that codec's codes
	$(PYTHON) -W ignore -m tools.nano.codes build/nano

nano-text: .venv/all  ## Train its text encoder
	$(PYTHON) -W ignore -m tools.nano.text_encoder build/nano

nano-lm: .venv/all  ## Train its language model
	$(PYTHON) -W ignore -m tools.nano.language_model build/nano

nano-export: .venv/all  ## Put it into the package
	$(PYTHON) -W ignore -m tools.nano.export build/nano

nano-quality: .venv/all  ## Measure whether it does what its prompts say
	$(PYTHON) -W ignore -m benchmarks.nano_quality

screenshots: .venv/all  ## Take the README's pictures of the web page
	MUSICGEN_SCREENSHOTS=docs $(PYTHON) -m pytest tests/test_page.py -k made_heard

clean:  ## Remove the environments
	rm -rf .venv .uv

.venv/base: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --inexact --compile-bytecode
	@touch $@

.venv/all: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --all-extras --compile-bytecode
	@touch $@ .venv/base

.uv/bin/uv:
	@echo "Installing uv into .uv"
	@python3 -m venv .uv || { echo "python3 -m venv failed: install it (Debian: apt install python3-venv)"; exit 1; }
	@.uv/bin/python -m pip install --quiet uv
