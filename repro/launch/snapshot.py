"""Copy the code in its current state, for jobs that start later."""

import json
import os
import shutil
import stat
import tempfile
from pathlib import Path

from repro.atomic import write_atomically
from repro.errors import BadInput, RunFailed
from repro.provenance import SNAPSHOT_FILE, code_version, content_hash, source_files


def check_clean() -> None:
    """Raise BadInput if the code is not exactly a git commit."""
    dirty = code_version()["dirty"]
    if dirty is not False:
        what = "has uncommitted changes" if dirty else "is not in a git checkout"
        raise BadInput(f"--require-clean: the code {what}")


def take_snapshot(folder: Path) -> Path:
    """Copy this package to a folder in `folder` named after a hash of its content, and return it, for PYTHONPATH.

    The same code is copied only once. Call this only under the ledger's lock. Raises BadInput if the copy cannot be
    written or found in PYTHONPATH, or if an existing copy has changed since it was made.
    """
    if os.pathsep in str(folder.absolute()):
        raise BadInput(
            f"{folder.absolute()}: jobs and workers could not run the copy of the code that is kept there, because "
            f"'{os.pathsep}' separates the folders in PYTHONPATH; choose --runs without it"
        )
    files = source_files()
    content = content_hash(files)
    place = folder / content
    version = json.dumps(code_version() | {"content": content}, indent=1) + "\n"
    if place.is_dir():
        if content_hash(source_files(place / "repro")) != content:  # edited, or files removed by a clean-up of the disk
            raise BadInput(f"{place}: this copy of the code has changed since it was made; remove it and launch again")
        _note_version(place / SNAPSHOT_FILE, version)
        return place
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder, prefix=f".{content}."))
        try:
            for name, data in files.items():
                path = partial / "repro" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            (partial / SNAPSHOT_FILE).write_text(version)
            partial.chmod(stat.S_IMODE(folder.stat().st_mode))  # for a group too, where the runs are a group's
            partial.rename(place)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise BadInput(f"{folder}: the code cannot be copied there ({os.strerror(error.errno or 0)})") from error
    return place


def _note_version(path: Path, version: str) -> None:
    """Update the commit of a copy: code that was copied with uncommitted changes may have been committed since."""
    noted = path.read_text() if path.exists() else None
    if noted == version:
        return
    try:
        write_atomically(path, version.encode())
    except RunFailed as error:
        if noted is None or json.loads(noted)["dirty"] is not False:
            raise BadInput(str(error)) from error
        # A copy that another user made: the commit noted there has exactly this code, too.
