"""What runs inside a Slurm job: it makes a list of runs, and goes back into the queue until all of them are done.

submitit pickles a Job and calls it in the job; after a node failure, Slurm starts the same pickle again. So a Job only
says which runs are wanted, and looks up their state in their records. Training happens in worker processes; the Job
itself does not import the training code, so that it handles Slurm's signals from the first second on.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from repro.errors import RunFailed
from repro.launch.pool import Pool, Workplace
from repro.launch.request import Order
from repro.launch.scratch import stage
from repro.launch.slurm_queue import job_state
from repro.provenance import slurm_job_id
from repro.stop import StopRequest, handling
from repro.store import Store
from repro.tracking.label import Label
from repro.tracking.mirror import Mode, mirrored

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission


@dataclass
class Job:
    """Makes `runs`, `at_once` of them side by side on `devices`, with `processes` per run and `threads` per process.

    Call it in a Slurm job, or in submitit's debug mode, where each run is made by a single process.
    """

    runs: tuple[Order, ...]
    store: Path
    data: Path
    devices: tuple[str, ...]
    at_once: int
    threads: int
    processes: int
    code: Path
    warning_seconds: int
    wandb: Mode = "disabled"
    group: str = ""
    _pool: Pool | None = field(default=None, init=False, compare=False)
    """What makes the runs at the moment. A copy (`replace`) has none."""

    def __call__(self) -> None:
        """Make the runs that are not done. Raises RunFailed if any of them could not be finished."""
        store = Store(self.store)
        wanted = [order for order in self.runs if not store.run(order.run_id).is_done()]
        data = stage(self.data, wanted)
        if "SUBMITIT_DEBUG_JOB_ID" in os.environ:
            _make_in_this_process(wanted, store, data, self.devices[0])
            return
        places = (self.devices, self.at_once, self.threads, self.code, self.processes)
        pool = Pool(Workplace(store, data, *places), StopRequest())
        labels = {order.run_id: Label(order.label, self.group, order.tags) for order in wanted}
        with mirrored(self.wandb, self.store, labels, print), self._in_charge(pool):
            unfinished = pool.make(wanted)
        if unfinished:
            lines = "\n".join(f"run {run_id}: {reason}" for run_id, reason in unfinished.items())
            raise RunFailed(f"{len(unfinished)} of {len(self.runs)} runs are not done\n{lines}")

    def checkpoint(self) -> "DelayedSubmission":
        """Save the runs and requeue this Job. submitit calls this at preemption and before the time limit."""
        from submitit.helpers import DelayedSubmission

        if self._pool is not None:
            self._pool.stop.signal = "Slurm"
            self._pool.dismiss(0.8 * self.warning_seconds)
        return DelayedSubmission(replace(self))  # a copy without the pool

    @contextlib.contextmanager
    def _in_charge(self, pool: Pool) -> Iterator[None]:
        """Handle signals for `pool` while it works."""
        self._pool = pool
        with handling([signal.SIGTERM], self._terminated):
            yield

    def _terminated(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Slurm takes the job away. Save the runs at once; what happens next depends on the job's state.

        If Slurm still calls it RUNNING, it is being preempted with some grace time: requeue it, as at submitit's own
        signal. Otherwise Slurm has already cancelled or requeued it: exit.
        """
        self.checkpoint()
        state = job_state(slurm_job_id() or "")  # not SLURM_JOB_ID: for one task of an array, that is the array's id
        print(f"SIGTERM: runs are saved; to Slurm, job {slurm_job_id()} is {state}", flush=True)
        if state != "RUNNING":
            raise SystemExit(128 + number)
        os.kill(os.getpid(), signal.SIGUSR2)
        while True:
            time.sleep(1.0)  # submitit's handler ends the process


def _make_in_this_process(orders: list[Order], store: Store, data: Path, device: str) -> None:
    from repro.config import parse_config
    from repro.launch.local import make_in_turn
    from repro.launch.request import Request
    from repro.progress import Lines
    from repro.runner import Runner
    from repro.training.hardware import choose_device

    requests = [Request(order.label, parse_config(order.config), forgiven=order.forgiven) for order in orders]
    make_in_turn(requests, Runner(store, data, choose_device(device), Lines()))
