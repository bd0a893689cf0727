"""Which code ran: the git commit of this package's checkout, and whether it had uncommitted changes."""

import subprocess
from pathlib import Path


def code_version() -> dict[str, str | bool | None]:
    """{"commit": ..., "dirty": ...}; both None where the package does not lie in a git checkout."""
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain", "--", ".") if commit is not None else None
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return None
    return done.stdout.strip() if done.returncode == 0 else None
