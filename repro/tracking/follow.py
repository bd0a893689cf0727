"""Mirror runs while a command makes them: `python -m repro.tracking.follow`, started by `repro.tracking.mirror`.

Standard input has one line, which says which records to follow and how to label them. Its end means that nothing more
will be written.
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
from repro.tracking.offline import why_offline
from repro.tracking.under_agent import Point

POLL_SECONDS = 2.0
NICENESS = 19


def main() -> int:
    """Follow the records to their end. Exit code 1 if W&B could not be brought up to date with one of them.

    The first reason is printed as a line on standard output as soon as it is known.
    """
    os.nice(NICENESS)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # signals are for the training; this process ends with its input
    # Imported only now, at low priority: importing the client is half of this process's work.
    from repro.tracking.failures import FAILURES, UNREADABLE, reason
    from repro.tracking.publish import Publication, ShownElsewhere

    task = json.loads(sys.stdin.readline())
    runs = Path(task["runs"])
    labels = {run_id: Label(text, group, tuple(tags)) for run_id, (text, group, tags) in task["labels"].items()}
    point = Point(*task["point"]) if task["point"] else None
    waiting = [RunDirectory(runs / run_id) for run_id in labels]
    publications: dict[RunDirectory, Publication] = {}
    elsewhere: set[RunDirectory] = set()
    # A failed run may be made again, even by this command.
    shown_failures: dict[RunDirectory, dict[str, Any] | None] = {}
    lacking: list[RunDirectory] = []

    def lacks(record: RunDirectory, why: str) -> None:
        if not lacking:
            with contextlib.suppress(BrokenPipeError):  # the command has ended
                print(f"run {record.run_id}: {why}", flush=True)
        lacking.append(record)

    ended = False
    while not ended:
        ended = bool(select.select([sys.stdin], [], [], POLL_SECONDS)[0])
        for record in list(waiting):
            try:
                # Read before the rows, so that nothing that is written before the end is missed.
                state, failure = record.state(), record.last_failure()
                if state == "missing" or not (record.path / "environment.json").exists():
                    continue
                if state == "failed" and shown_failures.get(record) == failure:
                    continue
                if record in elsewhere and state == "done":
                    waiting.remove(record)  # the process that showed it also shows its end
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
                waiting.remove(record)  # the client refuses to open a run again in the same process
            except UNREADABLE as error:
                lacks(record, reason(error))
                waiting.remove(record)
                if record in publications:
                    publications.pop(record).abandon()
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
