"""The kernel's lock on an open file (`flock`), which ends with its holder, however that dies."""

import fcntl
from typing import IO

from repro.errors import BadInput


def try_lock(file: IO[bytes], shared: bool = False) -> bool:
    """Lock the file, together with other `shared` locks or alone, without waiting; False if another lock is there.

    Raises BadInput where the file system has no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise BadInput(f"{file.name}: this file system has no locks ({error.strerror}); see --runs") from error
    return True
