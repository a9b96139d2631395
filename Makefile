# The commands of the project; `make help` lists them.
#
# PYTHON chooses the interpreter for the set-up (3.11 or newer): make local PYTHON=python3.12

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv/bin/python
SETUP = $(PYTHON) launcher/src/launcher/setup_env.py

# The question goes through the environment, as typed: no shell and no make expansion sees it.
export ASK_QUESTION := $(value Q)
unexport Q

.DEFAULT_GOAL := help
.PHONY: help up down logs ps backup restore images-offline up-offline setup setup-dev local ask test lint types format attacks unit lock bench conformance soak monitoring sandbox-part parts whole clean distclean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | while IFS='|' read -r name text; do printf '%-23s %s\n' "$$name" "$$text"; done

setup: ## install what the stack needs (the other commands do it by themselves)
	@$(SETUP) runtime

setup-dev: ## install what the tests need as well
	@$(SETUP) dev

local: setup ## start everything on this machine; Ctrl-C ends it (VERBOSE=1 shows all logs)
	@exec $(VENV) -P -m launcher --end-with-parent up

ask: setup ## ask one question: make ask Q="what is 17*23?"
	@exec $(VENV) -P -m launcher --end-with-parent ask

up: ## start everything in containers (a GPU is used where there is one)
	@docker/stack.sh up

down: ## end the containers; data is kept
	@docker/stack.sh down

logs: ## follow the logs of the containers
	@docker/stack.sh logs

ps: ## list the containers
	@docker/stack.sh ps

backup: ## save what the containers keep into one file: make backup [TO=file]
	@docker/backup.sh backup $(if $(TO),"$(TO)")

restore: ## bring a backup back: make restore FROM=file (FORCE=1 overwrites)
	@docker/backup.sh restore "$(FROM)"

images-offline: ## build all images from Debian's packages, with no image registry
	@docker/images_offline.sh

up-offline: ## start the containers of images-offline with the embedded model
	@docker/stack.sh up-offline

# Side by side: the tests mostly wait.
test: setup-dev ## check style and types, run all tests
	@$(MAKE) --no-print-directory -j4 lint types attacks sandbox-part parts whole

lint: setup-dev ## check style
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .

types: setup-dev ## check types
	$(VENV) -P -m mypy

# Tests start make themselves: what this one was told is not for them.
PYTEST = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES -u TESTS $(VENV) -P -m pytest -q

attacks: setup-dev
	$(PYTEST) -m escape sandbox/tests/escape

sandbox-part: setup-dev
	$(PYTEST) -m "not escape" sandbox/tests

parts: setup-dev
	$(PYTEST) -m "not escape" $(filter-out sandbox/tests,$(wildcard */tests))

whole: setup-dev
	$(PYTEST) tests

unit: setup-dev ## run all tests (TESTS="..." for pytest chooses)
	$(PYTEST) $(TESTS)

format: setup-dev ## lay out the code and fix what can be fixed
	$(VENV) -m ruff check --fix .
	$(VENV) -m ruff format .

lock: setup ## resolve requirements/*.in into requirements/*.lock
	@$(SETUP) lock

bench: setup-dev ## measure and print figures (never fails for a slow machine)
	@for script in bench/*.py; do echo "== $$script"; $(VENV) "$$script" || exit 1; done

conformance: setup-dev ## run the official MCP suite against the gateway (needs Node)
	$(VENV) -P tests/conformance/run.py

monitoring: setup-dev ## ask a real Prometheus whether every panel has data and alerts fire (4 minutes)
	STACK_MONITORING=1 $(VENV) -P -m pytest -q tests/monitoring -k live

soak: setup-dev ## wear the sandbox down: 100,000 cells, 10,000 sessions, and nothing may grow (minutes)
	PYTHONPATH=tests/support $(VENV) -P tests/soak/run.py

clean: ## remove logs and caches
	rm -rf .run .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.cells/*' -prune -exec rm -rf {} +

distclean: clean ## remove the installed environments as well
	rm -rf .venv .cells
