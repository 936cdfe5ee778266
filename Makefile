# make train    set up, train for five minutes, evaluate: see runs/
# make test     set up, run the tests
# make test-fast  the tests without Ray, servers and browsers
# make shipped  train, export and judge the policy that comes with the package
# make docs     build the documentation in build/site
# make results  write the tables of docs/results from their JSON files
# make pictures draw the pictures of the documentation
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Of 20,000 modules few are ever imported; Python compiles those by itself.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

.PHONY: train test test-fast shipped lint format docs results pictures clean

train: $(READY)
	$(BIN)/rllib-seq train lift --stop-time-s 300

test: $(READY)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-fast: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not ray and not slow and not redis and not chromium"

shipped: $(READY)
	$(BIN)/python docs/scripts/ship_policy.py

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

results:
	$(PYTHON) docs/scripts/results.py

pictures: $(READY)
	$(BIN)/python docs/scripts/pictures.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python docs/scripts/check_words.py
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch==2.13.0
	$(INSTALL) --editable ".[dev,docs,serve]"
	touch $(READY)
