"""Make runs on this machine: one after another in this process, or side by side in worker processes."""

import time
from collections.abc import Sequence
from pathlib import Path

from repro.errors import BadInput, Interrupted, MadeElsewhere, RunFailed
from repro.launch.obstacles import WAIT, note_failure, obstacle_to, whom_it_waits_for
from repro.launch.pool import POLL_SECONDS, Pool, Workplace
from repro.launch.request import Request, order
from repro.progress import counted, in_brief
from repro.runner import Runner
from repro.training.hardware import processors


def run_here(plan: Sequence[Request], runner: Runner) -> None:
    """Make the planned runs one after another. Raises the first failure; bad input is raised before any run starts."""
    runner.check(request.config for request in plan)
    make_checked(plan, runner)


def make_checked(plan: Sequence[Request], runner: Runner) -> None:
    """Like `run_here`, for runs that `runner` has already checked."""
    for number, request in enumerate(plan, start=1):
        runner.make(request.config, f"[{number}/{len(plan)}] {request.label}")


def make_in_turn(requests: Sequence[Request], runner: Runner) -> None:
    """Make the requested runs, which `runner` has checked, one after another. If some fail, the others are still made
    where possible.

    Runs that another process is making are left for the end, then looked at again.
    Raises RunFailed at the end if any run is not done; Interrupted is raised at once.
    """
    unfinished: dict[str, str] = {}
    told = False
    waiting = [(number, request, order(request)) for number, request in enumerate(requests, start=1)]
    while waiting:
        ours = {request.run_id for _, request, _ in waiting}
        looked_at = ((one, obstacle_to(one[2], runner.store, ours)) for one in waiting)
        found = next(((one, obstacle) for one, obstacle in looked_at if obstacle != WAIT), None)
        if found is None:
            if runner.stop.signal is not None:
                left = f"{counted(len(waiting), 'run')} left, some of them waiting for another process"
                raise Interrupted(f"stopped by {runner.stop.signal}: {left}; the same command continues from there")
            if not told and (line := whom_it_waits_for([asked for _, _, asked in waiting], runner.store)):
                told = True
                runner.progress.say(line)
            time.sleep(POLL_SECONDS)
            continue
        (number, request, asked), obstacle = found
        waiting.remove(found[0])
        if obstacle is not None:
            unfinished[request.run_id] = obstacle
            continue
        try:
            title = f"[{number}/{len(requests)}] {request.label}"
            runner.make(request.config, title, request.forgiven, waits=False)
        except MadeElsewhere:
            waiting.insert(0, found[0])
        except Interrupted:
            raise
        except (RunFailed, BadInput) as error:
            runner.progress.say(f"repro: {error}")
            unfinished[request.run_id] = str(error)
            if isinstance(error, BadInput):  # the runner leaves it to its caller to note it
                note_failure(asked, runner.store, str(error))
    raise_if_unfinished(unfinished, len(requests))


def make_side_by_side(
    requests: Sequence[Request], runner: Runner, devices: Sequence[str], workers: int, code: Path | None
) -> None:
    """Make the requested runs, which `runner` has checked, in `workers` processes at a time, each after its parents.

    CPUs are divided evenly among the workers, and devices are assigned in turn. Workers run the package in `code`.
    Raises RunFailed at the end if any run is not done.
    """
    threads = max(1, processors() // workers)
    pool = Pool(Workplace(runner.store, runner.data_directory, devices, workers, threads, code), runner.stop)
    with runner.stop.listening():
        unfinished = pool.make([order(request) for request in requests])
    if runner.stop.signal is not None and unfinished:
        failed = sum(runner.store.run(run_id).failure() is not None for run_id in unfinished)
        raise Interrupted(
            f"stopped by {runner.stop.signal}: {len(unfinished)} of {len(requests)} runs are not done; "
            f"the same command continues from there"
            + (f", except {counted(failed, 'run')} that failed: add --retry failed" if failed else "")
        )
    raise_if_unfinished(unfinished, len(requests))


def raise_if_unfinished(unfinished: dict[str, str], total: int) -> None:
    """Raise RunFailed if any run is not done; `unfinished` maps run ids to reasons."""
    if unfinished:
        raise RunFailed(f"{len(unfinished)} of {total} runs are not done ({in_brief(unfinished)})")
