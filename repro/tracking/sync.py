"""`repro wandb sync`: bring W&B up to date with the records on disk, and verify it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from wandb.apis.public import Api, Run

from repro.errors import RunFailed
from repro.store import RunDirectory
from repro.tracking.carried import digest
from repro.tracking.check import check, is_checked, runs_of
from repro.tracking.description import Destination
from repro.tracking.failures import FAILURES, UNREADABLE, reason
from repro.tracking.label import Label
from repro.tracking.models import artifact_name, send_model
from repro.tracking.offline import why_offline
from repro.tracking.publish import Publication, ShownElsewhere

FINISH_SECONDS = 300.0
"""How long W&B may take for the rest of a run once the client has all of it. No training waits for this."""


@dataclass(frozen=True)
class Synced:
    """The outcome for one run.

    rows: in the record. sent: rows sent now. problem: how W&B differs from the record; None if W&B holds exactly its
    rows and, for a finished run, the rest, or if the run is live. live: another process is sending the run, so it was
    left alone.
    """

    run_id: str
    label: str
    rows: int
    sent: int
    problem: str | None
    live: bool


def sync(
    records: Iterable[tuple[RunDirectory, Label | None]], to: Destination, models: bool = False
) -> Iterator[Synced]:
    """Send what W&B lacks of each record, in turn; runs that W&B has in full are left alone.

    A run's name, group and tags in W&B are left as they are if there is no label, or if W&B has the run's study.

    With `models`, also send the weights of finished runs, linked from parent to child; parents must come first.
    Raises wandb.Error if W&B cannot be used at all (no server, no key). If W&B refuses a single run, or a record
    cannot be read, that is reported as the run's `problem`.
    """
    api = Api()
    to = replace(to, entity=to.entity or api.default_entity)
    path = f"{to.entity}/{to.project}"
    there = {run.id: run for run in runs_of(api, path) or []}
    for record, label in records:
        name = label.text if label else record.run_id
        rows, sent, problem, live = 0, 0, None, False
        try:
            known, content = there.get(record.run_id), record.metrics()
            rows = len(content)
            if known is None or not (
                _is_whole(known, record, rows, label, models)
                and (
                    is_checked(known.url, record.run_id, digest(record), to.folder)
                    or check(api.run(f"{path}/{record.run_id}"), content, digest(record), to.folder) is None
                )
            ):
                rows, sent, problem = _send(record, label, to, models)
        except ShownElsewhere:
            live = True
        except FAILURES as error:  # perhaps of this run alone, such as one that was deleted in W&B
            if why_offline() is not None:
                raise
            problem = reason(error)
        except UNREADABLE as error:
            problem = reason(error)
        yield Synced(record.run_id, name, rows, sent, problem, live)


def _send(record: RunDirectory, label: Label | None, to: Destination, models: bool) -> tuple[int, int, str | None]:
    """Send what W&B lacks of one run. Return its number of rows, how many were sent, and what is still missing."""
    publication = Publication(record, label, to, finish_seconds=FINISH_SECONDS)
    problem = None
    try:
        sent = publication.send_rows()
        if models and publication.done:
            try:
                send_model(publication.run, record)
            except RunFailed as error:
                problem = str(error)
        problem = publication.finish() or problem
    except UNREADABLE:
        publication.abandon()
        raise
    return len(publication.rows), sent, problem


def _is_whole(known: Run, record: RunDirectory, rows: int, label: Label | None, models: bool) -> bool:
    """Whether W&B claims to have all of a finished record."""
    summary = dict(known.summary)
    return (
        known.state == "finished"
        and (known.historyLineCount, summary.get("record_digest")) == (rows, digest(record))
        and (not models or summary.get("model_artifact") == artifact_name(record.run_id))
        and (label is None or "study" in known.config or "study" not in label.asked_for())
    )
