"""`repro launch` and `repro cost`."""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from repro.errors import BadInput, RunFailed
from repro.launch.cost import Speeds, cost_report, read_speeds, show_cost
from repro.launch.dry_run import see_what_is_left, show_jobs, show_runs
from repro.launch.ledger import Ledger
from repro.launch.local import make_in_turn, make_side_by_side
from repro.launch.oversee import wait
from repro.launch.plan import parents_first
from repro.launch.profile import Profile, read_profile
from repro.launch.reconcile import orphans, reconcile, take_back
from repro.launch.request import Request
from repro.launch.slurm import PartlyRefused, Submitter, arrange, make_now
from repro.launch.slurm_queue import Task, has_slurm, queued_runs
from repro.launch.snapshot import check_clean, take_snapshot
from repro.launch.standing import Standing, sort_out
from repro.launch.sweep import all_sweeps, parse_settings, read_sweep
from repro.progress import counted, in_brief
from repro.run_data import check_data_of_done
from repro.runner import Runner
from repro.store import Store
from repro.tracking.label import Label
from repro.tracking.mirror import mirrored
from repro.training.accumulation import check_shares
from repro.training.distributed import Ranks
from repro.training.hardware import choose_devices, keep_freed_memory


def launch(options: argparse.Namespace) -> None:
    """`repro launch SWEEP.yaml`"""
    plan = parents_first(read_sweep(options.sweep, parse_settings(options.settings)))
    _refuse_options_that_say_nothing(options)
    if options.require_clean:
        check_clean()
    if options.cluster == "local":
        _launch_here(plan, options)
    else:
        _launch_jobs(plan, options)


def _refuse_options_that_say_nothing(options: argparse.Namespace) -> None:
    if options.speeds is not None and not options.dry_run:
        raise BadInput("--speeds needs --dry-run")
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
                raise BadInput(f"{name} works only with --cluster local; for jobs, set the key {key} in the profile")


def _launch_here(plan: Sequence[Request], options: argparse.Namespace) -> None:
    workers = options.workers or 1
    device = "auto" if options.device is None else options.device
    devices = choose_devices(device)
    named = len(device.split(","))
    if named > workers:
        raise BadInput(
            f"--device {options.device}: {named} devices need --workers {named} or more, so that each has a run"
        )
    store, ledger = Store(options.runs), Ledger(options.runs)
    standings = sort_out(plan, store, queued={}, retry_failed=options.retry == "failed")
    if options.dry_run:
        standings = see_what_is_left(standings, store)
    wanted = [standing.request for standing in standings if standing.stand in ("to make", "running")]
    if options.dry_run:
        print(f"{show_runs(standings)}\n\n{show_cost(wanted, store, devices[0], _speeds(options))}")
        return
    keep_freed_memory()
    runner = _runner(options, devices[0])
    _check(standings, wanted, runner)
    code = None
    if wanted:
        with ledger.lock(runner.progress.say):
            code = take_snapshot(ledger.code_folder) if workers > 1 else None
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


def _launch_jobs(plan: Sequence[Request], options: argparse.Namespace) -> None:
    profile = Profile() if options.profile is None and options.cluster == "debug" else read_profile(options.profile)
    if options.dry_run:
        _show_jobs(plan, profile, options)
        return
    if options.cluster == "slurm" and not has_slurm():
        raise BadInput("--cluster slurm: there is no Slurm on this machine (sbatch, squeue, srun, scancel)")
    store, ledger = Store(options.runs), Ledger(options.runs)
    checker = _runner(options, profile.job_device)  # which this machine may not have: the checker only checks
    ranks = Ranks(size=profile.processes_per_run)
    say = checker.progress.say
    with ledger.lock(say):
        queued = reconcile(ledger, say) if options.cluster == "slurm" else {}
        standings, queued = _settle(plan, queued, options, lambda stands, tasks: take_back(stands, tasks, say))
        wanted = [standing.request for standing in standings if standing.stand == "to make"]
        _check(standings, wanted, checker)
        for request in wanted:
            check_shares(request.config, ranks)
        summary = f"{options.sweep}: {_count(standings)}"
        arrays = arrange(wanted, queued, profile)
        code = take_snapshot(ledger.code_folder) if wanted else ledger.code_folder
        names = (options.profile, options.sweep.stem)
        submitter = Submitter(ledger, store, options.data, profile, *names, code, options.wandb)
        submitted: list[str] = []
        if arrays:
            forget = _remember(plan, options)
        if arrays and options.cluster == "slurm":
            try:
                submitted = submitter.submit(arrays)
            except BadInput:
                forget()
                raise
            except PartlyRefused as error:
                for line in (summary, *error.lines):
                    say(line)
                raise
    say(summary)
    for line in submitted:
        say(line)
    if options.cluster == "debug":
        make_now(submitter, arrays)
    if options.wait:
        wait(plan, options)
    _raise_if_failed(standings)


