"""The leaderboard row of a user-defined objective, trained and measured like the methods of the study `methods`."""

import argparse
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from analysis.leaderboard import COLUMNS, row_of
from analysis.tables import StudyTable, rows_of
from repro.atomic import write_atomically
from repro.distill.objective import Objective
from repro.errors import BadInput
from repro.experiments.method_tries import Try
from repro.experiments.methods import Methods
from repro.experiments.study import Study
from repro.launch.local import run_here
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.records.folder import RunFolder
from repro.runner import Runner
from repro.store import Store
from repro.training.hardware import choose_device, keep_freed_memory


class OwnMethod(Methods):
    """The study `methods` with a user-defined objective, whose options have their defaults."""

    objective: str

    def setting(self) -> Try:
        return Try(Objective.registry[self.objective]())


def remember(method: str, path: Path, runs: Path) -> None:
    """Keep a copy of the file with its runs: their ids depend on the method's name and options, not on its code.

    Raises BadInput if runs were made under this name with another file or an earlier version of this one, or if the
    folder cannot be made. A run that failed before its first checkpoint does not count, so that a mistake can be
    corrected under the same name.
    """
    kept = runs / ".methods" / f"{method}.py"
    text = path.read_bytes()
    if kept.exists() and kept.read_bytes() != text and _has_trained(method, Store(runs)):
        raise BadInput(
            f"{path}: differs from the file that made the runs of {method} in {runs} ({kept}); "
            "give the method another name, or use another --runs folder"
        )
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{runs}: cannot keep runs there ({error.strerror}); see --runs") from error
    write_atomically(kept, text)


def _has_trained(method: str, store: Store) -> bool:
    """Whether a run with this objective is done, has a checkpoint, or is in progress."""
    return any(
        run.read_json("config.json")["config"].get("objective", {}).get("name") == method
        and (run.is_done() or (run.path / "checkpoint.pt").exists() or run.holder() is not None)
        for run in store.runs()
    )


def measure_row(method: str, options: argparse.Namespace, trials: int) -> tuple[list[str], list[str]]:
    """Headers and cells, for students of one teacher of their architecture. Raises BadInput, RunFailed."""
    points = [
        OwnMethod(preset=options.preset, data=options.on, objective=method, trial=trial) for trial in range(trials)
    ]
    try:
        requests = [Request(f"{method} trial={point.trial} ({point.preset})", point.config()) for point in points]
    except ValidationError as error:
        raise BadInput(f"{method} does not fit the bench: {error.errors()[0]['msg']}") from error
    remember(method, options.method, options.runs)
    keep_freed_memory()
    store = Store(options.runs)
    device = choose_device(options.device)
    runner = Runner(store, options.data, device)
    with runner.stop.listening():
        run_here(parents_first(requests), runner)
    records = RunFolder(store)
    done: dict[Study, str] = {point: request.run_id for point, request in zip(points, requests, strict=True)}
    rows = pd.DataFrame(rows_of(done, records)).assign(method=method)
    table = StudyTable(
        sweep=f"methods_{options.on}",
        preset=options.preset,
        conditions=("method",),
        rows=rows,
        missing=(),
        expected=trials,
        records=records,
    )
    return ["method", *(column.title for column in COLUMNS)], [method, *row_of(table, method)]
