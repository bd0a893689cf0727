"""The process beside a command that makes runs: `python -m repro.tracking.follow`, started by `repro.tracking.mirror`.

Standard input: a line that says which records, and how to name them; its end means that nothing more is written.
"""

import contextlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from repro.store import RunDirectory
from repro.tracking.description import destination
from repro.tracking.label import Label
from repro.tracking.mirror import why_offline
from repro.tracking.point import Point

POLL_SECONDS = 2.0
NICENESS = 19


def main() -> int:
    """Follow the records to their end. Exit code 1 if W&B could not be brought up to one.

    The first reason is a line on standard output, as soon as it is known.
    """
    os.nice(NICENESS)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the training; this ends when its input does
    # Only now, out of the training's way: half of this process's work is to import the client.
    from repro.tracking.failures import FAILURES, UNREADABLE, reason
    from repro.tracking.publish import Publication, ShownElsewhere

    task = json.loads(sys.stdin.readline())
    runs = Path(task["runs"])
    labels = {run_id: Label(text, group, tuple(tags)) for run_id, (text, group, tags) in task["labels"].items()}
    point = Point(*task["point"]) if task["point"] else None
    waiting = [RunDirectory(runs / run_id) for run_id in labels]
    publications: dict[RunDirectory, Publication] = {}
    elsewhere: set[RunDirectory] = set()
    # A failed run may be made again, by this command even.
    shown_failures: dict[RunDirectory, dict[str, Any] | None] = {}
    lacking: list[RunDirectory] = []

    def lacks(record: RunDirectory, why: str) -> None:
        if not lacking:
            with contextlib.suppress(BrokenPipeError):  # the command is gone
                print(f"run {record.run_id}: {why}", flush=True)
        lacking.append(record)

    ended = False
    while not ended:
        ended = bool(select.select([sys.stdin], [], [], POLL_SECONDS)[0])
        for record in list(waiting):
            try:
                # Asked first, so that nothing that is written before the end is missed.
                state, failure = record.state(), record.last_failure()
                if state == "missing" or not (record.path / "environment.json").exists():
                    continue
                if state == "failed" and shown_failures.get(record) == failure:
                    continue
                if record in elsewhere and state == "done":
                    waiting.remove(record)  # to show its end is for whoever showed it
                    continue
                if record not in publications:
                    publications[record] = Publication(record, labels[record.run_id], destination(runs), point)
                publications[record].send_rows()
                if ended or state in ("done", "failed"):
                    problem = publications[record].finish()
                    if problem is not None and publications[record].done:
                        lacks(record, problem)
                    del publications[record]
                    if state == "failed":
                        shown_failures[record] = failure
                    else:
                        waiting.remove(record)
            except ShownElsewhere:
                elsewhere.add(record)
            except FAILURES as error:
                lacks(record, why_offline() or reason(error))
                publications.pop(record, None)
                waiting.remove(record)  # the client refuses to open a run anew in the same process
            except UNREADABLE as error:
                lacks(record, reason(error))
                waiting.remove(record)
                if record in publications:
                    publications.pop(record).abandon()
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
