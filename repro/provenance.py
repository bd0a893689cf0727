"""What made a record: this package's git commit, whether it was changed since, a hash of its content; the Slurm job."""

import functools
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
SNAPSHOT_FILE = "snapshot.json"
"""Next to the package in a snapshot of it (`repro.launch.snapshot`): the `code_version` of the original."""


@functools.cache  # a process keeps running the code that it started with
def code_version() -> dict[str, Any]:
    """{"commit": ..., "dirty": ..., "content": ...} of this package; for a snapshot, those at the time it was taken.

    `commit` and `dirty` are None if the package is not part of a git checkout. `content` is the hash of the source
    files themselves.
    """
    snapshot = PACKAGE.parent / SNAPSHOT_FILE
    if snapshot.exists():
        recorded: dict[str, Any] = json.loads(snapshot.read_text())
        return recorded
    # Installed into the environment of another project, it may lie in a checkout that knows nothing of it.
    is_tracked = _git("ls-files", "--error-unmatch", "__init__.py") is not None
    commit = _git("rev-parse", "HEAD") if is_tracked else None
    status = _git("status", "--porcelain", "--", ".") if commit is not None else None
    dirty = None if status is None else bool(status)
    return {"commit": commit, "dirty": dirty, "content": content_hash(source_files())}


def slurm_job_id() -> str | None:
    """The Slurm job that this process belongs to: `12`, or `12_3` in a job array; None outside Slurm."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array is not None else os.environ.get("SLURM_JOB_ID")


def source_files(package: Path | None = None) -> dict[str, bytes]:
    """Every file of this package, or of the copy at `package`, by its path inside it; compiled files are left out."""
    top = package or PACKAGE
    paths = sorted(path for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in paths}


def content_hash(files: dict[str, bytes]) -> str:
    """12 hexadecimal digits that change if any file's name or content does."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return None
    return done.stdout.strip() if done.returncode == 0 else None
