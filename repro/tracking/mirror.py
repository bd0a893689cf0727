"""The live mirror: a process that watches the records of runs while a command makes them, and sends them to W&B.

The command starts it, closes a pipe when it is finished, and waits for a bounded time. It has no other contact with
W&B: the training processes never call the client.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import IO, Literal

from repro.store import RunDirectory
from repro.tracking.label import Label
from repro.tracking.offline import why_offline
from repro.tracking.under_agent import FOREIGN, point_of_agent

Mode = Literal["online", "offline", "disabled", "auto"]

END_SECONDS = 30.0
"""The longest that a command waits for its mirror at the end. It waits only while there is something left to send."""

STOPPED_SECONDS = 5.0
"""Replaces `END_SECONDS` if the command was asked to stop or failed, since it should then end soon."""


@contextlib.contextmanager
def mirrored(mode: Mode, runs: Path, labels: Mapping[str, Label], say: Callable[[str], None]) -> Iterator[None]:
    """Show the runs with these labels (by run id) in W&B while the block makes them.

    `online`: always. `auto`: if a server answers and a key is found, else offline. `offline`, `disabled`: nothing is
    sent; the records in `runs` hold everything, and `repro wandb sync` sends it later. Never raises. If something goes
    wrong, `say` gets a single line as soon as that is known, perhaps from another thread.
    """
    if mode == "auto":
        reason = why_offline()
        if reason is not None:
            say(f"W&B: offline ({reason}); to send the runs later: repro wandb sync --runs {runs}")
        mode = "online" if reason is None else "offline"
    # Runs that are already done are left to `repro wandb sync`.
    unfinished = {run_id: label for run_id, label in labels.items() if not RunDirectory(runs / run_id).is_done()}
    if mode != "online" or not unfinished:
        yield
        return
    said: list[str] = []

    def tell(reason: str) -> None:
        if not said:
            said.append(reason)
            say(f"warning: W&B is incomplete ({reason}); `repro wandb sync --runs {runs}` sends the rest")

    with contextlib.ExitStack() as files:
        process: subprocess.Popen[bytes] | None = None
        try:
            errors = files.enter_context(tempfile.TemporaryFile())
            process = _start(runs, unfinished, errors)
        except OSError as error:  # too many processes, say
            tell(f"its mirror cannot start: {error.strerror}")
        if process is None:
            yield
            return
        watcher = threading.Thread(target=_watch, args=(process, tell), daemon=True)
        watcher.start()
        seconds = STOPPED_SECONDS
        try:
            yield
            seconds = END_SECONDS
        finally:
            code = _end(process, seconds)
            watcher.join(1.0)
            if code is None:
                tell(f"it was still sending {seconds:g} s after the end")
            elif code != 0:
                errors.seek(0)
                tell("".join(errors.read().decode(errors="replace").strip().splitlines()[-1:]))


def _start(runs: Path, labels: Mapping[str, Label], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "repro.tracking.follow"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        # Ctrl-C is for the training. Same session, because Linux compares niceness only within a session.
        process_group=0,
        env={name: value for name, value in os.environ.items() if name not in FOREIGN},
    )
    point = point_of_agent()
    plain_labels = {run_id: astuple(label) for run_id, label in labels.items()}
    task = {"runs": str(runs), "labels": plain_labels, "point": point and astuple(point)}
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
    return process


def _watch(process: subprocess.Popen[bytes], tell: Callable[[str], None]) -> None:
    """Report the mirror's first problem at once, since training may continue for days."""
    assert process.stdout is not None
    reason = process.stdout.readline().decode(errors="replace").strip()
    if reason:
        tell(reason)


def _end(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Let the mirror send what is left, and return its exit code. Kill it after `seconds`, and return None."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()  # the client's own process ends when this one does
        process.wait()
        return None
