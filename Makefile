# Each target works alone on a fresh machine with Python 3.11+, a Rust tool chain and make: the environment is made in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CORE := $(shell find core/src -name '*.rs') core/Cargo.toml core/Cargo.lock
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format bench screenshots dev clean servers pgbouncer

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

demo: $(STAMP) ## See it work: an agent's 40,000-row mistake, and the record of it (KEEP=1 leaves it running)
	@$(BIN)/python -m pgwitness demo $(if $(KEEP),--keep)

test: $(STAMP) servers ## The test suite (ARGS='-k name' narrows it)
	PYO3_PYTHON=$(abspath $(BIN)/python) cargo test --manifest-path core/Cargo.toml --locked --quiet
	$(PYTEST) -m 'not slow' $(ARGS)

test-slow: $(STAMP) servers ## The slow tier: fuzzing at volume, rounds of kill -9, asyncpg's own suite
	$(PYTEST) -m slow $(ARGS)

lint: $(STAMP) ## Formatters, linters, type checks, import rules; Rust fmt and clippy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/stubtest --allowlist .ci/stubtest pgwitness._core
	$(BIN)/lint-imports
	cargo fmt --manifest-path core/Cargo.toml --check
	cargo clippy --manifest-path core/Cargo.toml --all-targets --locked -- -D warnings

format: $(STAMP) ## Rewrite the sources as lint wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cargo fmt --manifest-path core/Cargo.toml

bench: $(STAMP) pgbouncer ## The comparison table: direct, PgBouncer, pgwitness (ARGS=--quick for a short one)
	$(BIN)/python -m bench $(ARGS)

screenshots: $(STAMP) ## The pictures of the pages in docs/images, of the demo's record, in Debian's Chromium
	@.ci/packages chromium /usr/bin/chromium required
	$(BIN)/python docs/screenshots.py

dev: $(STAMP) ## Rebuild the Rust core into the environment, now
	$(BIN)/maturin develop --release

clean: ## Remove the environment and all that was built
	rm -rf $(VENV) core/target dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f src/pgwitness/_core*.so
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +

# An editable install by maturin: the core in release mode, Python from src/. The extras hold all that the targets use.
$(STAMP): pyproject.toml $(CORE)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing what is needed and compiling the core into $(VENV): some minutes, the first time.'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

servers:
	@.ci/packages postgresql-15 /usr/lib/postgresql/15/bin/postgres optional
	@.ci/packages tshark /usr/bin/tshark optional
	@.ci/packages iproute2 /sbin/ip optional
	@.ci/packages chromium /usr/bin/chromium optional

pgbouncer:
	@.ci/packages pgbouncer /usr/sbin/pgbouncer required
