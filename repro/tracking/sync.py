"""`repro wandb sync`: bring W&B up to the records on disk, and check that it is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from wandb.apis.public import Api

from repro.errors import RunFailed
from repro.store import RunDirectory
from repro.tracking.carried import digest
from repro.tracking.check import check, is_checked
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

    What W&B calls a run is left as it is where there is no label, or W&B knows the study of the run.

    With `models` the weights of finished runs too, linked from parent to child: parents must come first.
    Raises wandb.Error where W&B as a whole cannot be used: no server, no key. What it refuses for one run, or a record
    that cannot be read, is that run's problem.
    """
    api = Api()
    to = replace(to, entity=to.entity or api.default_entity)
    path = f"{to.entity}/{to.project}"
    there = _shown(api, path)
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
                    or check(api.run(f"{path}/{record.run_id}"), content, True, to.folder) is None
                )
            ):
                named = label if known is None or known.study is None else None  # the study that asked for it first
                rows, sent, problem = _send(record, named, to, models)
        except ShownElsewhere:
            live = True
        except FAILURES as error:  # of this run alone, such as one that was deleted in W&B?
            if why_offline() is not None:
                raise
            problem = reason(error)
        except UNREADABLE as error:
            problem = reason(error)
        yield Synced(record.run_id, name, rows, sent, problem, live)


def _send(record: RunDirectory, label: Label | None, to: Destination, models: bool) -> tuple[int, int, str | None]:
    """Send what W&B lacks of one run: how many rows it has, how many of them were sent, and what is still missing."""
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


@dataclass(frozen=True)
class _Shown:
    """What W&B says of a run: its address and state, how many rows, which record it carries, its weights, its study."""

    url: str
    state: str
    rows: int
    record: str | None
    model: str | None
    study: str | None


def _is_whole(known: _Shown, record: RunDirectory, rows: int, label: Label | None, models: bool) -> bool:
    """Whether W&B says that it has all of a finished record."""
    return (
        known.state == "finished"
        and record.is_done()
        and (known.rows, known.record) == (rows, digest(record))
        and (not models or known.model == artifact_name(record.run_id))
        and (label is None or known.study is not None or "study" not in label.asked_for())
    )


def _shown(api: Api, path: str) -> dict[str, _Shown]:
    """Every run in the project, by run id."""
    try:
        runs = list(api.runs(path, per_page=PAGE, lazy=False))
    except ValueError:  # the project does not exist yet
        return {}
    return {
        run.id: _Shown(
            run.url,
            run.state,
            run.historyLineCount,
            run.summary.get("record_digest"),
            run.summary.get("model_artifact"),
            run.config.get("study"),
        )
        for run in runs
    }
