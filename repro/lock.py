"""The kernel's lock on an open file (`flock`), which is released when its holder exits or is killed."""

import fcntl
from typing import IO

from repro.errors import BadInput


def try_lock(file: IO[bytes], shared: bool = False) -> bool:
    """Try to lock the file without waiting, exclusively or, if `shared`, along with other shared locks.

    Returns False if another lock prevents it. Raises BadInput if the file system does not support locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise BadInput(
            f"{file.name}: this file system does not support locks ({error.strerror}); see --runs"
        ) from error
    return True
