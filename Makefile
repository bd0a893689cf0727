# The README's two commands. Each makes the environment (.venv) first if it is missing or older than pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread a process, since several run at once (`tests/conftest.py` says how they share the tests).
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -rs
SHARED := --dist loadgroup --no-loadscope-reorder

.PHONY: demo test test-fast chaos check

demo: $(VENV)/.installed
	$(BIN)/repro demo

test: $(VENV)/.installed
	$(PYTEST) -n 3 $(SHARED) -m "not chaos"  # one of the three mostly waits for Slurm

chaos: $(VENV)/.installed
	$(PYTEST) -m chaos

test-fast: $(VENV)/.installed
	$(PYTEST) -n 2 $(SHARED) -m "not slow and not slurm"

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# uv, itself from PyPI, installs torch's gigabytes several times faster than pip. Compiled once here, packages are not
# compiled again by every process where PYTHONDONTWRITEBYTECODE is set (20 s of processor time for torch).
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "repro needs Python 3.11 or newer; say which with 'make PYTHON=python3.12 ...'" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' || \
		{ echo "this Python has no ensurepip; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[dev,wandb,slurm]'
	touch $@
