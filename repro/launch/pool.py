"""Make runs side by side in worker processes, each after its parents."""

import contextlib
import json
import os
import select
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.launch.obstacles import WAIT, note_failure, obstacle_to, whom_it_waits_for
from repro.launch.request import Order
from repro.progress import Progress, bar_of_runs, for_this_output
from repro.stop import StopRequest
from repro.store import Store

POLL_SECONDS = 0.5
PARTING_SECONDS = 60.0
"""How long a worker may take to end when asked; then it is killed, and its run resumes from its last checkpoint."""


@dataclass(frozen=True)
class Workplace:
    """Where workers make runs, each run with `processes` processes on a device each.

    `code` is the folder of the package that the workers run; None for the one that this process runs.
    """

    store: Store
    data: Path
    devices: Sequence[str]
    workers: int
    threads: int
    code: Path | None = None
    processes: int = 1

    def start_worker(self, number: int) -> subprocess.Popen[bytes]:
        """Start worker `number` (from 0); devices are assigned to workers in turn."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        device = self.devices[number % len(self.devices)]
        if self.processes > 1 and device != "cpu":
            mine = slice(number * self.processes, (number + 1) * self.processes)
            visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(len(self.devices))))
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible.split(",")[mine])
            device = "cuda"  # each process takes one of these GPUs
        command = [sys.executable, "-m", "repro.launch.worker", "--runs", str(self.store.root)]
        command += ["--data", str(self.data), "--device", device, "--processes", str(self.processes)]
        if self.code is not None:
            # Without PYTHONSAFEPATH, Python would search the current folder, often a checkout, before PYTHONPATH.
            paths = [str(self.code), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
        return subprocess.Popen(
            [*command, "--threads", str(self.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that signals to our group, such as Ctrl-C, reach workers only through us
            env=environment,
        )


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    progress: Progress
    order: Order | None = None
    heard: bytes = b""
    """Output that has been read but not processed."""
    parting: bytes = b""
    """Output since the worker was asked to end."""

    def read(self) -> bool:
        """Wait for more output; False at its end."""
        part = os.read(self._output, 65536)
        self.heard += part
        return bool(part)

    def read_parting(self) -> None:
        """Read what it has written so far: a worker whose pipe is full could not end."""
        if select.select([self._output], [], [], 0)[0]:
            self.parting += os.read(self._output, 65536)

    def lines(self) -> list[dict[str, Any]]:
        """The complete lines of output since the last call, parsed."""
        *lines, self.heard = self.heard.split(b"\n")
        return [json.loads(line) for line in lines]

    @property
    def _output(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def give(self, order: Order) -> None:
        assert self.process.stdin is not None
        content = {"label": order.label, "run_id": order.run_id, "config": order.config, "forgiven": order.forgiven}
        with contextlib.suppress(BrokenPipeError):  # it has died, which the end of its output will show
            self.process.stdin.write(json.dumps(content).encode() + b"\n")
            self.process.stdin.flush()
        self.order = order


@dataclass
class Pool:
    """Worker processes that make runs until all are done or cannot be made, or until `stop` is set."""

    workplace: Workplace
    stop: StopRequest
    workers: list[_Worker] = field(default_factory=list)
    waiting: list[Order] = field(default_factory=list)
    unfinished: dict[str, str] = field(default_factory=dict)
    dismissed: bool = False
    """Workers were told to end, so that their exit is not a failure of their runs."""

    def make(self, orders: Sequence[Order]) -> dict[str, str]:
        """Make the requested runs, none of which is done. Return those that were not finished: run id -> reason.

        A run that is being made elsewhere is left for the end, then looked at again, so that two pools with the same
        orders share the work. A run waits for parents that are among the orders or being made elsewhere. If a parent
        failed, the run fails too, and its record says so; if no process makes a parent, the run is left as it is.
        """
        self.waiting, self.unfinished, self.dismissed = list(orders), {}, False
        told, store = False, self.workplace.store
        with selectors.DefaultSelector() as answers, bar_of_runs(len(orders)) as bar:
            try:
                while self.stop.signal is None and (left := self._left()):
                    bar.n = len(orders) - left
                    bar.refresh()
                    self._hand_out(answers)
                    if not told and left == len(self.waiting) and (line := whom_it_waits_for(self.waiting, store)):
                        told = True
                        for_this_output().say(line)
                    for key, _ in answers.select(timeout=POLL_SECONDS):
                        self._hear(key.data, answers)
            finally:
                self.dismiss()
                for worker in list(self.workers):
                    with contextlib.suppress(BrokenPipeError):  # our own output is closed, which is then why we stop
                        worker.heard += worker.parting
                        self._take(worker)
                        while worker.order is not None:
                            self._hear(worker, answers)
                        worker.progress.stop()
        for order in self.waiting:
            self.unfinished[order.run_id] = "not started"
        return self.unfinished

    def _left(self) -> int:
        """How many runs are waiting or being made."""
        return len(self.waiting) + sum(worker.order is not None for worker in self.workers)

    def dismiss(self, seconds: float = PARTING_SECONDS) -> None:
        """End every worker, with a checkpoint if it is training; kill workers that take longer than `seconds`.

        May be called from a signal handler, so it never waits for a lock of `subprocess`, and prints nothing.
        """
        self.dismissed = True
        for worker in self.workers:
            assert worker.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                worker.process.stdin.close()
            worker.process.terminate()  # a worker still importing is killed by it, which loses nothing
        end = time.monotonic() + seconds
        while living := [worker for worker in self.workers if worker.process.poll() is None]:
            if time.monotonic() > end:
                for worker in living:
                    worker.process.kill()
                return
            for worker in living:
                worker.read_parting()
            time.sleep(0.02)

    def _hand_out(self, answers: selectors.BaseSelector) -> None:
        """Give idle workers the first runs that can be made; take out those that cannot be."""
        ours = {order.run_id for order in self.waiting}
        ours |= {worker.order.run_id for worker in self.workers if worker.order is not None}
        for order in list(self.waiting):
            idle = next((w for w in self.workers if w.order is None and w.process.poll() is None), None)
            if idle is None and len(self.workers) == self.workplace.workers:
                return
            obstacle = obstacle_to(order, self.workplace.store, ours)
            if obstacle == WAIT:
                continue
            self.waiting.remove(order)
            if obstacle is None:
                (idle or self._hire(answers)).give(order)
            else:
                self.unfinished[order.run_id] = obstacle

    def _hire(self, answers: selectors.BaseSelector) -> _Worker:
        number = min(set(range(self.workplace.workers)) - {worker.number for worker in self.workers})
        worker = _Worker(number, self.workplace.start_worker(number), for_this_output(position=1 + number))
        self.workers.append(worker)
        assert worker.process.stdout is not None
        answers.register(worker.process.stdout, selectors.EVENT_READ, worker)
        return worker

    def _hear(self, worker: _Worker, answers: selectors.BaseSelector) -> None:
        """Process a worker's output: show its progress, take its answer, or notice its end."""
        assert worker.process.stdout is not None
        if worker.read():
            self._take(worker)
            return
        answers.unregister(worker.process.stdout)
        self.workers.remove(worker)
        worker.progress.stop()
        code, order, worker.order = worker.process.wait(), worker.order, None
        if order is not None:
            self._note_death(order, code, worker.progress)

    def _take(self, worker: _Worker) -> None:
        for line in worker.lines():
            if "progress" in line:
                getattr(worker.progress, line["progress"])(*line["arguments"])
                continue
            order, worker.order = worker.order, None
            if order is not None and line["made_elsewhere"]:
                self.waiting.insert(0, order)
            elif order is not None and line["error"] is not None:
                self._note_failure(order, line["error"], line["failed"])

    def _note_death(self, order: Order, code: int, progress: Progress) -> None:
        """A worker died during a run: the run has failed (out of memory, say), unless the whole job is being ended."""
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        if self.stop.signal is None and not self.dismissed:
            time.sleep(1.0)  # if the whole job is being killed, our signal comes within a second
        failed = self.stop.signal is None and not self.dismissed
        self._note_failure(order, f"its process {how}{hint}", failed)
        if failed:
            progress.say(f"repro: run {order.run_id} ({order.label}): its process {how}{hint}")

    def _note_failure(self, order: Order, error: str, failed: bool) -> None:
        """Remember that a run was not finished; if it failed, write why to its record unless it says so already."""
        self.unfinished[order.run_id] = error
        if failed:
            note_failure(order, self.workplace.store, error)
