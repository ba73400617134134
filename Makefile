# The two commands: `make demo` shows the main job, `make test` passes the tests. Both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RAY := .ray
# Of the demo: local; replicate for trainings at a stand-in for Replicate; slurm or ray for a private cluster.
PROVIDER ?= local
# Of the mutants: so many of each module; 0 is all.
SAMPLE ?= 0

# More workers than cores: many tests wait for a process or a deadline. The tests of a file share what they start.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
# Of tests with drawn examples: 100 each; a quick run tries 25.
THOROUGH := --hypothesis-profile thorough
# What failed is run once more, one by one: a test of real processes may miss its deadline beside others on two cores.
# Those that pass then are named at the end (tests/reruns.py).
ALONE := $(BIN)/python -m pytest --last-failed --last-failed-no-failures none -p tests.reruns
FLAKY := .pytest_cache/flaky.txt
# Our scripts and stylesheets, named: a virtual environment in this folder holds those of the libraries.
ASSETS := approvals/static jobs/static queueing/static
POSTGRESQL := CLOUDTRAIN_TEST_DATABASE=postgresql

# Each worker of pytest, and each process that a test starts, would compile it all anew: a third of a quick run's time.
unexport PYTHONDONTWRITEBYTECODE

# No options of whoever makes them, such as an index, get into the files.
PIN := CUSTOM_COMPILE_COMMAND="make pins" $(BIN)/pip-compile --quiet --strip-extras --no-annotate --no-emit-options

.PHONY: demo test long check check-types install install-dev install-ray run bench quick pictures sweep mutants postgresql pins dist editor-bundle clean no-flaky-yet

demo: install $(if $(filter ray,$(PROVIDER)),install-ray)
	DEMO_PROVIDER=$(PROVIDER) $(BIN)/python -m examples.demo

run: install
	$(BIN)/python manage.py up

# On SQLite, and then once more on a private PostgreSQL server.
test: install-dev no-flaky-yet
	$(PYTEST) $(THOROUGH) -m "not long" || $(ALONE)
	$(POSTGRESQL) $(PYTEST) -m "not long and not browser" || $(POSTGRESQL) $(ALONE)
	@cat $(FLAKY) 2>/dev/null || true

# The rest: every page in a real browser, every way to stop, kill and disturb the real processes.
long: install-dev install-ray no-flaky-yet
	$(PYTEST) -m long || $(ALONE)
	$(POSTGRESQL) $(PYTEST) -m "long and not browser" || $(POSTGRESQL) $(ALONE)
	@cat $(FLAKY) 2>/dev/null || true

# What one runs all day: about a minute on two cores.
quick: install-dev
	$(PYTEST) -m "not slow and not long"

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/oxlint --deny-warnings $(ASSETS)
	$(BIN)/oxfmt --check $(ASSETS)
	$(MAKE) check-types
	$(BIN)/djangofmt check templates
	$(BIN)/djangofmt --check templates
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check

# In 20 minutes on two quiet cores; `make bench ONLY=submit,queue` runs some. Results: bench/results.json, docs/performance.md.
bench: install-dev
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

# Types of our scripts, by their comments. Where there is no npm, or it finds no registry, that is said, and no failure.
TYPES := jobs/static_sources/types
check-types: $(if $(shell command -v npm),$(TYPES)/node_modules/.installed)
	if [ -x $(TYPES)/node_modules/.bin/tsc ]; then $(TYPES)/node_modules/.bin/tsc -p $(TYPES)/tsconfig.json; \
	else echo "The types of the scripts are not checked: that needs npm."; fi

$(TYPES)/node_modules/.installed: $(TYPES)/package.json
	cd $(TYPES) && npm install --no-package-lock --ignore-scripts --no-audit --no-fund --silent && touch node_modules/.installed || true

# The pictures of the README, from data that it makes; some minutes of training are among them.
pictures: install-dev
	PYTHONPATH=. $(BIN)/python -m bench.pictures

# Every page as everybody, in all sizes, light and dark, with names of all kinds: faults are printed, pictures kept. An hour.
sweep: install-dev
	PYTHONPATH=. $(BIN)/python -m bench.sweep

# Which small changes of the modules that decide no test notices; about an hour. `make mutants MODULE=queueing/claims.py`
# tries one of them, SAMPLE=40 forty mutants of each.
mutants: install-dev
	nice -n 19 $(BIN)/python -m tests.mutants $(MODULE) --sample $(SAMPLE)

# Once, also when several of the targets above are made.
no-flaky-yet:
	@rm -f $(FLAKY)

# The versions that are installed, from what pyproject.toml asks for. What is pinned stays; `make pins UPGRADE=-U` takes
# the newest.
pins: install-dev
	$(PIN) $(UPGRADE) --output-file requirements.txt pyproject.toml
	$(PIN) $(UPGRADE) --all-extras --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

# The source package, and the wheel from it, in dist.
dist: install-dev
	$(BIN)/python -m build

# The editor of configs, anew from the versions in jobs/static_sources/codemirror/package.json. Needs Node with npm.
editor-bundle:
	sh jobs/static_sources/codemirror/build.sh

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev
# Ray, for tests with a real cluster. Without it they are skipped; .ci/run lets none be skipped.
install-ray: $(RAY)/.installed

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "cloudtrain needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@ $(VENV)/.installed

$(RAY)/.installed: requirements-ray.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/pip install --quiet --disable-pip-version-check --no-compile -r requirements-ray.txt && touch $@ || \
	  echo "Ray can't be installed here: its demo and its tests need it."

clean:
	rm -rf $(VENV) $(RAY) $(TYPES)/node_modules var .mypy_cache .ruff_cache .pytest_cache screenshots
