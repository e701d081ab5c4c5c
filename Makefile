# Two commands need nothing but Python 3.11-3.14, make and a package registry: `make demo` and `make test`.
SHELL := /bin/sh
.SUFFIXES:
.PHONY: help demo pictures gallery conformance tables test test-minimum readme bench lint format lock clean

VENV := .venv
BIN := $(VENV)/bin
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && { echo $$p; break; }; done)

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11, 3.12, 3.13 or 3.14 is needed; name one: make PYTHON=/path/to/python3.13 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps are written last, so an interrupted installation starts again.
$(VENV)/.installed: requirements/build.txt requirements/volumes.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/build.txt -r requirements/volumes.txt
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
	$(TOOL) update $(HERE)
	$(TOOL) list $(HERE) --columns SeriesInstanceUID,Modality,SeriesDescription,Slices,SliceSpacing,Plane,Series
	$(TOOL) convert '5a3b*' -o demo/volumes --to nifti $(HERE)
	$(TOOL) volume-report demo/volumes demo/volumes.html $(HERE)
	@echo "The pictures lie in $(CURDIR)/demo: mosaic.webp, image.webp, contrasts.webp; volumes.html shows the volume"

pictures: demo ## render the README's pictures anew
	$(TOOL) mosaic '5a3b*' docs/pictures/mosaic.webp $(HERE) --contrast abdomen -q 60
	$(TOOL) contrast-mosaic '5a3b*' docs/pictures/contrasts.webp $(HERE) --position 0.3 --image-width 256 -q 60 \
		--contrast lung --contrast abdomen --contrast bone

gallery: $(VENV)/.installed ## render every file of DICOM_TEST_DATA on one page, gallery/index.html, to be looked at
	@test -n "$$DICOM_TEST_DATA" || { echo "make: DICOM_TEST_DATA does not name a folder of real DICOM files" >&2; exit 1; }
	$(BIN)/python tests/conformance/gallery.py "$$DICOM_TEST_DATA" gallery

conformance: $(VENV)/.installed-dev ## run what docs/conformance.md reports, and write it anew
	$(BIN)/python tests/conformance/page.py

tables: $(VENV)/.installed-dev ## write the tables of docs/ anew, from the index's schema and the table of options
	$(BIN)/python tests/docs/index_page.py
	$(BIN)/python tests/docs/option_tables.py
	$(BIN)/python tests/docs/architecture.py

test: $(VENV)/.installed-dev ## lint, types, module order, and every test
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n auto

