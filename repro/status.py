"""How runs stand, as rows for a table or JSON."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from repro.progress import summarize
from repro.store import RunDirectory


def status_row(label: str, run: RunDirectory) -> dict[str, Any]:
    """One run: {run_id, label, state, epoch, epochs, metrics, seconds_since_write, holder, error}; null if unknown."""
    state = run.state()
    row: dict[str, Any] = {
        "run_id": run.run_id,
        "label": label,
        "state": state,
        "epoch": None,
        "epochs": None,
    }
    row |= {"metrics": {}, "seconds_since_write": None, "holder": None, "error": None}
    if not (run.path / "config.json").exists():  # missing, or begun just now
        return row
    config = run.read_json("config.json")["config"]
    row["epochs"] = config["epochs"]
    row["label"] = (
        label or f"{config['kind']} {config['model']['name']} on {config['data']['train']['dataset']['name']}"
    )
    if state == "done":
        row |= {"epoch": config["epochs"], "metrics": run.read_json("summary.json")["metrics"]}
    else:
        metrics = run.metrics()
        row["epoch"] = metrics[-1]["epoch"] if metrics else 0
        row["metrics"] = metrics[-1] if metrics else {}
        row["holder"] = run.holder()
        row["error"] = run.failure() if state == "failed" else None
    row["seconds_since_write"] = round(run.seconds_since_write(), 1)
    return row


def status_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as an aligned table, with the counts by state beneath."""
    lines = [
        [
            row["run_id"],
            row["label"],
            row["state"],
            f"{row['epoch']}/{row['epochs']}" if row["epochs"] else "",
            row["error"] or summarize(row["metrics"]),
            "" if row["seconds_since_write"] is None else _age(row["seconds_since_write"]),
        ]
        for row in rows
    ]
    counts = Counter(row["state"] for row in rows)
    total = ", ".join(f"{count} {state}" for state, count in counts.items())
    headers = ["run", "what", "state", "epoch", "last metrics", "written"]
    table = tabulate(lines, headers=headers, disable_numparse=True)  # a run id such as 1234567890e1 is no number
    return f"{table}\n\n{len(rows)} runs: {total}" if rows else "no runs"


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
