# Two commands do everything: `make book` and `make test`. Both first make .venv, which needs Python >= 3.11 and pip.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= 2

# The models here are small: one thread per process is fastest, and makes live runs alike on every machine.
export OMP_NUM_THREADS ?= 1

find   = $(shell find $(1) -type f -not -path '*/__pycache__/*' 2>/dev/null)
CODE  := $(call find,ndiv_lib book/_ext book/ledger) requirements.lock
PAGES := $(call find,book notebooks) _config.yml

.PHONY: help env lock book test lint bench notebooks colab clean
help:
	@echo "make book       run all notebooks and render the book"
	@echo "make test       lint, types, tests, notebooks, and the pages in a browser"
	@echo "make bench      the benchmark table"
	@echo "make notebooks  the run time of every notebook"
	@echo "make colab      run the notebooks with Colab's versions (needs Python 3.13)"
	@echo "make env        only make the environment in $(VENV)"
	@echo "make lock       resolve requirements.lock anew"
	@echo "make clean      remove the built book"

# --- environment -----------------------------------------------------------------------------------------------------
env: $(VENV)/.ready

# uv, itself from pip, installs the lock: pip alone would pair torch with a torchvision that does not load.
$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit('Python >= 3.11 is needed, this is ' + sys.version if sys.version_info < (3, 11) else 0)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.lock --editable .
	@touch $@

EXTRAS := --extra book --extra test
lock: env
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 $(EXTRAS) --constraint .github/book-constraints.txt \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade --output-file requirements.lock pyproject.toml

# --- book ------------------------------------------------------------------------------------------------------------
book: _build/.pages
	@echo "The book is at file://$(CURDIR)/_build/html/index.html"

# The execution cache only knows the cells' text, so new code or records start a build from nothing.
_build/.code: $(CODE)
	rm -rf _build
	mkdir -p _build
	@touch $@

_build/.pages: $(VENV)/.ready _build/.code $(PAGES)
	$(BIN)/jupyter-book build . --toc book/_toc.yml -W --keep-going -n
	@touch $@

# --- tests -----------------------------------------------------------------------------------------------------------
lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

# One run of pytest: unit and property tests, doctests, notebooks cell by cell, and the pages of a book that is up to date.
# loadscope keeps the cells of a notebook, which share a kernel, on one worker.
test: env lint _build/.pages
	$(BIN)/pytest tests ndiv_lib $(wildcard notebooks) -n $(JOBS) --dist loadscope --nbval-lax --nbval-cell-timeout 120

bench: env
	$(BIN)/python -m tests.benchmarks

notebooks: env
	$(BIN)/python -m tests.benchmarks.notebooks

# As on Colab: its versions, no ndiv_lib, and the set-up cell of the first notebook that runs installs it.
COLAB_PYTHON ?= python3.13
COLAB        := .venv-colab
colab:
	$(COLAB_PYTHON) -m venv --clear $(COLAB)
	$(COLAB)/bin/python -m pip install --quiet uv
	$(COLAB)/bin/uv pip install --quiet --python $(COLAB)/bin/python --constraint .github/colab-constraints.txt \
	  torch torchvision numpy scipy scikit-learn matplotlib seaborn pillow ipywidgets ipykernel pytest nbval
	COLAB_RELEASE_TAG=test NDIV_SPEC=$(CURDIR) $(COLAB)/bin/python -m pytest -c /dev/null --rootdir . notebooks \
	  --nbval-lax --nbval-cell-timeout 120

clean:
	rm -rf _build
