"""The kernel's lock on an open file (`flock`), which is released when its holder exits or is killed."""

import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from repro.errors import BadInput

POLL_SECONDS = 0.1
LOOK_SECONDS = 1.0
"""A process that holds a lock for longer than this does its work under it, and does not just check who has it."""


def lock_path(folder: Path) -> Path:
    """The path of the folder's lock. Raises BadInput if another folder is in its place."""
    path = folder / "lock"
    if path.is_dir():
        raise BadInput(f"{path}: is a folder, but a file of this name is needed as a lock; remove it")
    return path


def try_lock(file: IO[bytes], shared: bool = False, option: str = "--runs") -> bool:
    """Try to lock the file without waiting, exclusively or, if `shared`, along with other shared locks.

    Returns False if another lock prevents it. Raises BadInput, which names the option, if the file system does not
    support locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise BadInput(
            f"{file.name}: this file system does not support locks ({error.strerror}); see {option}"
        ) from error
    return True


def lock_when_free(
    file: IO[bytes], on_wait: Callable[[], None], while_waiting: Callable[[], None], option: str = "--runs"
) -> None:
    """Lock the file exclusively. If that takes long, call `on_wait` once, and `while_waiting` a few times a second.

    Both may raise an exception to stop waiting. Raises BadInput as `try_lock` does.
    """
    since, told = time.monotonic(), False
    while not try_lock(file, option=option):
        if not told and time.monotonic() - since > LOOK_SECONDS:
            on_wait()
            told = True
        while_waiting()
        time.sleep(POLL_SECONDS)
