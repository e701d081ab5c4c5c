# Two commands need nothing but Python 3.11-3.13, make and a package registry: `make demo` and `make test`.
SHELL := /bin/sh
.SUFFIXES:
.PHONY: help demo pictures test lint format lock clean

VENV := .venv
BIN := $(VENV)/bin
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && { echo $$p; break; }; done)

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=/path/to/python3.13 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps are written last, so an interrupted installation starts again.
$(VENV)/.installed: requirements/build.txt requirements/runtime.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements/dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

# Each line is printed as one would type it, then run.
TOOL := $(BIN)/dicom-series-preview
HERE := --root demo --cache-dir demo/cache
demo: $(VENV)/.installed ## preview a built-in sample series; says where the pictures lie
	$(TOOL) sample demo
	$(TOOL) build-index '5a3b*' $(HERE)
	$(TOOL) mosaic '5a3b*' demo/mosaic.webp $(HERE)
	$(TOOL) get-image '5a3b*' demo/image.webp $(HERE) --position 0.5 --contrast abdomen --image-width 512 -q 60
	$(TOOL) contrast-mosaic '5a3b*' demo/contrasts.webp $(HERE) --position 0.3 --image-width 256 -q 50 \
		--contrast lung --contrast abdomen --contrast bone
	@echo "The pictures lie in $(CURDIR)/demo: mosaic.webp, image.webp, contrasts.webp"

pictures: demo ## render the README's pictures anew
	$(TOOL) mosaic '5a3b*' docs/pictures/mosaic.webp $(HERE) --contrast abdomen -q 60
	$(TOOL) contrast-mosaic '5a3b*' docs/pictures/contrasts.webp $(HERE) --position 0.3 --image-width 256 -q 60 \
		--contrast lung --contrast abdomen --contrast bone

test: $(VENV)/.installed-dev ## lint, types, module order, and every test
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.installed-dev ## ruff, mypy --strict and the module order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Versions are resolved for every supported Python at once and pinned by hash, with no index address.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --upgrade
lock: $(BIN)/python ## resolve requirements/*.txt anew
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) requirements/build.in -o requirements/build.txt
	$(LOCK) --constraint requirements/runtime.txt --group test --group lint -o requirements/dev.txt

clean: ## remove everything that make has made
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
