# Everything happens in .venv; a second call installs nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install demo test docs bench clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

$(VENV)/.created:
	@echo "Installing the frameworks and the tools into $(VENV): this takes minutes, once."
	$(PYTHON) -m venv $(VENV)
	touch $@

# On its own line, before anything else can ask for torch: so the CPU build is the one that counts.
$(VENV)/.torch: $(VENV)/.created
	$(PIP) torch==2.13.0
	touch $@

# Editable: Python files take effect at once, the kernel is built again when its sources change.
$(VENV)/.installed: $(VENV)/.torch pyproject.toml $(wildcard backends/initspec_kernel/*.[ch] backends/initspec_kernel/CMakeLists.txt)
	INITSPEC_REQUIRE_KERNEL=1 $(PIP) --editable '.[dev]'
	touch $@

# The Triton of that torch, in a folder apart: tests/test_triton.py says why.
$(VENV)/.triton: $(VENV)/.created
	$(PIP) --no-deps --no-compile --upgrade --target $(VENV)/triton 'triton==3.7.1; sys_platform == "linux"'
	touch $@

install: $(VENV)/.installed ## Make .venv with initspec, the frameworks and the tools

demo: install ## One seed, every framework, the same bits
	$(BIN)/python -m initspec_conformance.demo

test: install $(VENV)/.triton ## Lint, types, tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	INITSPEC_KERNEL=require $(BIN)/pytest

docs: install ## Build the site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file .mkdocs.yml

# AnyInit is the one peer that the tests do not need.
$(VENV)/.bench: $(VENV)/.installed
	INITSPEC_REQUIRE_KERNEL=1 $(PIP) --editable '.[bench]'
	touch $@

bench: $(VENV)/.bench ## Speed and memory against the peers, in about ten minutes: docs/performance.md
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove what the other targets made
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
