"""`repro launch`, `status`, `cancel` and `logs`. What needs torch is imported where it is needed: it takes seconds."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro import progress
from repro.errors import BadInput, RunFailed, did_you_mean
from repro.launch.follow import View, follow
from repro.launch.ledger import Ledger, SweepRun
from repro.launch.slurm_queue import cancel as cancel_tasks
from repro.launch.slurm_queue import has_slurm, queued_runs, reconcile
from repro.launch.standing import Standing, sort_out
from repro.progress import counted
from repro.status import Named, count_states, status_row, status_table
from repro.store import Store
from repro.tracking.label import Label
from repro.tracking.mirror import mirrored

if TYPE_CHECKING:
    from repro.launch.request import Request
    from repro.runner import Runner

SECONDS_BETWEEN_LOOKS = 10.0
"""Often enough for a person, rarely enough for a busy scheduler."""


def launch(options: argparse.Namespace) -> None:
    """`repro launch SWEEP.yaml`"""
    from repro.launch.plan import parents_first
    from repro.launch.snapshot import check_clean
    from repro.launch.sweep import parse_settings, read_sweep

    plan = parents_first(read_sweep(options.sweep, parse_settings(options.settings)))
    _refuse_options_that_say_nothing(options)
    if options.require_clean:
        check_clean()
    if options.cluster == "local":
        _launch_here(plan, options)
    else:
        _launch_jobs(plan, options)


def _refuse_options_that_say_nothing(options: argparse.Namespace) -> None:
    if options.cluster == "local":
        for given, name in ((options.profile, "--profile"), (options.wait, "--wait")):
            if given:
                raise BadInput(f"{name} needs --cluster slurm")
    else:
        for given, name, key in (
            (options.workers, "--workers", "runs_at_once"),
            (options.device, "--device", "device"),
        ):
            if given is not None:
                raise BadInput(f"{name} is for --cluster local; for jobs the profile says it, with the key {key}")


def _launch_here(plan: Sequence["Request"], options: argparse.Namespace) -> None:
    from repro.launch.dry_run import show_cost, show_runs
    from repro.launch.local import make_in_turn, make_side_by_side
    from repro.launch.snapshot import take_snapshot
    from repro.training.hardware import choose_devices, keep_freed_memory

    workers = options.workers or 1
    devices = choose_devices(options.device or "auto")
    store, ledger = Store(options.runs), Ledger(options.runs)
    standings = sort_out(plan, store, queued={}, retry_failed=options.retry == "failed")
    wanted = [standing.request for standing in standings if standing.stand in ("to make", "running")]
    if options.dry_run:
        print(f"{show_runs(standings)}\n\n{show_cost(wanted, store, devices[0])}")
        return
    keep_freed_memory()
    runner = _runner(options, devices[0])
    _check(standings, wanted, runner)
    code = take_snapshot(ledger.code_folder) if wanted and workers > 1 else None
    if wanted:
        with ledger.lock():
            _remember(plan, options)
    runner.progress.say(f"{options.sweep}: {_count(standings)}")
    labels = {request.run_id: Label(request.label, options.sweep.stem, request.tags) for request in wanted}
    with mirrored(options.wandb, options.runs, labels, runner.progress.say):
        if code is not None:
            make_side_by_side(wanted, runner, devices, workers, code)
        else:
            with runner.stop.listening():
                make_in_turn(wanted, runner)
    _raise_if_failed(standings)


def _launch_jobs(plan: Sequence["Request"], options: argparse.Namespace) -> None:
    from repro.launch.dry_run import show_cost, show_jobs, show_runs
    from repro.launch.profile import Profile, read_profile
    from repro.launch.slurm import Submitter, arrange, make_now
    from repro.launch.snapshot import take_snapshot

    profile = Profile() if options.profile is None and options.cluster == "debug" else read_profile(options.profile)
    store, ledger = Store(options.runs), Ledger(options.runs)
    if options.cluster == "slurm" and not has_slurm() and not options.dry_run:
        raise BadInput("--cluster slurm: there is no Slurm on this machine (sbatch, squeue, srun, scancel)")
    if options.dry_run:
        queued = queued_runs(ledger.open_submissions()) if has_slurm() else {}
        standings = sort_out(plan, store, queued, retry_failed=options.retry == "failed")
        wanted = [standing.request for standing in standings if standing.stand == "to make"]
        jobs = show_jobs(arrange(wanted, queued, profile), profile, options.sweep.stem)
        print(f"{show_runs(standings)}\n\n{show_cost(wanted, store, profile.job_device)}\n\n{jobs}")
        return
    checker = _runner(options, "cpu")
    say = checker.progress.say
    with ledger.lock(on_wait=lambda: say("waits for another launcher of these runs")):
        queued = reconcile(ledger, say) if options.cluster == "slurm" else {}
        standings = sort_out(plan, store, queued, retry_failed=options.retry == "failed")
        wanted = [standing.request for standing in standings if standing.stand == "to make"]
        _check(standings, wanted, checker)
        summary = f"{options.sweep}: {_count(standings)}"
        arrays = arrange(wanted, queued, profile)
        code = take_snapshot(ledger.code_folder) if wanted else ledger.code_folder
        names = (options.profile, options.sweep.stem)
        submitter = Submitter(ledger, store, options.data, profile, *names, code, options.wandb)
        if options.cluster == "slurm":
            for number, line in enumerate(submitter.submit(arrays)):
                if number == 0:  # not before: if already the first is refused, only that is said
                    say(summary)
                    _remember(plan, options)
                say(line)
    if options.cluster == "debug" or not wanted:
        say(summary)
    if options.cluster == "debug":
        make_now(submitter, arrays)
    if options.wait:
        _wait(plan, options)
    _raise_if_failed(standings)


def _remember(plan: Sequence["Request"], options: argparse.Namespace) -> None:
    from repro.launch.sweep import parse_settings

    runs = [SweepRun(one.run_id, one.label, one.condition, one.trial, one.tags) for one in plan]
    Ledger(options.runs).remember_sweep(options.sweep.stem, parse_settings(options.settings), runs)


def _wait(plan: Sequence["Request"], options: argparse.Namespace) -> None:
    """Follow the runs of a launch until none of them is in the queue. Raises RunFailed if some are not done."""
    names = _named(plan, options.sweep, options)

    def look() -> View:
        rows, silence = _rows(names, options)
        in_queue = any(row["job_state"] is not None for row in rows)
        note = f"\n{silence}" if silence else ""
        return View(f"{status_table(rows)}{note}", f"{count_states(rows)}{note}", over=not in_queue and not silence)

    follow(look, SECONDS_BETWEEN_LOOKS)
    left = [row for row in _rows(names, options)[0] if row["state"] != "done"]
    if left:
        reasons = "; ".join(f"{row['run_id']}: {row['error'] or row['state']}" for row in left[:5])
        raise RunFailed(f"{len(left)} of {len(plan)} runs are not done ({reasons})")


def status(options: argparse.Namespace) -> None:
    """`repro status [SWEEP.yaml]`"""
    names = _wanted_names(options)

    def look() -> View:
        rows, silence = _rows(names(), options)
        if silence:
            print(f"repro: {silence}", file=sys.stderr)
        table = json.dumps(rows, indent=1) if options.json else status_table(rows)
        return View(table, count_states(rows), over=not options.watch)

    if options.watch and options.json:
        raise BadInput("--watch is for people, --json for programs: give one of them")
    if options.watch:
        follow(look, SECONDS_BETWEEN_LOOKS)
    else:
        print(look().full)


def cancel(options: argparse.Namespace) -> None:
    """`repro cancel SWEEP.yaml|RUN|all`"""
    ledger = Ledger(options.runs)
    if not ledger.folder.is_dir():
        raise BadInput(f"{options.runs}: nothing was ever submitted from there; see --runs")
    with ledger.lock():
        queued = reconcile(ledger, progress.for_this_output().say)
        if options.what != "all":
            wanted = {named.run.run_id for named in _find(options.what, options)}
            tasks = {task for run_id, task in queued.items() if run_id in wanted}
        else:
            tasks = set(queued.values())
        with_them = sum(task in tasks for task in queued.values())
        if tasks:
            cancel_tasks(tasks)
    cancelled = f"cancelled {counted(len(tasks), 'job')} with {counted(with_them, 'run')}"
    print(f"{cancelled}; launching again goes on from the checkpoints" if tasks else "nothing is in the queue")


def logs(options: argparse.Namespace) -> None:
    """`repro logs RUN`"""
    if options.what.endswith((".yaml", ".yml")):
        raise BadInput(f"logs are of one run, not of a sweep: take a run id from `repro status {options.what}`")
    (named,) = _find(options.what, options)
    run = named.run
    log = run.path / "run.log"
    print(f"{log}\n" + (log.read_text() if log.exists() else "the run has not been started\n"), end="")
    failure = run.last_failure()
    if failure is not None:
        print(f"\nfailed: {failure['error']}\n{failure['traceback']}", end="")
    for path in Ledger(options.runs).job_logs(run.run_id):
        print(f"\n{path}\n" + path.read_text(errors="replace"), end="")


def _wanted_names(options: argparse.Namespace) -> Callable[[], list[Named]]:
    """The runs that `repro status` shows: of a sweep, or all that there are at the time."""
    if options.sweep is not None:
        named = _find(str(options.sweep), options)
        return lambda: named
    return lambda: _all_names(Store(options.runs), Ledger(options.runs))


def _all_names(store: Store, ledger: Ledger) -> list[Named]:
    """The runs of every sweep that was launched, each under the first that asked for it, and those of no sweep."""
    found: dict[str, Named] = {}
    for sweep, runs in ledger.sweeps().items():
        for run in runs:
            named = Named(store.run(run.run_id), run.label, sweep, run.condition, run.trial)
            found.setdefault(run.run_id, named)
    for record in store.runs():
        found.setdefault(record.run_id, Named(record))
    return list(found.values())


def _find(what: str, options: argparse.Namespace) -> list[Named]:
    """The runs of a sweep file, or the one run whose id starts with `what`."""
    if what.endswith((".yaml", ".yml")):
        from repro.launch.plan import parents_first
        from repro.launch.sweep import parse_settings, read_sweep

        return _named(parents_first(read_sweep(Path(what), parse_settings(options.settings))), Path(what), options)
    store = Store(options.runs)
    submitted = {run_id for entry in Ledger(options.runs).submissions() for job in entry.jobs for run_id in job}
    ids = sorted({run.run_id for run in store.runs()} | submitted)
    found = [run_id for run_id in ids if run_id.startswith(what)]
    if len(found) == 1:
        return [Named(store.run(found[0]))]
    if found:
        raise BadInput(f"'{what}' is the beginning of {len(found)} run ids: {', '.join(found[:5])}")
    hint = did_you_mean(what, ids) if len(ids) < 10 else "; `repro status` lists them"
    raise BadInput(f"{options.runs}: no run is called '{what}'{hint}")


def _named(plan: Sequence["Request"], sweep: Path, options: argparse.Namespace) -> list[Named]:
    store = Store(options.runs)
    return [
        Named(store.run(request.run_id), request.label, sweep.stem, request.condition, request.trial)
        for request in plan
    ]


def _rows(names: Sequence[Named], options: argparse.Namespace) -> tuple[list[dict[str, Any]], str | None]:
    """A row for each run; and what there is to say if Slurm, which may be restarting, does not answer."""
    queued, silence = {}, None
    if has_slurm():  # records can be looked at far from the cluster that makes them
        try:
            queued = queued_runs(Ledger(options.runs).open_submissions())
        except BadInput as error:
            silence = str(error)
    return [status_row(named, queued.get(named.run.run_id)) for named in names], silence


def _runner(options: argparse.Namespace, device: str) -> "Runner":
    from repro.runner import Runner
    from repro.stop import StopRequest
    from repro.training.hardware import choose_device

    return Runner(Store(options.runs), options.data, choose_device(device), progress.for_this_output(), StopRequest())


def _check(standings: Sequence[Standing], wanted: Sequence["Request"], runner: "Runner") -> None:
    """Raise BadInput if the data of a run, done or wanted, are not what they must be, before anything is begun."""
    check_data([standing.request for standing in standings], runner.data_directory)
    for standing in standings:
        if standing.stand == "done":
            runner.make(standing.request.config, standing.request.label)  # only compares its data
    runner.check(request.config for request in wanted)


def check_data(plan: Sequence["Request"], directory: Path) -> None:
    """Raise BadInput if a data set that any of the runs reads is not there: before the first of them starts."""
    for dataset in sorted({d for request in plan for d in request.config.data.datasets}, key=lambda d: d.name):
        dataset.fingerprint(directory)


def _count(standings: Sequence[Standing]) -> str:
    """`24 runs, 8 done, 16 to make`"""
    counts = Counter(standing.stand for standing in standings)
    always = {"done": counts.pop("done", 0), "to make": counts.pop("to make", 0)}
    others = [f"{count} {stand}" for stand, count in sorted(counts.items())]
    return ", ".join([f"{len(standings)} runs", f"{always['done']} done", *others, f"{always['to make']} to make"])


def _raise_if_failed(standings: Sequence[Standing]) -> None:
    failed = [standing for standing in standings if standing.stand == "failed"]
    if failed:
        lines = "; ".join(f"{standing.request.run_id}: {standing.reason}" for standing in failed[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise RunFailed(
            f"left alone: {counted(len(failed), 'run')} that failed before ({lines}{more}); "
            "--retry failed makes them again"
        )
