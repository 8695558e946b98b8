# First use makes .venv with the versions of requirements.lock; afterwards the stamp files say that it stands.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock

.PHONY: demo test lint docs fuzz clean

demo: $(VENV)/.installed
	$(BIN)/protosegbrain demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m Testing.fuzz --minutes 1 --seed 1

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -W --keep-going -q -j auto docs build/docs
	@echo "The site: build/docs/index.html"

$(VENV)/.installed: pyproject.toml requirements.lock
	@echo "Setting up $(VENV); the first time this downloads PyTorch and takes a few minutes ..."
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable ".[dev]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build docs/reference *.egg-info
