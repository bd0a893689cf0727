"""Files that appear whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from repro.errors import RunFailed


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that, whatever happens, `path` holds either its old content or the new, whole.

    Raises RunFailed if it cannot be written, say on a full disk.
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
    """Say of an error of the system that `path` cannot be written: RunFailed."""
    try:
        yield
    except OSError as error:
        raise RunFailed(f"{path} cannot be written: {error.strerror}") from error
