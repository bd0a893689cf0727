"""Make runs on this machine: one after another in this process, or side by side in worker processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from repro.errors import RunFailed
from repro.launch.plan import Request
from repro.runner import Runner

POLL_SECONDS = 0.1


def run_here(plan: Sequence[Request], runner: Runner) -> None:
    """Make the planned runs one after another. Raises the first failure; bad input before anything is made."""
    runner.check(request.config for request in plan)
    for number, request in enumerate(plan, start=1):
        runner.make(request.config, f"[{number}/{len(plan)}] {request.label}")


def run_side_by_side(plan: Sequence[Request], runner: Runner, device: str, workers: int) -> None:
    """Make the planned runs in `workers` processes at a time, each run after its parents.

    The processors are shared out evenly. A run whose parent failed is not started; the others are.
    Raises RunFailed at the end if any run failed.
    """
    runner.check(request.config for request in plan)
    threads = max(1, (os.cpu_count() or 1) // workers)
    run_here([request for request in plan if _is_done(request, runner)], runner)  # only checks their data
    waiting = [request for request in plan if not _is_done(request, runner)]
    unmade = {request.config.run_id for request in waiting}
    active: dict[subprocess.Popen[bytes], Request] = {}
    failed: list[str] = []
    with runner.stop.listening():
        while active or (waiting and runner.stop.signal is None):
            ready = [r for r in waiting if not any(parent.run_id in unmade for parent in r.config.parents())]
            while ready and len(active) < workers and runner.stop.signal is None:
                request = ready.pop(0)
                waiting.remove(request)
                active[_start_worker(request, runner, device, threads)] = request
            if not active:
                break  # what still waits has a parent that failed
            time.sleep(POLL_SECONDS)
            if runner.stop.signal is not None:
                for process in active:
                    process.send_signal(signal.SIGTERM)
            for process in [process for process in active if process.poll() is not None]:
                request = active.pop(process)
                if process.returncode == 0:
                    unmade.discard(request.config.run_id)
                else:
                    failed.append(request.config.run_id)
    if failed or waiting:
        not_started = f", {len(waiting)} not started" if waiting else ""
        raise RunFailed(f"{len(failed)} of {len(plan)} runs did not finish ({', '.join(failed)}){not_started}")


def _is_done(request: Request, runner: Runner) -> bool:
    return runner.store.run(request.config.run_id).is_done()


def _start_worker(request: Request, runner: Runner, device: str, threads: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "repro.launch.worker", "--runs", str(runner.store.root)]
    command += ["--data", str(runner.data_directory), "--device", device, "--threads", str(threads)]
    process = subprocess.Popen(
        [*command, "--label", request.label],
        stdin=subprocess.PIPE,
        start_new_session=True,  # so that Ctrl-C reaches workers once, through us
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(request.config.model_dump(mode="json")).encode())
    process.stdin.close()
    return process
