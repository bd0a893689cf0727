"""A copy of the code as it is now, for jobs that start later."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from repro.errors import BadInput
from repro.provenance import SNAPSHOT_FILE, code_version, content_hash, source_files


def check_clean() -> None:
    """Raise BadInput if the code is not exactly a git commit."""
    dirty = code_version()["dirty"]
    if dirty is not False:
        what = "has uncommitted changes" if dirty else "does not lie in a git checkout"
        raise BadInput(f"--require-clean: the code {what}")


def take_snapshot(folder: Path) -> Path:
    """The folder below `folder` that holds a copy of this package, for PYTHONPATH; named after the content.

    The same code is copied once. Raises BadInput if it cannot be written.
    """
    files = source_files()
    content = content_hash(files)
    place = folder / content
    if place.is_dir():
        return place
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder, prefix=f".{content}."))
        try:
            for name, data in files.items():
                path = partial / "repro" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            (partial / SNAPSHOT_FILE).write_text(json.dumps(code_version() | {"content": content}, indent=1) + "\n")
            partial.chmod(0o755)
            partial.rename(place)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            if not place.is_dir():  # another launcher did not write it meanwhile either
                raise
    except OSError as error:
        raise BadInput(f"{folder}: the code cannot be copied there ({os.strerror(error.errno or 0)})") from error
    return place
