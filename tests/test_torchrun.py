"""`torchrun -m repro run`: one record by two processes, and a bounded end when they are stopped or one is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from repro.store import RunDirectory, Store

pytestmark = pytest.mark.slow

PATIENCE = 600.0
"""Seconds for whatever has to happen: Python and torch are started three times, perhaps on a busy machine."""

COMMAND = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
COMMAND += ["-m", "repro", "run", "imagenet", "preset=smoke", "members=1", "--device", "cpu"]


class Job:
    """A job of two processes whose student has far more epochs than a test waits for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        settings = ["epochs=100000", "--runs", str(root)]
        self.process = subprocess.Popen([*COMMAND, *settings], stderr=subprocess.PIPE, text=True)

    def student(self, after: int) -> RunDirectory:
        """Its record, once it has more rows of metrics than `after`."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            for run in Store(self.root).runs():
                if run.config().kind == "student" and len(run.metrics()) > after:
                    return run
            time.sleep(0.2)
        self.process.kill()
        raise AssertionError(f"the student does not train: {self.process.communicate()[1]}")

    def end(self) -> tuple[int, str]:
        """Exit code and stderr."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    """Jobs that are over at the end of the test."""
    started: list[Job] = []
    yield started
    for job in started:
        if job.process.poll() is None:
            job.process.terminate()
            job.process.communicate(timeout=PATIENCE)


def test_a_stopped_job_goes_on_and_a_killed_process_ends_it(tmp_path: Path, jobs: list[Job]) -> None:
    jobs.append(Job(tmp_path))
    run = jobs[0].student(after=0)
    jobs[0].process.send_signal(signal.SIGTERM)  # as Slurm does
    code, errors = jobs[0].end()
    assert code != 0
    assert "repro: process 0: " in errors and "stopped by SIGTERM at step" in errors
    assert run.state() == "interrupted"
    checkpoint = run.checkpoint()
    assert checkpoint is not None
    rows = len(run.metrics())

    jobs.append(Job(tmp_path))
    jobs[1].student(after=rows)
    listing = Path(f"/proc/{jobs[1].process.pid}/task/{jobs[1].process.pid}/children").read_text()
    second = max(int(pid) for pid in listing.split())
    os.kill(second, signal.SIGKILL)
    code, errors = jobs[1].end()
    assert code != 0
    assert "another process of this job ended or cannot be reached" in errors
    assert run.state() == "failed"
    assert "another process" in (run.failure() or "")
