"""What an attempt to make a run records about itself: its machine, a log, and the reason if it failed."""

import contextlib
import logging
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from repro.atomic import writing
from repro.errors import RunFailed
from repro.provenance import code_version, slurm_job_id
from repro.store import TIME_FORMAT, RunDirectory
from repro.training.distributed import PeerLost


def note_attempt(run: RunDirectory, step: int, machine: Mapping[str, Any]) -> list[str]:
    """Append an attempt that begins at `step` to `environment.json`.

    Returns the keys in which the machine differs from that of the attempt it resumes, if it resumes one.
    """
    path = run.path / "environment.json"
    attempts = run.read_json(path.name)["attempts"] if path.exists() else []
    attempt = {
        "started": now(),
        "step": step,
        "code": code_version(),
        "machine": machine,
        "argv": sys.argv,
        "host": socket.gethostname(),
        "job": slurm_job_id(),
    }
    run.write_json(path.name, {"attempts": [*attempts, attempt]})
    before = attempts[-1]["machine"] if attempts and step else machine
    return [key for key in machine if before.get(key) != machine[key]]


def write_failure(run: RunDirectory, error: Exception) -> None:
    """Write the reason to the record. If the disk itself fails, only the caller's message reports the reason."""
    if isinstance(error, PeerLost) and run.failure() is not None:
        return  # the process that was lost has recorded its reason
    with contextlib.suppress(OSError, RunFailed):
        run.write_failure(str(error), traceback.format_exc())


class _RunLog(logging.FileHandler):
    """Drops lines if the disk is full: the record cannot be written then either, and that error is reported."""

    def handleError(self, record: logging.LogRecord) -> None: ...  # noqa: N802

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def run_log(run: RunDirectory, writes: bool) -> Iterator[logging.Logger]:
    """A logger that writes `run.log`, or nothing unless `writes` (in processes that leave the log to another one)."""
    log = logging.getLogger(f"repro.run.{run.run_id}")
    log.setLevel(logging.INFO)
    log.propagate = False
    with writing(run.path / "run.log"):
        handler = _RunLog(run.path / "run.log") if writes else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log
    finally:
        log.removeHandler(handler)
        handler.close()


def now() -> str:
    """The current time in the format of the records."""
    return time.strftime(TIME_FORMAT)
