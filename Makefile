# The commands that must keep working. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PY := .venv/bin/python
CODE := agent collector policies protocol tests
# As root on Linux nothing may be skipped except what tests/expected_skips.txt names.
STRICT := $(if $(filter Linux-0,$(shell uname -s)-$(shell id -u)),1,0)

.PHONY: help setup demo test check lint bench lock fmt clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make or refresh .venv and what the system lacks
	@scripts/setup.sh

demo: setup ## set-up and main job on a fresh machine (KEEP=1 leaves it running)
	@$(PY) -m tests.e2e.demo $(if $(KEEP),--keep)

test: setup check ## set-up, lint, types and all tests (ARGS="-k name" for some)
	SEKISHO_STRICT_SKIPS=$(STRICT) .venv/bin/pytest $(ARGS)

check: setup lint ## lint, types, docs drift
	$(PY) -m protocol.docs --check
	$(PY) -m policies.docs --check
	$(PY) -m agent.docs --check

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --strict $(CODE)

bench: setup ## measure all budgets, write bench.json
	@$(PY) -m tests.bench

lock: setup ## bring requirements.lock up to pyproject.toml (ARGS=--upgrade: newest versions)
	@CUSTOM_COMPILE_COMMAND="make lock" .venv/bin/pip-compile --quiet --all-extras --generate-hashes \
	  --allow-unsafe --strip-extras --no-emit-options $(ARGS) -o requirements.lock pyproject.toml

fmt: setup ## format, and mend what can be mended
	.venv/bin/ruff check --fix-only --quiet .
	.venv/bin/ruff format .

clean: ## remove .venv and everything that was generated
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .ruff_cache .pytest_cache demo-report.json bench.json
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