# The oldest versions that pyproject.toml allows, all extras among them, on the oldest Python.
MINIMUM_VENV := .venv-minimum
MINIMUM_BIN := $(MINIMUM_VENV)/bin
PYTHON311 ?= $(shell for p in python3.11 python3 "$$HOME"/.pyenv/versions/3.11*/bin/python3.11; do \
	"$$p" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

$(MINIMUM_VENV)/.installed: requirements/build.txt requirements/minimum.txt requirements/minimum-dev.txt pyproject.toml
	@test -n "$(PYTHON311)" || { echo "make: Python 3.11 is needed; name it: make PYTHON311=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON311) -m venv --clear $(MINIMUM_VENV)
	$(MINIMUM_BIN)/python -m pip install --quiet --require-hashes \
		-r requirements/build.txt -r requirements/minimum.txt -r requirements/minimum-dev.txt
	$(MINIMUM_BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

test-minimum: $(MINIMUM_VENV)/.installed ## run every test with the oldest dependencies that are allowed, on Python 3.11
	$(MINIMUM_BIN)/python -m pytest -n auto

readme: $(VENV)/.installed-dev ## follow the README line by line in a fresh environment; ARGS=--with-tests
	$(BIN)/python tests/docs/readme.py $(ARGS)

MINUTES ?= 10
fuzz: $(VENV)/.installed-dev ## fuzz headers and codecs for MINUTES=10, with random seeds, which it prints
	$(BIN)/python tests/fuzz/run.py --minutes $(MINUTES)

bench: $(VENV)/.installed ## measure the whole path against a floor; ARGS=--quick, --full, --json FILE, --compare OLD
	$(BIN)/python benchmarks/speed.py $(ARGS)

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
# The Lambda runtime is Python 3.13, and so is what tests it.
# What it brings itself stays out of the layer.
IN_RUNTIME := botocore python-dateutil six
# What the dependencies layer has stays out of the catalogue's and the volumes'.
IN_DEPENDENCIES := numpy typing-extensions wrapt
LOCK_313 = $(subst --python-version 3.11,--python-version 3.13,$(LOCK))
lock: $(BIN)/python ## resolve requirements/*.txt anew
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(LOCK) --constraint requirements/runtime.txt --extra volumes pyproject.toml -o requirements/volumes.txt
	$(LOCK) --resolution lowest-direct --all-extras pyproject.toml -o requirements/minimum.txt
	$(LOCK) requirements/build.in -o requirements/build.txt
	$(LOCK) --constraint requirements/volumes.txt --group test --group lint -o requirements/dev.txt
	$(LOCK) --constraint requirements/minimum.txt --group test -o requirements/minimum-dev.txt
	$(LOCK_313) --constraint requirements/runtime.txt $(foreach name,$(IN_RUNTIME),--no-emit-package $(name)) \
		layers/dependencies/requirements.in -o layers/dependencies/requirements.txt
	$(LOCK_313) --constraint layers/dependencies/requirements.txt $(foreach name,$(IN_DEPENDENCIES),--no-emit-package $(name)) \
		layers/catalogue/requirements.in -o layers/catalogue/requirements.txt
	$(LOCK_313) --constraint requirements/volumes.txt $(foreach name,$(IN_DEPENDENCIES),--no-emit-package $(name)) \
		layers/volumes/requirements.in -o layers/volumes/requirements.txt
	$(LOCK_313) requirements/aws.in -o requirements/aws.txt

clean: ## remove everything that make has made
	rm -rf $(VENV) $(MINIMUM_VENV) demo gallery .pytest_cache .mypy_cache .ruff_cache .hypothesis

# AWS. SAM has dependencies that contradict the product's, so it lives in an environment of its own: Python 3.13, as the
# Lambda runtime, which layers/common.mk finds (PYTHON313=/path/to/python3.13 names another).
AWS_VENV := .venv-aws
AWS_BIN := $(AWS_VENV)/bin
ARCHITECTURE ?= x86_64
LAYERS := .aws-sam/build/DependenciesLayer .aws-sam/build/PackageLayer
CATALOGUE_LAYER := .aws-sam/build/CatalogueLayer
VOLUMES_LAYER := .aws-sam/build/VolumesLayer
SAM := SAM_CLI_TELEMETRY=0 PATH="$(CURDIR)/$(AWS_BIN):$$PATH" $(AWS_BIN)/sam
include layers/common.mk
.PHONY: build-aws check-layers test-aws mutate-template smoke clean-aws

$(AWS_VENV)/.installed: requirements/aws.txt
	@$(MAKE) --no-print-directory python313
	$(PYTHON313) -m venv $(AWS_VENV)
	$(AWS_BIN)/python -m pip install --quiet --require-hashes -r requirements/aws.txt
	@touch $@

build-aws: $(AWS_VENV)/.installed ## build layers and template for AWS Lambda; ARCHITECTURE=arm64 for the other processor
	$(SAM) validate --lint
	$(SAM) build --parameter-overrides Architecture=$(ARCHITECTURE)

check-layers: $(AWS_VENV)/.installed ## list what the built layers hold; fails when they are too large or under the GPL
	@test -d .aws-sam/build/DependenciesLayer || { echo "make: nothing is built; make build-aws" >&2; exit 1; }
	$(AWS_BIN)/python layers/check.py sizes $(LAYERS) --functions functions
	$(AWS_BIN)/python layers/check.py sizes $(LAYERS) $(CATALOGUE_LAYER) --functions functions --limit 250
	$(AWS_BIN)/python layers/check.py sizes $(LAYERS) $(VOLUMES_LAYER) --functions functions --limit 250
	$(AWS_BIN)/python layers/check.py licences .aws-sam/build/DependenciesLayer/python
	$(AWS_BIN)/python layers/check.py licences $(CATALOGUE_LAYER)/python
	$(AWS_BIN)/python layers/check.py licences $(VOLUMES_LAYER)/python

test-aws: build-aws check-layers ## build for AWS Lambda, and test the template and the built layers
	$(AWS_BIN)/python -m pytest tests/aws

mutate-template: $(VENV)/.installed-dev ## break the template in every way; each must fail a test of tests/aws/test_template.py
	$(BIN)/python tests/aws/mutate_template.py $(KINDS)

smoke: $(VENV)/.installed ## try a deployed stack from end to end: STACK=name, with your AWS profile or environment
	@test -n "$(STACK)" || { echo "make: name the stack: make smoke STACK=dicom-series-preview" >&2; exit 1; }
	$(BIN)/python tests/aws/smoke.py $(STACK) $(ARGS)

clean: clean-aws
clean-aws:
	rm -rf $(AWS_VENV) .aws-sam
