# Needs make and a Python >= 3.11, and the package registry at the first run. Everything is installed into .venv.

DB ?= sqlite:///demo.db
PYTHON ?=
AGAIN ?=

VENV := .venv
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
DOCS_STAMP := $(VENV)/.installed-docs
BIN := $(VENV)/bin
LOWEST := .venv-lowest
FRAMEWORKS := .venv-frameworks
COMPILED := .venv-compiled
# pyright: no look at the registry for a newer release of itself
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo check test test-servers test-packaging test-lowest test-frameworks test-chaos test-long test-compiled bench bench-scale docs clean

help:  ## this list
	@echo "make <target>, one of:"
	@sed -n 's/^\([a-z-]*\):.*  ## /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo "PYTHON=<interpreter> chooses the Python of a new .venv, DB=<url> the store of the demo."

demo: $(STAMP)  ## investigate this Python environment, on SQLite; fails where something was tampered with
	@$(BIN)/python examples/python_environment_audit.py --db '$(DB)'

check: $(STAMP)  ## format, lint, types, import rules, generated files, links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/python .ci/generate_sync.py --check
	$(BIN)/python .ci/generate_docs.py --check
	$(BIN)/python .ci/generate_cli.py --check
	$(BIN)/python .ci/check_links.py

test: $(STAMP)  ## all tests but those of the next seven
	$(BIN)/python -m pytest $(AGAIN)

test-servers: $(STAMP)  ## what runs on the embedded stores, and more, on database servers
	$(BIN)/python -m pytest -m server $(AGAIN)

test-packaging: $(STAMP)  ## build, install into a new environment, use and type-check what was installed
	$(BIN)/python -m pytest -m packaging tests/packaging tests/docs $(AGAIN)

# Without test_schema.py: schemathesis asks with a client of its own, and that of its oldest version leaks.
test-lowest: $(STAMP)  ## the tests of what uses other packages, with the oldest versions of what pyproject.toml requires
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(BIN)/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --editable '.[test]'
	$(BIN)/uv pip list --quiet --python $(LOWEST)
	$(LOWEST)/bin/python -m pytest $(addprefix tests/,api backends cli engine hosts recording sdk security storage telemetry) --ignore=tests/api/test_schema.py $(AGAIN)

test-chaos: $(STAMP)  ## kill -9 at every write of an investigation, on SQLite, PostgreSQL and a MongoDB-wire server
	$(BIN)/python -m pytest -m 'chaos and not long' tests/chaos tests/work $(AGAIN)

test-long: $(STAMP)  ## what takes more than a minute: 200 kills in one run of real calls, and the like
	$(BIN)/python -m pytest -m long

test-frameworks: $(STAMP)  ## @tool under LangChain, OpenAI Agents, pydantic-ai and FastMCP
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(FRAMEWORKS)
	$(BIN)/uv pip install --quiet --python $(FRAMEWORKS) --editable '.[dev,frameworks]'
	$(BIN)/uv pip list --quiet --python $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pytest tests/frameworks $(AGAIN)

test-compiled: $(STAMP)  ## the tests of the core, compiled by mypyc; says so where C does not compile
	@$(BIN)/python .ci/compile.py $(COMPILED)
	@[ ! -d $(COMPILED) ] || (cd $(COMPILED)/from && ../bin/python -m pytest \
		$(addprefix tests/,domain golden vectors engine recording storage telemetry backends/test_contract_memory.py) $(AGAIN))

bench: $(BENCH_STAMP)  ## measure, beside a floor and public tools; interpreted, and compiled where C compiles
	$(BIN)/python -m tests.benchmarks.run
	@$(BIN)/python .ci/compile.py $(COMPILED)
	@[ ! -d $(COMPILED) ] || (cd $(COMPILED)/from && ../bin/python -m tests.benchmarks.run)

bench-scale: $(BENCH_STAMP)  ## measure 1,000 investigations at once, and stores of 1,000,000 events; some minutes
	$(BIN)/python -m tests.benchmarks.scale

docs: $(DOCS_STAMP)  ## build the documentation site, strictly, and say where it is
	@$(BIN)/python .ci/build_docs.py

clean:  ## remove .venv, caches and the demo's database
	rm -rf $(VENV) $(LOWEST) $(FRAMEWORKS) $(COMPILED) build/docs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f demo.db demo.db-wal demo.db-shm
	@for d in investigation_sdk backends tests examples .ci; do \
		if [ -d $$d ]; then find $$d -type d -name __pycache__ -prune -exec rm -rf {} +; fi; \
	done

# A .venv of our own, made again where it is missing, installed again when pyproject.toml changes.
$(STAMP): pyproject.toml
	@python=; \
	for p in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
		if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$p; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "No Python >= 3.11 among: $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python)." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	if ! $(BIN)/python -c 'import pip' >/dev/null 2>&1 && ! $(BIN)/python -m ensurepip >/dev/null 2>&1; then \
		echo "making .venv with $$("$$python" -V) ($$python)"; \
		"$$python" -m venv --clear $(VENV) || { \
			echo "$$python cannot make virtual environments: install its venv module (Debian, Ubuntu: python3-venv)." >&2; \
			rm -rf $(VENV); exit 1; }; \
	fi
	@echo "installing into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(BENCH_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@touch $@
