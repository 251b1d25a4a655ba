# The index of commands. Each installs what it needs: `make demo` works on a fresh machine with Python and make.
PORT ?= 8000
HOST ?= 127.0.0.1
CONFIG ?= configs/nano.yaml
MINUTES ?= 10
BENCH ?= decode codec throughput precision cold_start service estimates cost
OUT ?= build/gpu_check
CHECKPOINT ?= embedded:musicgen-nano
WORKERS ?= 2
UV := $(or $(shell command -v uv),.uv/bin/uv)
PYTHON := .venv/bin/python

.PHONY: help demo serve test test-long check fmt bench gpu-check nano nano-codec nano-data nano-text nano-lm nano-export nano-quality nano-audiocraft soak docs client manifest screenshots audit sbom clean

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

demo: .venv/base  ## Start the service, generate demo.wav by one HTTP request, stop the service
	$(PYTHON) -m tools.demo

serve: .venv/base  ## Serve CONFIG (configs/nano.yaml) on HOST (127.0.0.1) and PORT (8000) until Ctrl-C; ARGS: --open, --tls-cert FILE --tls-key FILE
	@$(PYTHON) -m serve_app.launcher $(CONFIG) --host $(HOST) --port $(PORT) $(ARGS)

test: .venv/all  ## Run all tests but the long ones in WORKERS processes (2); fail below the required branch coverage
	$(PYTHON) -m pytest -n $(WORKERS) -m "not long" --cov --cov-report=term

test-long: .venv/all  ## Run the long tests in WORKERS processes (2): faults and scaling on several nodes, soak, the page, benchmarks
	$(PYTHON) -m pytest -n $(WORKERS) -m long

check: .venv/all  ## Check lint, formatting, types, import directions and style limits
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest tests/test_imports.py tests/test_style.py

fmt: .venv/all  ## Format the code
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: .venv/all  ## Run the benchmarks named in BENCH (default: eight of them), against AudioCraft where possible
	@for name in $(BENCH); do \
	  case $$name in \
	    decode) against="--against audiocraft transformers" ;; throughput) against="--against audiocraft" ;; *) against= ;; esac; \
	  echo "# $$name"; $(PYTHON) -W ignore -m benchmarks.$$name $$against || exit 1; echo; \
	done

gpu-check: .venv/all  ## Check the GPU path on this machine's card: 10 checks in 10 minutes, into OUT (build/gpu_check)
	$(PYTHON) -W ignore -m benchmarks.gpu_check --out $(OUT)

soak: .venv/all  ## Run careless clients against the service for MINUTES (10); fail on leaks of threads, files, tasks and memory
	$(PYTHON) -m benchmarks.soak --minutes $(MINUTES)

# Keep glibc from returning large blocks to the system and requesting them again: most of the training time on a CPU.
nano nano-codec nano-data nano-lm: export MALLOC_MMAP_THRESHOLD_ = 4294967296
nano nano-codec nano-data nano-lm: export MALLOC_TRIM_THRESHOLD_ = 8589934592

nano: .venv/all  ## Train the embedded model in build/nano, on from the stages in tools/nano/weights; ARGS: --scratch
	$(PYTHON) -m tools.nano.train build/nano $(ARGS)

nano-codec: .venv/all  ## Train its codec; every stage resumes where it stopped
	$(PYTHON) -W ignore -m tools.nano.codec build/nano

nano-data: .venv/all  ## Synthesize its training music and encode it with that codec
	$(PYTHON) -W ignore -m tools.nano.codes build/nano

nano-text: .venv/all  ## Train its text encoder
	$(PYTHON) -W ignore -m tools.nano.text_encoder build/nano

nano-lm: .venv/all  ## Train its language model
	$(PYTHON) -W ignore -m tools.nano.language_model build/nano

nano-export: .venv/all  ## Export it into the package
	$(PYTHON) -W ignore -m tools.nano.export build/nano

nano-quality: .venv/all  ## Measure how well it follows its prompts
	$(PYTHON) -W ignore -m benchmarks.nano_quality

nano-audiocraft: .venv/all  ## Write CHECKPOINT (the embedded model) in AudioCraft's format to build/nano-audiocraft
	@mkdir -p build/nano-audiocraft
	$(PYTHON) -m tools.nano.audiocraft $(CHECKPOINT) build/nano-audiocraft

docs: .venv/all  ## Generate docs/configuration.md from the fields of the configuration
	$(PYTHON) -m tools.configuration_docs

client: .venv/all  ## Generate the client's fields from the API's schemas, and the blocking client from the asynchronous one
	$(PYTHON) -m tools.client_fields
	$(PYTHON) -m tools.sync_client

manifest: .venv/all  ## Write configs/all.yaml into cluster/kuberay/rayservice.yaml
	$(PYTHON) -m tools.kuberay configs/all.yaml cluster/kuberay/rayservice.yaml

screenshots: .venv/all  ## Take the screenshots of the web page for the README
	MUSICGEN_SCREENSHOTS=docs $(PYTHON) -m pytest tests/test_page.py -k made_heard

audit: .venv/all  ## Look up known faults of the locked packages in OSV's database; say so if it cannot be reached
	$(PYTHON) -m tools.audit

sbom: .venv/all  ## Write the packages of the image into build/sbom.cdx.json (CycloneDX)
	@mkdir -p build
	$(PYTHON) -m uv export --quiet --frozen --no-dev --extra tracing --extra c2pa --extra postgres --extra redis --extra s3 --format cyclonedx1.5 --preview-features sbom-export --output-file build/sbom.cdx.json

clean:  ## Remove the virtual environments
	rm -rf .venv .uv

.venv/base: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --inexact --compile-bytecode
	@touch $@

.venv/all: pyproject.toml uv.lock | $(UV)
	@$(UV) sync --frozen --all-extras --compile-bytecode
	@# Compile librosa's generalized ufuncs: two processes that do it at once spoil numba's cache, and crash by it.
	@$(PYTHON) -c "import librosa.beat, librosa.core.audio, librosa.core.pitch, librosa.util.utils"
	@touch $@ .venv/base

.uv/bin/uv:
	@echo "Installing uv into .uv"
	@python3 -m venv .uv || { echo "python3 -m venv failed: install it (Debian: apt install python3-venv)"; exit 1; }
	@.uv/bin/python -m pip install --quiet --require-hashes --no-deps -r cluster/build-tools.txt
