"""Monitor and control what was launched: `repro status`, `cancel` and `logs`, and `launch --wait`."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro import progress
from repro.errors import BadInput, RunFailed
from repro.launch.accounting import End, ends_of
from repro.launch.ledger import Ledger
from repro.launch.reconcile import reconcile
from repro.launch.slurm_queue import Task, has_slurm, queued_runs
from repro.launch.slurm_queue import cancel as cancel_tasks
from repro.launch.status import Named, count_states, status_row, status_table
from repro.launch.watch import View, follow
from repro.progress import counted, in_brief
from repro.store import Store, find_id

if TYPE_CHECKING:
    from repro.launch.request import Request

SECONDS_BETWEEN_LOOKS = 10.0
"""Often enough for a person, and rarely enough for a busy scheduler."""
SECONDS_BETWEEN_PARTING_LOOKS = 1.0
"""The same after jobs were cancelled, since they usually leave the queue within seconds."""


def status(options: argparse.Namespace) -> None:
    """`repro status [SWEEP.yaml]`"""
    names = _wanted_names(options)
    if os.path.lexists(options.runs) and not options.runs.is_dir():  # a link that leads nowhere does exist
        raise BadInput(f"{options.runs}: is not a folder of runs; see --runs")

    def look() -> View:
        now = _look_at(names(), options)
        if now.silence:
            print(f"repro: {now.silence}", file=sys.stderr)
        table = status_table(now.rows) if now.rows else f"no runs in {options.runs}"
        table = json.dumps(now.rows, indent=1) if options.json else table
        return View(table, count_states(now.rows), over=not options.watch)

    if options.watch and options.json:
        raise BadInput("--watch and --json cannot be combined: give one of them")
    if options.watch:
        follow(look, SECONDS_BETWEEN_LOOKS)
    else:
        print(look().full)


def cancel(options: argparse.Namespace) -> None:
    """`repro cancel SWEEP.yaml|RUN|all`"""
    _refuse_settings_without_sweep(options.what, options)
    ledger = Ledger(options.runs)
    if not ledger.folder.is_dir():
        raise BadInput(f"{options.runs}: nothing was ever submitted from there; see --runs")
    say = progress.for_this_output().say
    with ledger.lock(say):
        queued = reconcile(ledger, say)
        wanted = set(queued)
        if options.what != "all":
            wanted = {named.run.run_id for named in _find(options.what, options)}
            tasks = {task for run_id, task in queued.items() if run_id in wanted}
        else:
            tasks = set(queued.values())
        if not tasks:
            print("nothing is in the queue")
            return
        tasks = cancel_tasks(tasks, say)
        if not tasks:
            raise BadInput("no job has been cancelled")
        with_them = sum(task in tasks for task in queued.values())
        cancelled = f"cancelled {counted(len(tasks), 'job')} with {counted(with_them, 'run')}"
        print(f"{cancelled}; waiting until the runs are saved and the jobs have left the queue", flush=True)
        others = _stopped_by_cancelling(tasks, queued, ledger) - wanted
        if others:
            which = f"{counted(len(others), 'run')} of the same jobs or with a parent among the cancelled runs"
            say(f"this also stops {which}, which you did not name: launch those again too")
        # Wait under the lock: a launch that came too early would still find these runs in the queue.
        ids = {task.job_id for task in tasks}
        while any(task.job_id in ids for task in queued_runs(ledger.open_submissions()).values()):
            time.sleep(SECONDS_BETWEEN_PARTING_LOOKS)
    print("all have left; launching again continues from the checkpoints")


def _stopped_by_cancelling(tasks: set[Task], queued: Mapping[str, Task], ledger: Ledger) -> set[str]:
    """The unfinished runs of these jobs, and all in the queue that cannot be made without them."""
    stopped = {run_id for run_id, task in queued.items() if task in tasks and not ledger.store.run(run_id).is_done()}
    for run_id, (_, run) in ledger.sweep_of_runs().items():
        if run_id in queued and stopped.intersection(run.parents):
            stopped.add(run_id)
    return stopped


def logs(options: argparse.Namespace) -> None:
    """`repro logs RUN`"""
    if options.what.endswith((".yaml", ".yml")):
        raise BadInput(f"logs shows one run, not a sweep: take a run id from `repro status {options.what}`")
    (named,) = _find(options.what, options)
    run = named.run
    log = run.path / "run.log"
    print(f"{log}\n" + (log.read_text(errors="replace") if log.exists() else "the run has not been started\n"), end="")
    failure = run.last_failure()
    if failure is not None:
        print(f"\nfailed: {failure['error']}\n{failure['traceback']}", end="")
    for path in Ledger(options.runs).job_logs(run.run_id):
        print(f"\n{path}\n" + path.read_text(errors="replace"), end="")


def _wanted_names(options: argparse.Namespace) -> Callable[[], list[Named]]:
    """A function that lists the runs `repro status` shows: those of a sweep, or all that exist when it is called."""
    if options.sweep is not None:
        _refuse_settings_without_sweep(str(options.sweep), options)
        named = _find(str(options.sweep), options)
        return lambda: named
    return lambda: _all_names(Store(options.runs), Ledger(options.runs))


def _refuse_settings_without_sweep(what: str, options: argparse.Namespace) -> None:
    """Raise BadInput if settings are given without a sweep file, since they would be ignored."""
    if options.settings and not what.endswith((".yaml", ".yml")):
        raise BadInput(f"{options.settings[0]}: settings need a sweep file, and '{what}' is not one")


def _all_names(store: Store, ledger: Ledger) -> list[Named]:
    """The runs of all launched sweeps, each listed under the first that asked for it, and the runs of no sweep."""
    found = {
        run_id: Named(store.run(run_id), run.label, sweep, run.condition, run.trial)
        for run_id, (sweep, run) in ledger.sweep_of_runs().items()
    }
    for record in store.runs():
        found.setdefault(record.run_id, Named(record))
    return list(found.values())


def _find(what: str, options: argparse.Namespace) -> list[Named]:
    """The runs of a sweep file, or the one run whose id starts with `what`."""
    if what.endswith((".yaml", ".yml")):
        from repro.launch.plan import parents_first
        from repro.launch.sweep import parse_settings, read_sweep

        return _named(parents_first(read_sweep(Path(what), parse_settings(options.settings))), Path(what), options)
    store, ledger = Store(options.runs), Ledger(options.runs)
    submitted = {run_id for entry in ledger.submissions() for job in entry.jobs for run_id in job}
    known = {run_id: Named(store.run(run_id)) for run_id in submitted}
    known |= {named.run.run_id: named for named in _all_names(store, ledger)}
    return [known[find_id(what, sorted(known), str(options.runs), "`repro status` lists them")]]


def _named(plan: Sequence["Request"], sweep: Path, options: argparse.Namespace) -> list[Named]:
    store = Store(options.runs)
    return [
        Named(store.run(request.run_id), request.label, sweep.stem, request.condition, request.trial)
        for request in plan
    ]


@dataclass(frozen=True)
class _Look:
    """The state of runs: a row for each, and the runs in the queue, None if Slurm did not answer.

    `silence` is the error if Slurm or its accounting did not answer.
    """

    rows: list[dict[str, Any]]
    queued: dict[str, Task] | None
    silence: str | None

    @property
    def comes_to_nothing_more(self) -> bool:
        """Whether the queue is empty, or only has jobs that cannot start without help and jobs that depend on them."""
        if self.queued is None:
            return False
        tasks = self.queued.values()
        stuck = any(task.given_up or task.needs_a_person for task in tasks)
        waiting = all(task.given_up or task.needs_a_person or task.reason == "Dependency" for task in tasks)
        return not tasks or (stuck and waiting)


def _look_at(names: Sequence[Named], options: argparse.Namespace) -> _Look:
    ids = [named.run.run_id for named in names]
    # Records can be viewed on another machine than the cluster.
    found, ends, silence = _ask_slurm(names, Ledger(options.runs)) if has_slurm() else ({}, {}, None)
    queued = None if found is None else {run_id: found[run_id] for run_id in ids if run_id in found}
    jobs = queued or {}
    rows = [status_row(named, jobs.get(run_id), ends.get(run_id)) for named, run_id in zip(names, ids, strict=True)]
    return _Look(rows, queued, silence)


def _ask_slurm(names: Sequence[Named], ledger: Ledger) -> tuple[dict[str, Task] | None, Mapping[str, End], str | None]:
    """The runs in the queue, None if Slurm does not answer; how jobs ended; the error if either is unknown."""
    try:
        queued = queued_runs(ledger.submissions_to_look_for())
    except BadInput as error:  # Slurm may be restarting
        return None, {}, str(error)
    left = [run.run_id for run in (named.run for named in names) if not run.is_done()]
    try:
        return queued, ends_of(ledger.submissions(), (run_id for run_id in left if run_id not in queued)), None
    except BadInput as error:  # some clusters have no accounting
        return queued, {}, f"why jobs ended is unknown: {error}"


def wait(plan: Sequence["Request"], options: argparse.Namespace) -> None:
    """Follow the runs of a launch until no more of them can finish. Raises RunFailed if some are not done."""
    names = _named(plan, options.sweep, options)

    def look() -> View:
        now = _look_at(names, options)
        note = f"\n{now.silence}" if now.silence else ""
        table, short = f"{status_table(now.rows)}{note}", f"{count_states(now.rows)}{note}"
        return View(table, short, over=now.comes_to_nothing_more)

    if follow(look, SECONDS_BETWEEN_LOOKS) is None:
        raise RunFailed("no longer following; the jobs continue (`repro status` shows them, `repro cancel` ends them)")
    left = {row["run_id"]: _why(row) for row in _look_at(names, options).rows if row["state"] != "done"}
    if left:
        raise RunFailed(f"{len(left)} of {len(plan)} runs are not done ({in_brief(left)})")


def _why(row: Mapping[str, Any]) -> str:
    """Why a run is not done."""
    job = row["job_state"] or row["job_end"]
    return row["error"] or (f"{row['state']}, job {row['job']} {job}" if job else row["state"])
