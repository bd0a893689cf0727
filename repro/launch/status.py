"""The state of runs, as rows for a table or JSON."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from repro.atomic import reading
from repro.errors import Damaged
from repro.launch.accounting import End
from repro.launch.slurm_queue import Task
from repro.progress import summarize
from repro.store import RunDirectory, State

OPTIONAL = ("sweep", "job", "host")
HOST = re.compile(r" on (\S+) since ")


@dataclass(frozen=True)
class Named:
    """A run, and what is known about it besides its record; fields are empty if unknown."""

    run: RunDirectory
    label: str = ""
    sweep: str | None = None
    condition: str | None = None
    trial: int | None = None


def status_row(named: Named, task: Task | None = None, end: End | None = None) -> dict[str, Any]:
    """One run as the JSON object documented in docs/architecture.md; null where something is unknown.

    `task` is the job in Slurm's queue that will make or is making the run; `end` is how the last such job ended.
    """
    run = named.run
    state = run.state()
    row: dict[str, Any] = {"run_id": run.run_id, "label": named.label, "state": state, "epoch": None, "epochs": None}
    row |= {"metrics": {}, "seconds_since_write": None, "holder": None, "error": None}
    row |= {"sweep": named.sweep, "condition": named.condition, "trial": named.trial, "progress": None}
    row |= {"job": None, "job_state": None, "job_end": None, "host": None}
    if task is not None:
        row |= {"job": task.job_id, "job_state": task.state, "host": task.node or None}
        if task.state == "PENDING":
            row["job_state"] = f"PENDING ({task.reason})"
    elif end is not None and state not in ("done", "running"):
        row |= {"job": end.job_id, "job_end": end.how}
    try:
        row["error"] = run.failure() if state == "failed" else None
        missing = not (run.path / "config.json").exists()  # or just started
        return row if missing else _known_of(run, state, named.label, row)
    except Damaged as error:
        return row | {"error": str(error)}


def _known_of(run: RunDirectory, state: State, label: str, row: dict[str, Any]) -> dict[str, Any]:
    """Add what the record says to `row`, which holds what is known without it. Raises Damaged."""
    config = run.read_json("config.json")["config"]
    with reading(run.path / "config.json"):
        row["epochs"] = config["epochs"]
        row["label"] = (
            label or f"{config['kind']} {config['model']['name']} on {config['data']['train']['dataset']['name']}"
        )
    if state == "done":
        row |= {"epoch": config["epochs"], "metrics": run.read_json("summary.json")["metrics"]}
    else:
        last = run.last_metrics()
        row |= {"epoch": last["epoch"] if last else 0, "metrics": last or {}, "holder": run.holder()}
    row["progress"] = row["epoch"] / row["epochs"]
    if row["job"] is None:
        row |= _last_attempt(run)
    host = HOST.search(row["holder"] or "")
    if host is not None:
        row["host"] = host[1]
    row["seconds_since_write"] = round(run.seconds_since_write(), 1)
    return row


def _last_attempt(run: RunDirectory) -> dict[str, Any]:
    """Job and host of the run's latest attempt."""
    try:
        attempts = run.read_json("environment.json")["attempts"]
    except FileNotFoundError:
        return {}
    with reading(run.path / "environment.json"):
        return {"job": attempts[-1].get("job"), "host": attempts[-1].get("host")}


def status_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows (at least one) as an aligned table, followed by the counts by state."""
    sweeps = len({row["sweep"] for row in rows})
    lines = [
        [
            row["run_id"],
            (row["sweep"] or "") if sweeps > 1 else "",
            row["label"],
            row["state"],
            f"{row['epoch']}/{row['epochs']}" if row["epochs"] else "",
            row["error"] or summarize(row["metrics"]),
            " ".join(filter(None, [row["job"], row["job_state"] or row["job_end"]])),
            row["host"] or "",
            "" if row["seconds_since_write"] is None else _age(row["seconds_since_write"]),
        ]
        for row in rows
    ]
    headers = ["run", "sweep", "what", "state", "epoch", "last metrics", "job", "host", "written"]
    # Empty columns, such as the job if there is no Slurm, are left out.
    shown = [i for i, header in enumerate(headers) if header not in OPTIONAL or any(line[i] for line in lines)]
    table = tabulate(
        [[line[i] for i in shown] for line in lines], headers=[headers[i] for i in shown], disable_numparse=True
    )  # a run id such as 1234567890e1 is not a number
    return f"{table}\n\n{count_states(rows)}"


def count_states(rows: Sequence[Mapping[str, Any]]) -> str:
    """Counts by state, such as `24 runs: 20 missing, 4 done; 20 in Slurm's queue`."""
    counts = Counter(row["state"] for row in rows)
    total = ", ".join(f"{count} {state}" for state, count in counts.items())
    queued = sum(row["job_state"] is not None for row in rows)
    return f"{len(rows)} runs: {total}" + (f"; {queued} in Slurm's queue" if queued else "")


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
