# One command each; `make help` lists them. The first one makes .venv from the hash lock, the others reuse it.
#   make PYTHON=/path/to/python3.12 test    another interpreter
#   make VENV=/path/to/venv test            another place

VENV ?= .venv
PYTHON ?= $(shell for name in python3.11 python3 python3.13 python3.12 python3.14; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
LOCK := requirements/dev.lock

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs lock clean collector stack stack-test

help:
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(firstword $(MAKEFILE_LIST))

$(LOCKED): $(LOCK)
	@test -n "$(PYTHON)" || { found="$$(sh scripts/pythons.sh --named | paste -s -d , - | sed 's/,/, /g')"; \
		echo "make: Python 3.11 or newer is needed; found: $${found:-none}. Name one: make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ found="$$("$(PYTHON)" --version 2>&1 | head -n 1)"; \
		echo "make: Python 3.11 or newer is needed; $(PYTHON) is: $$found. Name one: make PYTHON=/path/to/python"; exit 1; }
	@echo "Setting up $(VENV) from $(LOCK), once"
	@"$(PYTHON)" -m venv --clear "$(VENV)" || { echo "make: $(PYTHON) cannot make a venv (on Debian: apt install python3-venv)"; exit 1; }
	@"$(BIN)/python" -m pip install --quiet --require-hashes --requirement "$(LOCK)"
	@touch "$@"

$(READY): $(LOCKED) pyproject.toml
	@"$(BIN)/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch "$@"

demo: $(READY)  ## replay bundled records: span tree, metrics and where to look
	@"$(BIN)/otel-events" demo

test: $(READY)  ## the test suite; ARGS="-k fold" is handed to pytest
	@"$(BIN)/python" -m pytest $(ARGS)

check: $(READY)  ## format, lint, types, import layers, printed docs, house rules
	"$(BIN)/ruff" format --check .
	"$(BIN)/ruff" check .
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"
	"$(BIN)/python" scripts/print_docs.py --check
	"$(BIN)/python" scripts/draw_house.py --check
	"$(BIN)/python" -m grafana.generate --check
	"$(BIN)/python" scripts/check_house.py
	"$(BIN)/python" scripts/check_imports.py

bench: $(READY)  ## speed and memory against a plain use of the SDK
	@"$(BIN)/python" -m benchmarks $(ARGS)

collector: $(READY)  ## build the collector, Prometheus and Jaeger from Go modules (needs Go 1.26)
	@"$(BIN)/python" scripts/stack_binaries.py

stack: collector  ## run gateway, collectors, Prometheus and Jaeger on loopback until Ctrl-C; ARGS=--demo plays records
	@"$(BIN)/python" scripts/stack.py $(ARGS)

stack-test: $(READY)  ## the tests against the real collector and Prometheus; ARGS is handed to pytest
	@"$(BIN)/python" -m pytest tests/live/stack $(ARGS)

docs: $(READY)  ## print the tables of the code into docs/
	@"$(BIN)/python" scripts/print_docs.py
	@"$(BIN)/python" scripts/draw_house.py

lock:  ## write the lock file anew (needs uv); make UPGRADE=--upgrade lock takes newer versions
	@command -v uv >/dev/null || { echo "make lock needs uv on the PATH: pip install uv"; exit 1; }
	uv pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet $(UPGRADE) --output-file $(LOCK)

clean:  ## remove .venv, caches and builds
	rm -rf "$(VENV)" .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
