"""How the suite is installed: by `make.py`, or by `pip install` with everything that a command reads from it."""

import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("folder", ["repro", "analysis", "slurm", "sweeps"])
def test_every_file_of_the_suite_is_installed(folder: str) -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert any(fnmatch(folder, pattern) for pattern in setuptools["packages"]["find"]["include"])
    files = [path for path in (ROOT / folder).rglob("*.*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    patterns = setuptools["package-data"]["*"]
    assert [path for path in files if not any(fnmatch(path.name, pattern) for pattern in patterns)] == []


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(folder / "make.py"), *arguments]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=60)


def test_make_names_its_targets_and_refuses_others() -> None:
    listed = re.findall(r"python3 make.py (\S+)", make(ROOT).stderr)
    assert listed == ["demo", "test", "test-fast", "chaos", "check", "install"]
    for arguments in ([], ["tests"], ["demo", "test"]):
        done = make(ROOT, *arguments)
        assert done.returncode == 2 and done.stdout == "" and "make.py demo" in done.stderr
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert {name for page in pages for name in re.findall(r"make\.py ([\w-]+)", page.read_text())} <= set(listed)


def test_make_installs_only_what_is_older_than_its_requirements_and_ends_as_what_it_runs(tmp_path: Path) -> None:
    shutil.copy(ROOT / "make.py", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, code in (("repro", 3), ("pytest", 5), ("ruff", 0), ("mypy", 1), ("python", 0)):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" threads=$OMP_NUM_THREADS\nexit {code}\n')
        (programs / name).chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    done = make(tmp_path, "demo")
    assert done.returncode == 3 and "repro demo threads=" in done.stdout and "-m venv" not in done.stdout
    done = make(tmp_path, "test-fast")
    assert done.returncode == 5 and "pytest -rs -m not slow and not slurm -n 3" in done.stdout
    assert done.stdout.endswith("threads=1\n")
    assert make(tmp_path, "check").returncode == 1
    done = make(tmp_path, "test")
    assert done.returncode == 5 and done.stdout.count("pytest -rs -m") == 2
    assert done.stdout.index("-m not slurm") < done.stdout.index("-m slurm and not chaos")
