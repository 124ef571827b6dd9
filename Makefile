# The two commands of the README are `make up` and `make test`.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
MESH := $(BIN)/mesh

.DEFAULT_GOAL := help
.PHONY: help install up down test test-long bench generate lint format

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Install everything into .venv, from the lock file

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Commerce Mesh needs Python 3.11 or newer; call make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

up: install ## Start the whole mesh, fill its demo shop and place a first order
	$(MESH) up --detach
	$(MESH) seed
	$(MESH) smoke

down: ## Stop everything that `make up` started
	@if [ -x $(MESH) ]; then $(MESH) down; fi

test: install ## Run the tests (under 8 minutes)
	$(BIN)/pytest -n 2 --dist loadgroup

test-long: install ## Run the long fault and load tests
	$(BIN)/pytest -m long

bench: install ## Measure, as ratios to a peer in the same run
	$(BIN)/python -m tests.bench

generate: install ## Compile the contract into generated/
	$(BIN)/python -m gateway.generate

lint: install ## Ruff, types, rooms, SQL, contract, and generated/ is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/squawk --config .squawk.toml services/migrations/*.sql services/*/migrations/*.sql
	$(BIN)/python -m gateway.contract_checks
	$(BIN)/python -m gateway.generate --check

format: install ## Format the Python code and the contract
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format -w protos
