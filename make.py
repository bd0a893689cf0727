"""Installs the suite into .venv, then runs it or its tests. Needs nothing but Python 3.11 or newer, and git.

python3 make.py demo         answer the paper's question on embedded digits
python3 make.py test         run all tests but `chaos`; those that lack something (Slurm, data, a GPU) say so
python3 make.py test-fast    run the tests that take at most a few seconds each
python3 make.py chaos        kill parts of a Slurm at random, for some minutes
python3 make.py check        ruff and mypy
python3 make.py install      only install
"""

from __future__ import annotations  # older Pythons must be able to read this file, to say that they are too old

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

VENV = Path(".venv")
PYTHON, UV, REPRO, PYTEST, RUFF, MYPY = (
    str(VENV / "bin" / name) for name in ("python", "uv", "repro", "pytest", "ruff", "mypy")
)
# Three processes at once, since tests also wait, and two processors are common; each with one thread. Tests are
# distributed by file, so that what the tests of a file share is made only once.
SHARED = ["-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]


def main(target: str) -> int:
    """Exit code 2 for bad usage, else that of what was run."""
    os.chdir(Path(__file__).resolve().parent)
    if code := install():
        return code
    if target == "demo":
        become(REPRO, "demo")
    if target == "check":
        return run(RUFF, "check", ".") or run(RUFF, "format", "--check", ".") or run(MYPY)
    os.environ["OMP_NUM_THREADS"] = "1"
    if target == "test":
        return test()
    if target == "test-fast":
        become(PYTEST, "-rs", "-m", "not slow and not slurm", *SHARED)
    if target == "chaos":
        become(PYTEST, "-rs", "-s", "-m", "chaos")
    return 0


def install() -> int:
    """Make the environment, if it is missing or older than pyproject.toml."""
    done, needs = VENV / ".installed", Path("pyproject.toml")
    if done.exists() and done.stat().st_mtime > needs.stat().st_mtime:
        return 0
    if importlib.util.find_spec("ensurepip") is None:
        print(
            "make.py: this Python has no ensurepip; on Debian or Ubuntu: apt-get install python3-venv", file=sys.stderr
        )
        return 2
    # uv (also from PyPI) installs torch's gigabytes several times faster than pip. Packages are byte-compiled here,
    # once: where PYTHONDONTWRITEBYTECODE is set, every process would otherwise compile them again (20 s of CPU time for
    # torch).
    extras = "-e", ".[dev,wandb,slurm]"
    code = (
        run(sys.executable, "-m", "venv", str(VENV))
        or run(PYTHON, "-m", "pip", "install", "--quiet", "uv")
        or run(UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", PYTHON, *extras)
    )
    if code == 0:
        done.touch()
    return code


def test() -> int:
    """Tests on a real Slurm mostly wait, so they run in parallel with all others; their output comes last."""
    # For the hundreds of processes that tests start.
    run(PYTHON, "-m", "compileall", "-q", "repro", "analysis", "slurm")
    on_slurm = [str(path) for path in sorted(Path("tests").glob("test_*.py")) if "mark.slurm" in path.read_text()]
    with tempfile.TemporaryFile() as log:
        command = [PYTEST, "-rs", "-m", "slurm and not chaos", *on_slurm]
        slurm = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        others = subprocess.Popen([PYTEST, "-rs", "-m", "not slurm", *SHARED])

        def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            slurm.terminate()
            others.terminate()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both without us
        codes = others.wait(), slurm.wait()
        log.seek(0)
        sys.stdout.buffer.write(log.read())
    return max(map(abs, codes))


def run(*command: str) -> int:
    print("+", *command, flush=True)
    return subprocess.call(command)


def become(*command: str) -> None:
    """Run the command in this process, so that it gets our signals and its exit code is ours."""
    print("+", *command, flush=True)
    os.execv(command[0], command)


def targets() -> list[str]:
    return [line.split()[2] for line in (__doc__ or "").splitlines() if line.startswith("python3 ")]


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036
        print(f"make.py: needs Python 3.11 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
        sys.exit(2)
    if len(sys.argv) != 2 or sys.argv[1] not in targets():
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
