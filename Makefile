# kshot: `make lab` opens the course. Needs Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
LAB ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ONCE := "Installing into $(VENV), once: this takes minutes, and some GB."

.PHONY: lab
lab: $(VENV)/lab.ok
	JUPYTER_CONFIG_PATH="$(CURDIR)/lectures" $(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" $(LAB) lectures/00_start_here.ipynb

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kshot needs Python 3.11 or newer, which $(PYTHON) is not: make lab PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make environments; on Debian: sudo apt install python3-venv"; exit 1; }

# A stamp a purpose: a second run installs nothing; a changed pin or requirement installs again.
$(VENV)/lab.ok: pyproject.toml constraints.txt | $(BIN)/python
	@echo $(ONCE)
	$(PIP) torch
	$(PIP) -e '.[lab]'
	@touch $@

# instructors: `make setup` installs what grading and testing need, `make test` tests everything.
.PHONY: setup test check bench
setup: $(VENV)/test.ok

test: $(VENV)/test.ok
	$(BIN)/python -m pytest

check: $(VENV)/test.ok
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/autograder build --check

bench: $(VENV)/test.ok
	$(PIP) -e '.[bench]'
	$(PIP) --no-deps easyfsl
	for script in speed/maml speed/first_order speed/anil speed/prototypical speed/sinusoids speed/sampling speed/gpu \
	  omniglot glyphs families sinusoid curves in_context latency grading kill_batch hostile otter_compatibility fuzz_wire; do $(BIN)/python benchmarks/$$script.py || exit 1; done

$(VENV)/test.ok: pyproject.toml constraints.txt | $(BIN)/python
	@echo $(ONCE)
	$(PIP) torch
	$(PIP) -e '.[lab,instructor,test]'
	@touch $@ $(VENV)/lab.ok
# /instructors