def _settle(
    plan: Sequence[Request],
    queued: dict[str, Task],
    options: argparse.Namespace,
    take: Callable[[Sequence[Standing], Mapping[str, Task]], set[Task]],
) -> tuple[list[Standing], dict[str, Task]]:
    """The standings when the jobs that `take` returns have left the queue, again and again, and what is queued then."""
    store, retry_failed = Store(options.runs), options.retry == "failed"
    standings = sort_out(plan, store, queued, retry_failed)
    while taken := take(standings, queued):
        queued = {run_id: task for run_id, task in queued.items() if task not in taken}
        standings = sort_out(plan, store, queued, retry_failed)
    return standings, queued


def _show_jobs(plan: Sequence[Request], profile: Profile, options: argparse.Namespace) -> None:
    """`--dry-run` for Slurm; without a Slurm on this machine, as if its queue were empty.

    Jobs that the launch would cancel count as if they had been: those that cannot start, those that wait for these, and
    those of a launcher that was killed while it submitted.
    """
    store = Store(options.runs)
    submissions = [one for one in Ledger(options.runs).submissions_to_look_for() if one.job_id is not None]
    found = queued_runs(submissions) if has_slurm() else {}
    queued = {run_id: task for run_id, task in found.items() if not task.given_up}
    standings, queued = _settle(plan, queued, options, orphans)
    standings = see_what_is_left(standings, store)
    wanted = [standing.request for standing in standings if standing.stand == "to make"]
    jobs = show_jobs(arrange(wanted, queued, profile), profile, options.sweep.stem)
    print(f"{show_runs(standings)}\n\n{show_cost(wanted, store, profile.job_device, _speeds(options))}\n\n{jobs}")


def _speeds(options: argparse.Namespace) -> Speeds | None:
    return read_speeds(options.speeds) if options.speeds is not None else None


def cost(options: argparse.Namespace) -> None:
    """`repro cost --speeds FILE`"""
    print(cost_report(options.sweeps or all_sweeps(), options.preset, read_speeds(options.speeds), Store(options.runs)))


def _remember(plan: Sequence[Request], options: argparse.Namespace) -> Callable[[], None]:
    """Record which runs the sweep consists of; calling the returned function removes the record again."""
    origin = {"sweep": str(options.sweep.resolve()), "settings": parse_settings(options.settings)}
    return Ledger(options.runs).remember_sweep(options.sweep.stem, origin, plan)


def _runner(options: argparse.Namespace, device: str) -> Runner:
    return Runner(Store(options.runs), options.data, torch.device(device))


def _check(standings: Sequence[Standing], wanted: Sequence[Request], runner: Runner) -> None:
    """Raise BadInput before anything starts if the data of a run, done or wanted, are not as expected."""
    check_data([standing.request for standing in standings], runner.data_directory)
    for request in (standing.request for standing in standings if standing.stand == "done"):
        check_data_of_done(runner.store.run(request.run_id), request.config, runner.data_directory)
    runner.check(request.config for request in wanted)


def check_data(plan: Sequence[Request], directory: Path) -> None:
    """Raise BadInput, before the first run starts, if a data set that any of the runs reads is missing."""
    for dataset in sorted({d for request in plan for d in request.config.data.datasets}, key=lambda d: d.name):
        dataset.fingerprint_checked(directory)


def _count(standings: Sequence[Standing]) -> str:
    """Counts, such as `24 runs, 8 done, 16 to make`."""
    counts = Counter(standing.stand for standing in standings)
    always = {"done": counts.pop("done", 0), "to make": counts.pop("to make", 0)}
    others = [f"{count} {stand}" for stand, count in sorted(counts.items())]
    return ", ".join([f"{len(standings)} runs", f"{always['done']} done", *others, f"{always['to make']} to make"])


def _raise_if_failed(standings: Sequence[Standing]) -> None:
    failed = {one.request.run_id: str(one.reason) for one in standings if one.stand == "failed"}
    if failed:
        raise RunFailed(
            f"skipped {counted(len(failed), 'run')} that failed before ({in_brief(failed)}); "
            "to make them again, add --retry failed"
        )
