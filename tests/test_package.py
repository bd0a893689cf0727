"""What `pip install` without `-e` installs: everything that a command reads from the suite."""

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
