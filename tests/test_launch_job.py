"""What a job makes of its runs, and of Slurm's signals, when it is called as submitit calls it.

On a real Slurm: test_slurm_*.py. Here no worker trains: the runs are done, failed, or held by another process.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from pretend_slurm import PretendSlurm
from processes import PATIENCE, Process
from runs import small_student, small_teacher

from repro.config import RunConfig
from repro.errors import RunFailed
from repro.launch.job import Job
from repro.launch.pool import Pool, Workplace, _Worker
from repro.launch.request import Request, order
from repro.progress import Lines
from repro.stop import StopRequest
from repro.store import RunDirectory, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def job(store: Store, *configs: RunConfig, **changes: Any) -> Job:
    orders = tuple(order(Request(f"run {number}", config)) for number, config in enumerate(configs))
    resources = {"devices": ("cpu",), "at_once": 1, "threads": 1, "processes": 1, "warning_seconds": 90}
    code = Path(__file__).parents[1]
    return Job(orders, store.root, store.root / "no data", code=code, **resources | changes)  # type: ignore[arg-type]


def begin(store: Store, config: RunConfig) -> RunDirectory:
    run = store.run(config.run_id)
    run.path.mkdir(parents=True)
    run.write_config(config)
    return run


def test_a_job_fails_unless_all_its_runs_are_done(store: Store) -> None:
    """Slurm would call it completed."""
    parent, done = small_teacher(), small_teacher(seed=5)
    child = small_student(teachers=(parent,))
    begin(store, parent).write_failure("the loss became nan")
    begin(store, done).write_json("summary.json", {})
    with pytest.raises(RunFailed) as caught:
        job(store, child, done)()
    assert str(caught.value).splitlines() == [
        "1 of 2 runs are not done",
        f"run {child.run_id}: its teacher {parent.run_id} failed",
    ]
    job(store, done)()


def test_a_job_that_is_requeued_leaves_no_process_and_asks_for_the_same_runs(store: Store) -> None:
    """A process that does not end must not cost the job its place: Slurm kills it when the time of warning is over."""
    ignores = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-S", "-c", ignores], **pipes)  # type: ignore[call-overload]
    assert process.stdout.readline() == b"\n"
    pool = Pool(Workplace(store, store.root, ["cpu"], workers=1, threads=1), StopRequest())
    pool.workers = [_Worker(0, process, Lines())]
    asked = job(store, small_teacher(), warning_seconds=2)
    with asked._in_charge(pool):
        start = time.monotonic()
        delayed = asked.checkpoint()
        seconds = time.monotonic() - start
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert 1.5 < seconds < 30.0
    assert pool.stop.signal == "Slurm"  # no run is started any more
    assert pickle.loads(pickle.dumps(delayed.function)) == asked
    assert asked.checkpoint().function == asked  # before it has begun, too


@pytest.mark.parametrize(("state", "outcome"), [("RUNNING", "requeue"), ("COMPLETING", 143), ("PENDING", 143)])
def test_a_job_that_is_told_to_end_requeues_itself_only_if_slurm_has_not_decided_already(
    state: str, outcome: object, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm sends SIGTERM at preemption with some grace, when it requeues a job itself, and when it cancels one."""
    slurm = PretendSlurm(tmp_path / "bin", store.root, monkeypatch)
    slurm.answers("squeue", [state])
    for name, value in (("ARRAY_JOB_ID", "7"), ("ARRAY_TASK_ID", "3"), ("JOB_ID", "9")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    held = small_teacher()

    def submitted(pipe: Connection) -> None:
        def requeue(*_: object) -> None:  # submitit's handler saves what `checkpoint` returns, and ends the process
            pipe.send("requeue")
            os._exit(0)

        def terminate() -> None:
            while signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)

        signal.signal(signal.SIGUSR2, requeue)
        threading.Thread(target=terminate).start()
        try:
            job(store, held)()
        except SystemExit as ended:
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            pipe.send(ended.code)

    with store.run(held.run_id).lock(on_wait=print):  # so that the job waits
        process = Process(submitted)
        assert process.hear() == outcome
        process.process.join(PATIENCE)
    assert slurm.read("asked_squeue") == "--all --noheader --jobs=7_3 --format=%T\n"
