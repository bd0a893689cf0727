"""`repro wandb sync`, `dashboard` and `agent`."""

import argparse
import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from repro import progress
from repro.errors import BadInput, RunFailed
from repro.launch.ledger import Ledger
from repro.store import RunDirectory, Store
from repro.tracking.description import Destination, destination
from repro.tracking.label import Label
from repro.tracking.offline import why_offline
from repro.tracking.under_agent import FOREIGN


def sync(options: argparse.Namespace) -> None:
    """`repro wandb sync [SWEEP.yaml]`"""
    _prepare_client("wandb")
    from repro.tracking.sync import sync as send

    store = Store(options.runs)
    to = _destination(store.root)
    records = _of_sweep(store, options) if options.sweep is not None else _of_folder(store)
    begun = [(record, label) for record, label in records if (record.path / "environment.json").exists()]
    # Parents before children: a config contains its parents' configs, so it is larger.
    begun.sort(key=lambda entry: (entry[0].path / "config.json").stat().st_size)
    if not begun:
        raise BadInput(f"{store.root}: has no run folders to send (an export is not enough); see --runs")
    rows, problems = [], 0
    try:
        with _failures_of_w_and_b(), tqdm(total=len(begun), unit="run", disable=None, leave=False) as bar:
            for one in send(begun, to, options.models):
                bar.update()
                problems += one.problem is not None
                rows.append([one.run_id, one.label, one.rows, one.sent, one.problem or ("live" if one.live else "ok")])
    finally:
        if rows:
            print(tabulate(rows, headers=["run", "", "rows", "sent now", "W&B"]))
    if problems:
        raise RunFailed(f"W&B does not match the records of {problems} of {len(begun)} runs (see the table)")


def dashboard(options: argparse.Namespace) -> None:
    """`repro wandb dashboard [STUDY ...]`"""
    _prepare_client("wandb", "wandb_workspaces")
    from repro.tracking.dashboard import save_dashboards

    to = _destination(Path())
    rows = []
    try:
        with _failures_of_w_and_b():
            for saved in save_dashboards(to, options.names):
                rows.append([saved.kind, saved.name, saved.panels, saved.action, saved.url])
    finally:
        if rows:
            print(tabulate(rows, headers=["", "", "panels", "", "address"]))


def agent(options: argparse.Namespace) -> None:
    """`repro wandb agent SWEEP`"""
    _prepare_client("wandb")
    from repro.tracking.agent import run_agent

    made = run_agent(options.sweep, options.count)
    print(f"{options.sweep}: {progress.counted(made, 'run')} made, none failed")


def records_folder(options: argparse.Namespace) -> Path:
    """The folder of records that an analysis command reads: `--runs`, or a local copy of records from W&B."""
    if options.source == "runs":
        runs: Path = options.runs
        return runs
    _prepare_client("wandb")
    from repro.tracking.fetch import fetch

    to = _destination(Path())
    entity, project = to.entity, to.project
    if options.source != "wandb":
        entity, project = options.source.removeprefix("wandb:").split("/")
    with _failures_of_w_and_b():
        return fetch(entity, project, progress.for_this_output().say)


def _destination(runs: Path) -> Destination:
    """See `destination`. Raises BadInput if the client would refuse the project's name."""
    import wandb

    to = destination(runs)
    try:
        wandb.Settings(project=to.project)
    except wandb.errors.UsageError as error:
        raise BadInput(f"WANDB_PROJECT: {error}") from error
    return to


def _prepare_client(*packages: str) -> None:
    """Configure the client before it is imported. Raises BadInput if one of `packages` is not installed."""
    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ.setdefault("WANDB_SILENT", "true")
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise BadInput(f"{package} is not installed: pip install -e '.[wandb]' in the suite's folder")


@contextlib.contextmanager
def _failures_of_w_and_b() -> Iterator[None]:
    """Turn the client's errors when W&B cannot be used into RunFailed, or BadInput for wrong settings."""
    from pydantic import ValidationError

    from repro.tracking.failures import FAILURES, reason

    try:
        yield
    except FAILURES as error:
        if isinstance(error, ValidationError) and error.title == "Settings":
            raise BadInput(f"W&B: {reason(error)}") from error
        raise RunFailed(f"W&B: {why_offline() or reason(error)}") from error


def _of_sweep(store: Store, options: argparse.Namespace) -> list[tuple[RunDirectory, Label | None]]:
    from repro.launch.plan import parents_first
    from repro.launch.sweep import parse_settings, read_sweep

    plan = parents_first(read_sweep(options.sweep, parse_settings(options.settings)))
    group = Path(options.sweep).stem
    return [(store.run(one.run_id), Label(one.label, group, one.tags)) for one in plan]


def _of_folder(store: Store) -> list[tuple[RunDirectory, Label | None]]:
    """Every run with a record; its label is from the first launched sweep with this run, None if there is none."""
    known = Ledger(store.root).sweep_of_runs()
    labels = {run_id: Label(run.label, sweep, tuple(run.tags)) for run_id, (sweep, run) in known.items()}
    return [(record, labels.get(record.run_id)) for record in store.runs()]
