"""Compact records: everything about runs that is worth publishing, without weights and predictions."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from repro.store import RunDirectory, write_atomically

MACHINE_KEYS = ("python", "torch", "processor", "threads", "device", "cuda")


def export_runs(runs: Iterable[tuple[str, RunDirectory]], path: Path) -> int:
    """Write one JSON line per finished run, in the order given; the number of runs written.

    Each line holds run_id, label, config, summary, metrics (the rows of metrics.jsonl) and attempts (when each
    began, at which step, on which commit and machine). No path of the machine goes along.
    """
    lines = [json.dumps(_compact(label, run), sort_keys=True) + "\n" for label, run in runs if run.is_done()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(lines).encode())
    return len(lines)


def _compact(label: str, run: RunDirectory) -> dict[str, Any]:
    attempts = [
        {
            "started": attempt["started"],
            "step": attempt["step"],
            "code": attempt["code"],
            "machine": {key: attempt["machine"][key] for key in MACHINE_KEYS},
        }
        for attempt in run.read_json("environment.json")["attempts"]
    ]
    return {
        "run_id": run.run_id,
        "label": label,
        "config": run.read_json("config.json")["config"],
        "summary": run.read_json("summary.json"),
        "metrics": run.metrics(),
        "attempts": attempts,
    }
