# The README's two commands are `demo` and `test`. Every target first installs the environment (.venv) if it is missing
# or older than pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread per process, because several run at once: three, since tests also wait, and two processors are common.
# Tests are distributed by file, so that what the tests of a file share is made only once. Tests on a real Slurm mostly
# wait, so they run in parallel with the others. The suite is byte-compiled for the hundreds of processes that they
# start.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -rs
SHARED := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast chaos check

demo: $(VENV)/.installed
	$(BIN)/repro demo

test: $(VENV)/.installed
	@$(BIN)/python -m compileall -q repro analysis slurm
	@log=$$(mktemp); $(PYTEST) -m "slurm and not chaos" $$(grep -l mark.slurm tests/test_*.py) >$$log 2>&1 & slurm=$$!; \
	$(PYTEST) $(SHARED) -m "not slurm"; others=$$?; \
	wait $$slurm; on_slurm=$$?; cat $$log; rm $$log; exit $$((others | on_slurm))

chaos: $(VENV)/.installed
	$(PYTEST) -s -m chaos

test-fast: $(VENV)/.installed
	$(PYTEST) $(SHARED) -m "not slow and not slurm"

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# uv (also from PyPI) installs torch's gigabytes several times faster than pip. Packages are byte-compiled here, once:
# where PYTHONDONTWRITEBYTECODE is set, every process would otherwise compile them again (20 s of CPU time for torch).
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "repro needs Python 3.11 or newer; choose one with 'make PYTHON=python3.12 ...'" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' || \
		{ echo "this Python has no ensurepip; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[dev,wandb,slurm]'
	touch $@
