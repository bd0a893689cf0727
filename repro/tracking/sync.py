"""`repro wandb sync`: bring W&B up to the records on disk, and check that it is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wandb.apis.public import Api, Run

from repro.errors import RunFailed
from repro.store import RunDirectory
from repro.tracking.carried import FILE, digest
from repro.tracking.description import Destination
from repro.tracking.failures import FAILURES, UNREADABLE, reason
from repro.tracking.label import Label
from repro.tracking.mirror import why_offline
from repro.tracking.models import artifact_name, send_model
from repro.tracking.publish import Publication, ShownElsewhere

PAGE = 100
FINISH_SECONDS = 300.0
"""So long W&B may take for what is left of one run when all is handed to the client. Nobody's training waits for it."""


@dataclass(frozen=True)
class Synced:
    """What became of one run.

    problem: how W&B differs from the record; None if it holds exactly its rows and, of a finished run, the rest; or if
    it is live: another process sends it now, and it was left alone.
    """

    run_id: str
    label: str
    rows: int
    sent: int
    problem: str | None
    live: bool = False


def sync(
    records: Iterable[tuple[RunDirectory, Label | None]], to: Destination, models: bool = False
) -> Iterator[Synced]:
    """Send what is missing of each record, in turn; runs that W&B has in full are left alone.

    What W&B calls a run is left as it is where there is no label.

    With `models` the weights of finished runs too, linked from parent to child: parents must come first.
    Raises wandb.Error where W&B as a whole cannot be used: no server, no key. What it refuses for one run, or a record
    that cannot be read, is that run's problem.
    """
    api = Api()
    path = f"{to.entity or api.default_entity}/{to.project}"
    there = _finished(api, path)
    for record, label in records:
        name = label.text if label else record.run_id
        rows, sent, problem, live = 0, 0, None, False
        try:
            rows = len(record.metrics())
            if not _is_whole(there.get(record.run_id), record, rows, label, models):
                publication, sent, problem = _send(record, label, to, models)
                rows = len(publication.rows)
                problem = _difference(api.run(f"{path}/{record.run_id}"), publication) or problem
        except ShownElsewhere:
            live = True
        except FAILURES as error:  # of this run alone, such as one that was deleted in W&B?
            if why_offline() is not None:
                raise
            problem = reason(error)
        except UNREADABLE as error:
            problem = reason(error)
        yield Synced(record.run_id, name, rows, sent, problem, live)


def _difference(shown: Run, sent: Publication) -> str | None:
    """What W&B does not show of what was sent; None if it shows everything."""
    there = [row["_step"] for row in shown.scan_history(use_cache=False)]
    if there != [row["step"] for row in sent.rows]:
        return f"W&B holds {len(there)} rows, the record {len(sent.rows)}"
    if sent.done and shown.state != "finished":
        return f"W&B shows it as {shown.state}"
    if sent.done and not list(shown.files([FILE])):
        return f"W&B lacks {FILE}"
    return None


def _send(
    record: RunDirectory, label: Label | None, to: Destination, models: bool
) -> tuple[Publication, int, str | None]:
    """Send what W&B lacks of one run; also how many rows that were, and why its weights could not be sent, if so."""
    publication = Publication(record, label, to, finish_seconds=FINISH_SECONDS)
    problem = None
    try:
        sent = publication.send_rows()
        if models and publication.done:
            try:
                send_model(publication.run, record)
            except RunFailed as error:
                problem = str(error)
        publication.finish()
    except UNREADABLE:
        publication.abandon()
        raise
    return publication, sent, problem


@dataclass(frozen=True)
class _Finished:
    """What W&B has of a finished run: how many rows, which record it carries, its model artifact, its study."""

    rows: int
    record: str | None
    model: str | None
    study: str | None


def _is_whole(known: _Finished | None, record: RunDirectory, rows: int, label: Label | None, models: bool) -> bool:
    """Whether W&B has all of a finished record."""
    return (
        known is not None
        and record.is_done()
        and (known.rows, known.record) == (rows, digest(record))
        and (not models or known.model == artifact_name(record.run_id))
        and (label is None or label.asked_for().get("study") in (None, known.study))
    )


def _finished(api: Api, path: str) -> dict[str, _Finished]:
    """Every finished run in the project, by run id."""
    try:
        runs = [run for run in api.runs(path, per_page=PAGE, lazy=False) if run.state == "finished"]
    except ValueError:  # the project does not exist yet
        return {}
    return {
        run.id: _Finished(
            run.historyLineCount,
            run.summary.get("record_digest"),
            run.summary.get("model_artifact"),
            run.config.get("study"),
        )
        for run in runs
    }
