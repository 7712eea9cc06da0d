# Two commands do all the set-up on a machine that has Python and pip:
#   make demo    pretrain on real images that need no download, in minutes
#   make test    run the tests
#
# PYTHON is the interpreter that environments are made with. STACK is `default`, or `newest`
# for the newer TensorFlow where it is not the default anyway; see CONTRIBUTING.md.

PYTHON ?= python3
STACK ?= default
OLD_PYTHON := $(shell $(PYTHON) -c 'import sys; print("yes" if sys.version_info < (3, 12) else "no")')

ifeq ($(STACK)-$(OLD_PYTHON),default-yes)
VENV := .venv
INSTALL = $(VENV)/bin/pip install -c constraints/default.txt -e .[dev]
else ifeq ($(STACK),default)
VENV := .venv
INSTALL = $(VENV)/bin/pip install -c constraints/newest.txt -e .[dev]
else
# The dependencies of setup.cfg are those of the default stack, so the list alone counts.
VENV := .venv-newest
INSTALL = $(VENV)/bin/pip install -r constraints/newest.txt && \
	$(VENV)/bin/pip install --no-deps -e .
endif

READY := $(VENV)/ready
RUN := $(VENV)/bin/python

.PHONY: demo notebook readme test test-thorough test-slow lint format clean

demo: $(READY)
	$(RUN) run.py --flagfile=configs/digits.cfg --model_dir=runs/digits
	$(RUN) -m simclr_tf.probe runs/digits
	$(RUN) -m simclr_tf.report runs/digits

notebook: $(READY)
	$(RUN) tests/notebook.py docs/pretrain.ipynb

readme: $(READY)
	$(RUN) tests/readme_commands.py

test: $(READY)
	$(RUN) -m pytest -n 2 --dist loadfile

test-thorough: $(READY)
	$(RUN) -m pytest -m "thorough and not slow" -n 2 --dist loadfile

test-slow: $(READY)
	$(RUN) -m pytest -m slow -n 2 --dist loadfile

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(READY): setup.cfg constraints/default.txt constraints/newest.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(INSTALL)
	touch $(READY)

clean:
	rm -rf .venv .venv-newest
