"""How the launcher's own work (planning, submitting, showing status) grows with the number of runs. Nothing is trained.

`sbatch` is replaced by a script that accepts at once, so the times cover all that the launcher does apart from waiting
for Slurm. There is no baseline: what counts is the seconds, and that they grow no faster than the number of runs.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tabulate import tabulate

from repro.bench.timing import Report
from repro.launch.ledger import Ledger
from repro.launch.plan import parents_first
from repro.launch.profile import Profile
from repro.launch.request import Request
from repro.launch.slurm import Submitter, arrange
from repro.launch.standing import sort_out
from repro.launch.status import Named, status_row, status_table
from repro.launch.sweep import find_sweep, read_sweep
from repro.store import Store

Result = TypeVar("Result")

SIZES = (200, 2_000, 20_000)
RUNS_PER_TRIAL = 4
"""In the sweep `digits`: a teacher and three students."""


def measure(sizes: Sequence[int] = SIZES, clock: Callable[[], float] = time.perf_counter) -> Report:
    """Measure seconds by number of runs.

    The report's `seconds` is a list of {"runs", "plan", "submit", "status"}, one for each size.
    """
    rows = [_measure(size, clock) for size in sizes]
    table = tabulate(rows, headers="keys", floatfmt=".2f")
    text = (
        f"launch: seconds of the launcher's own work (sbatch answers at once), by number of runs\n\n{table}\n\n"
        f"plan: sweep file to what is to be made. submit: pickles, ledger, arrays of at most 1,000 jobs.\n"
        f"status: table of as many run folders, half of them done."
    )
    return Report(text, {"seconds": rows})


def _measure(size: int, clock: Callable[[], float]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, _accepting_sbatch(Path(folder)):
        store = Store(Path(folder) / "runs")
        plan, plan_seconds = _timed(lambda: _plan(size, store), clock)
        submitter = Submitter(
            Ledger(store.root), store, Path("data"), Profile(), "bench", "digits", Path(folder) / "code"
        )
        with submitter.ledger.lock(print):
            _, submit_seconds = _timed(lambda: list(submitter.submit(arrange(plan, {}, Profile()))), clock)
        _write_records(plan, store)
        names = [Named(store.run(request.run_id), request.label) for request in plan]
        _, status_seconds = _timed(lambda: status_table([status_row(named) for named in names]), clock)
    return {"runs": len(plan), "plan": plan_seconds, "submit": submit_seconds, "status": status_seconds}


def _plan(size: int, store: Store) -> list[Request]:
    trials = list(range(size // RUNS_PER_TRIAL))
    plan = parents_first(read_sweep(find_sweep("digits"), {"trial": trials}))
    standings = sort_out(plan, store, queued={}, retry_failed=False)
    return [standing.request for standing in standings if standing.stand == "to make"]


def _write_records(plan: Sequence[Request], store: Store) -> None:
    """Write records as runs leave them: every second run is done, the others have been interrupted."""
    row = {"epoch": 6, "step": 100, "train/loss": 0.5, "test/accuracy": 0.9, "test/agreement": 0.95, "test/kl": 0.01}
    for number, request in enumerate(plan):
        run = store.run(request.run_id)
        run.path.mkdir(parents=True, exist_ok=True)
        files = {
            "config.json": {"run_id": run.run_id, "config": request.config.model_dump(mode="json")},
            "environment.json": {"attempts": [{"job": "1_2", "host": "node"}]},
        }
        if number % 2 == 0:
            files["summary.json"] = {"metrics": row, "seconds": 60.0, "data": {}}
        for name, content in files.items():
            (run.path / name).write_text(json.dumps(content))
        (run.path / "metrics.jsonl").write_text(10 * (json.dumps(row) + "\n"))
        (run.path / "lock").touch()


@contextmanager
def _accepting_sbatch(folder: Path) -> Iterator[None]:
    scripts = folder / "bin"
    scripts.mkdir()
    for name, line in (("sbatch", "echo Submitted batch job 1"), ("srun", "true")):
        (scripts / name).write_text(f"#!/bin/sh\n{line}\n")
        (scripts / name).chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{scripts}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _timed(work: Callable[[], Result], clock: Callable[[], float]) -> tuple[Result, float]:
    start = clock()
    result = work()
    return result, clock() - start
