# The two commands of the README are `make up` and `make test`.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
MESH := $(BIN)/mesh
NPM_FLAGS := --ignore-scripts --no-audit --no-fund --loglevel error
# Where `make clients` puts what it builds.
DIST ?= dist

.DEFAULT_GOAL := help
.PHONY: help install up down test test-alone test-clients test-long plant bench generate clients lint format

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

up: install ## Start the whole mesh, fill its demo shop and order (make up PORT_OFFSET=1000 UP="--workers 2")
	$(MESH) up --detach $(if $(PORT_OFFSET),--port-offset $(PORT_OFFSET)) $(UP)
	$(MESH) seed
	$(MESH) smoke

down: ## Stop everything that `make up` started
	@if [ -x $(MESH) ]; then $(MESH) down; fi

test: install ## Run what every change must pass (6 to 10 minutes on two cores)
	$(BIN)/pytest -n 3 --dist loadgroup

test-alone: install ## Run what breaks a running mesh or compares times on it: nothing else may run beside it (8 minutes)
	$(BIN)/pytest -m "alone and not long"

test-clients: install ## Run our clients by themselves, and those that others' generators make (needs Node.js; 10 minutes)
	$(BIN)/pytest -m clients

test-long: install ## Run the long fault and load tests
	$(BIN)/pytest -m long

plant: install ## Break the product in one line at a time, and see that a test notices (20 minutes on two busy cores)
	$(BIN)/python -m tests.plant

bench: install ## Measure, as ratios to a peer in the same run
	$(BIN)/python -m tests.bench

generate: install ## Compile the contract into generated/
	$(BIN)/python -m gateway.generate

clients: install ## Build what callers take, into dist/: the clients for Python and JavaScript, and the contract
	cd clients/python && ../../$(BIN)/hatchling build -d $(abspath $(DIST))
	$(BIN)/python -m gateway.export $(DIST)
	@if ! command -v npm >/dev/null; then echo "npm is not here: the client for JavaScript is left out"; else \
		cd clients/javascript && npm ci $(NPM_FLAGS) && npm pack --loglevel error --pack-destination $(abspath $(DIST)); fi

lint: install ## Ruff, types (TypeScript's where npm is), duplicates, rooms, dangers, SQL, contract, and generated/ is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples/notifier/notifier.py
	$(BIN)/mypy tests/clients/python/keeper.py
	$(BIN)/mypy tests/clients/python/shop.py
	$(BIN)/pylint services gateway deploy
	$(BIN)/pylint commerce_mesh_client
	$(BIN)/pylint --min-similarity-lines=7 tests
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive services gateway deploy clients examples
	$(BIN)/squawk --config .squawk.toml services/storage/migrations/*.sql services/*/migrations/*.sql
	$(BIN)/python -m gateway.contract.buf
	$(BIN)/python -m gateway.generate --check
	@if ! command -v npm >/dev/null; then echo "npm is not here: TypeScript is not checked"; \
	elif ! (cd clients/javascript && { [ node_modules/.package-lock.json -nt package-lock.json ] || \
		npm ci $(NPM_FLAGS); }); then \
		echo "npm cannot install what its lock names: TypeScript is not checked"; \
	else cd clients/javascript && npm run --silent build -- --noEmit; fi

format: install ## Format the Python code and the contract
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format -w protos
