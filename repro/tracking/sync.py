"""`repro wandb sync`: bring W&B up to the records on disk, and check that it is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wandb.apis.public import Api

from repro.store import RunDirectory
from repro.tracking.carried import digest
from repro.tracking.description import Destination
from repro.tracking.label import Label
from repro.tracking.publish import Publication

PAGE = 100


@dataclass(frozen=True)
class Synced:
    """What became of one run. problem: how W&B differs from the record; None if it holds exactly its rows."""

    run_id: str
    label: str
    rows: int
    sent: int
    problem: str | None


def sync(records: Iterable[tuple[RunDirectory, Label]], to: Destination) -> Iterator[Synced]:
    """Send what is missing of each record, in turn; runs that W&B has in full are left alone.

    Raises wandb.Error where W&B as a whole cannot be used: no server, no key.
    """
    api = Api()
    path = f"{to.entity or api.default_entity}/{to.project}"
    there = _finished(api, path)
    for record, label in records:
        rows = record.metrics()
        if record.is_done() and there.get(record.run_id) == (len(rows), digest(record)):
            yield Synced(record.run_id, label.text, len(rows), 0, None)
            continue
        publication = Publication(record, label, to)
        sent = publication.send_rows()
        publication.finish()
        history = api.run(f"{path}/{record.run_id}").scan_history(use_cache=False)
        steps = [row["_step"] for row in history]
        wanted = [row["step"] for row in rows]
        problem = None if steps == wanted else f"W&B holds {len(steps)} rows, the record {len(wanted)}"
        yield Synced(record.run_id, label.text, len(rows), sent, problem)


def _finished(api: Api, path: str) -> dict[str, tuple[int, str | None]]:
    """Of every finished run in the project, by run id: the number of its rows, and which record it carries."""
    try:
        runs = [run for run in api.runs(path, per_page=PAGE, lazy=False) if run.state == "finished"]
    except ValueError:  # the project does not exist yet
        return {}
    return {run.id: (run.historyLineCount, run.summary.get("record_digest")) for run in runs}
