"""Read runs back from W&B, and compare them with their records."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wandb.apis.public import Api, Run

from repro.tracking.carried import file_name

PAGE_RUNS = 100
PAGE_ROWS = 1000


def runs_of(api: Api, path: str) -> list[Run] | None:
    """Every run of a project (ENTITY/PROJECT); None if there is no such project."""
    try:
        return list(api.runs(path, per_page=PAGE_RUNS, lazy=False))
    except ValueError:  # the client's word for it
        return None


def check(shown: Run, rows: Sequence[Mapping[str, Any]], record: str | None, folder: Path) -> str | None:
    """What W&B lacks of a run's rows and, if the run is done, of its final state and record; None if it has it all.

    record: the digest of the run's record; None if the run is not done. If W&B has all of a finished run, that is noted
    in `folder`, for `is_checked`.
    """
    problem = _difference(shown, rows, record)
    if problem is None and record is not None:
        folder.mkdir(parents=True, exist_ok=True)
        _note(folder, shown.id).write_text(_seen(shown.url, record))
    return problem


def is_checked(url: str, run_id: str, digest: str, folder: Path) -> bool:
    """Whether an earlier `check` found that the run at this address has all of the record with this digest.

    url: may lack its beginning.
    """
    note = _note(folder, run_id)
    return note.exists() and note.read_text().endswith(_seen(url, digest))


def known(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without undefined metrics, which W&B cannot show."""
    return {name: value for name, value in row.items() if value is not None}


def _difference(shown: Run, rows: Sequence[Mapping[str, Any]], record: str | None) -> str | None:
    steps = [row["step"] for row in rows]
    # The client pages through ranges of steps, whether or not they contain rows.
    gap = min((after - before for before, after in itertools.pairwise(steps)), default=1)
    there = list(shown.scan_history(page_size=PAGE_ROWS * max(gap, 1), use_cache=False))
    if [row["_step"] for row in there] != steps:
        return f"W&B has {len(there)} rows, the record {len(rows)}"
    if record is not None and shown.state != "finished":
        return f"W&B shows it as {shown.state}"
    if record is not None and not _carries(shown, record):
        return "W&B lacks its record"
    other = sum(not _same(ours, theirs) for ours, theirs in zip(rows, there, strict=True))
    if other:
        return f"W&B has different values in {other} of {len(rows)} rows, sent before the run was made again"
    return None


def _carries(shown: Run, record: str) -> bool:
    """Whether the run shows the record with this digest, and has its file."""
    found: object = dict(shown.summary).get("record_digest")
    return found == record and any(file.size for file in shown.files([file_name(record)]))


def _same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return all(name in theirs and math.isclose(value, theirs[name]) for name, value in known(ours).items())


def _note(folder: Path, run_id: str) -> Path:
    return folder / f"{run_id}.checked"


def _seen(url: str, digest: str) -> str:
    return f"{url} {digest}\n"
