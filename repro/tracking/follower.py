"""Send the records of runs to W&B while a command makes them."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro.store import RunDirectory
from repro.tracking.carried import digest
from repro.tracking.check import is_checked
from repro.tracking.description import destination
from repro.tracking.failures import FAILURES, UNREADABLE, reason
from repro.tracking.label import Label
from repro.tracking.offline import why_offline
from repro.tracking.publish import Publication, ShownElsewhere
from repro.tracking.under_agent import Point


class Follower:
    """Sends the records of the labelled runs (by run id) in `runs`, each until it is done.

    The first reason why W&B is not up to date with one of them is printed as a line on standard output as soon as it
    is known; `complete` is then false.
    """

    def __init__(self, runs: Path, labels: Mapping[str, Label], point: Point | None) -> None:
        self.complete = True
        self._to = destination(runs)
        self._labels = labels
        self._point = point
        self._waiting = [RunDirectory(runs / run_id) for run_id in labels]
        self._publications: dict[RunDirectory, Publication] = {}
        self._shown_failures: dict[RunDirectory, dict[str, Any] | None] = {}

    def look(self, ended: bool) -> bool:
        """Send what is new in each record. `ended`: nothing more will be written, so runs are closed as they are.

        Return whether a run could not be sent now, because another process is sending it, such as `repro wandb sync`.
        That one may miss the run's end; so it is worth looking again.
        """
        blocked = False
        for record in list(self._waiting):
            try:
                self._send_new(record, ended)
            except ShownElsewhere:
                blocked |= record.state() != "running"  # who makes it shows it to its end
            except FAILURES as error:
                self._lacks(record, why_offline() or reason(error))
                self._publications.pop(record, None)
                self._waiting.remove(record)  # the client refuses to open a run again in the same process
            except UNREADABLE as error:
                self._lacks(record, reason(error))
                self._waiting.remove(record)
                if record in self._publications:
                    self._publications.pop(record).abandon()
        return blocked

    def _send_new(self, record: RunDirectory, ended: bool) -> None:
        # Read before the rows, so that nothing that is written before the end is missed.
        state, failure = record.state(), record.last_failure()
        if state == "missing" or not (record.path / "environment.json").exists():
            return
        if state == "failed" and self._shown_failures.get(record) == failure:
            return
        if record not in self._publications:
            if state == "interrupted" and not ended:
                return  # nobody makes it now; W&B would show it as running
            if state == "done" and self._is_checked(record):
                self._waiting.remove(record)  # another process has sent it
                return
            label = self._labels[record.run_id]
            self._publications[record] = Publication(record, label, self._to, self._point)
        publication = self._publications[record]
        publication.send_rows()
        if not ended and state not in ("done", "failed"):
            return
        problem = publication.finish()
        if problem is not None and publication.done:
            self._lacks(record, problem)
        del self._publications[record]
        if state == "failed":
            self._shown_failures[record] = failure  # it may be made again, even by this command
        else:
            self._waiting.remove(record)

    def _is_checked(self, record: RunDirectory) -> bool:
        address = f"/{self._to.project}/runs/{record.run_id}"
        return is_checked(address, record.run_id, digest(record), self._to.folder)

    def _lacks(self, record: RunDirectory, why: str) -> None:
        if self.complete:
            with contextlib.suppress(BrokenPipeError):  # the command has ended
                print(f"run {record.run_id}: {why}", flush=True)
        self.complete = False
