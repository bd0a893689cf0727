"""Atomic file writes, and clear errors for files that cannot be written or read."""

import contextlib
import json
import os
import pickle
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from safetensors import SafetensorError

from repro.errors import BadInput, Damaged, RunFailed

DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)
"""What opening or reading a damaged or truncated zip archive may raise, depending on where the damage is."""
CORRUPT = (ValueError, LookupError, TypeError, EOFError, RuntimeError, pickle.UnpicklingError, SafetensorError)
"""What reading a file raises if its content is not what was written."""


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically: whatever happens, `path` holds either its old content or all of the new.

    Raises RunFailed if it cannot be written, for example because the disk is full.
    """
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into RunFailed, which says that `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise RunFailed(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def reading(path: Path, remedy: str | None = None) -> Iterator[None]:
    """Turn errors caused by corrupt content of `path` into Damaged. A missing file still raises OSError.

    `remedy`: what to do, by default for a file of a run's record.
    """
    try:
        yield
    except CORRUPT as error:
        reason = str(error).partition("\n")[0]
        remedy = remedy or f"remove {path.parent} to make the run again"
        raise Damaged(f"{path}: damaged ({reason}); {remedy}") from error


def read_object(path: Path, keys: Mapping[str, type | UnionType]) -> dict[str, Any]:
    """The JSON object in a file of a record, with values of these types. Raises Damaged if it is something else."""
    with reading(path):
        content: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        for key, form in keys.items():
            if key not in content:
                raise ValueError(f"it has no '{key}'")
            if not isinstance(content[key], form):
                raise ValueError(f"its '{key}' is {content[key]!r}")
    return content


def make_folder(path: Path, option: str) -> None:
    """Create the folder `path` if it does not exist. Raises BadInput, which names the option, if it is not writable."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # before the work whose result goes there, not after it
            pass
    except OSError as error:
        raise BadInput(f"{path}: cannot write there ({error.strerror}); see {option}") from error
