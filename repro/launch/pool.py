"""Make runs side by side in worker processes, each after its parents."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repro.launch.plan import Request
from repro.runner import StopRequest
from repro.store import RunDirectory, Store

POLL_SECONDS = 0.5
WAIT = "waits for a parent"
PARTING_SECONDS = 60.0
"""How long a worker may take to end when asked to; then it is killed, and its run goes on from its last checkpoint."""


@dataclass(frozen=True)
class Workplace:
    """Where workers make runs. `code` is the folder of the package they run; None for this process's own."""

    store: Store
    data: Path
    devices: Sequence[str]
    workers: int
    threads: int
    code: Path | None = None

    def start_worker(self, number: int) -> subprocess.Popen[bytes]:
        """Start worker `number` (from 0), which takes its turn among the devices."""
        command = [sys.executable, "-m", "repro.launch.worker", "--runs", str(self.store.root)]
        command += ["--data", str(self.data), "--device", self.devices[number % len(self.devices)]]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        if self.code is not None:
            # Safe path: else Python looks into the current folder, often a checkout, before PYTHONPATH.
            paths = [str(self.code), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
        return subprocess.Popen(
            [*command, "--threads", str(self.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that signals to our group, such as Ctrl-C, reach workers through us alone
            env=environment,
        )


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    request: Request | None = None

    def give(self, request: Request) -> None:
        assert self.process.stdin is not None
        content = {"label": request.label, "config": request.config.model_dump(mode="json")}
        with contextlib.suppress(BrokenPipeError):  # it has died; the end of its output will tell
            self.process.stdin.write(json.dumps(content).encode() + b"\n")
            self.process.stdin.flush()
        self.request = request


@dataclass
class Pool:
    """Worker processes that make runs until all are done, cannot be made, or `stop` asks to end."""

    workplace: Workplace
    stop: StopRequest
    workers: list[_Worker] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    unfinished: dict[str, str] = field(default_factory=dict)

    def make(self, requests: Sequence[Request]) -> dict[str, str]:
        """Make the requested runs, none of which is done. Returns the others: run id -> why it is not done.

        A run waits for its parents among the requests, and for those that are being made elsewhere. If a parent
        failed, so has the run, and its record says so; if nobody makes a parent, the run is left as it is.
        """
        self.waiting, self.unfinished = list(requests), {}
        with selectors.DefaultSelector() as answers:
            try:
                while self.stop.signal is None and (self.waiting or any(worker.request for worker in self.workers)):
                    self._hand_out(answers)
                    for key, _ in answers.select(timeout=POLL_SECONDS):
                        self._hear(key.data, answers)
            finally:
                self.dismiss()
                for worker in [worker for worker in self.workers if worker.request is not None]:
                    self._hear(worker, answers)
        for request in self.waiting:
            self.unfinished[request.run_id] = "not started"
        return self.unfinished

    def dismiss(self, seconds: float = PARTING_SECONDS) -> None:
        """Have every worker end, with a checkpoint if it is training; kill it if that takes longer than `seconds`."""
        for worker in self.workers:
            assert worker.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                worker.process.stdin.close()
        end = time.monotonic() + seconds
        for worker in self.workers:
            try:
                worker.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _hand_out(self, answers: selectors.BaseSelector) -> None:
        """Give idle workers the first runs that can be made; sort out those that cannot."""
        ours = {request.run_id for request in self.waiting}
        ours |= {worker.request.run_id for worker in self.workers if worker.request is not None}
        for request in list(self.waiting):
            idle = next((worker for worker in self.workers if worker.request is None), None)
            if idle is None and len(self.workers) == self.workplace.workers:
                return
            obstacle = WAIT if ours.intersection(request.parent_ids) else obstacle_to(request, self.workplace.store)
            if obstacle == WAIT:
                continue
            self.waiting.remove(request)
            if obstacle is None:
                (idle or self._hire(answers)).give(request)
            else:
                self.unfinished[request.run_id] = obstacle
                ours.remove(request.run_id)

    def _hire(self, answers: selectors.BaseSelector) -> _Worker:
        number = min(set(range(self.workplace.workers)) - {worker.number for worker in self.workers})
        worker = _Worker(number, self.workplace.start_worker(number))
        self.workers.append(worker)
        assert worker.process.stdout is not None
        answers.register(worker.process.stdout, selectors.EVENT_READ, worker)
        return worker

    def _hear(self, worker: _Worker, answers: selectors.BaseSelector) -> None:
        """Take a worker's answer, or notice its end."""
        assert worker.process.stdout is not None
        line = worker.process.stdout.readline()
        request, worker.request = worker.request, None
        if not line:
            answers.unregister(worker.process.stdout)
            self.workers.remove(worker)
            code = worker.process.wait()
            if request is not None:
                self._note_death(request, code)
            return
        outcome = json.loads(line)
        if request is not None and outcome["error"] is not None:
            self._note_failure(request, outcome["error"], outcome["failed"])

    def _note_death(self, request: Request, code: int) -> None:
        """A worker died over a run: a failure of the run, such as too little memory, unless all of us are killed."""
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        if self.stop.signal is None:
            time.sleep(1.0)  # whoever kills the whole job, reaches us within the second
        self._note_failure(request, f"its process {how}{hint}", failed=self.stop.signal is None)

    def _note_failure(self, request: Request, error: str, failed: bool) -> None:
        """Remember that a run was not finished; leave why in its record, if that does not say so yet."""
        self.unfinished[request.run_id] = error
        run = self.workplace.store.run(request.run_id)
        if failed and not run.is_done() and run.failure() is None:
            with _holding(run):
                run.write_config(request.config)
                run.write_failure(error)


def obstacle_to(request: Request, store: Store) -> str | None:
    """What the records of its parents say against starting a run: WAIT if that may change by itself.

    If a parent failed, so has the run, and its record says so; if nobody makes a parent, the run is left as it is.
    """
    for kind, run_id in request.parents:
        parent = store.run(run_id)
        if parent.holder() is not None:  # asked first: one that ends while we look is done or failed then
            return WAIT
        if parent.is_done():
            continue
        failure = parent.failure()
        if failure is None:
            return f"its {kind} {run_id} is {parent.state()} and nobody is making it"
        with _holding(store.run(request.run_id)) as run:
            run.write_config(request.config)
            run.write_failure(f"its {kind} {run_id} failed: {failure}", parent=run_id)
        return f"its {kind} {run_id} failed"
    return None


class _HeldByAnother(Exception):
    pass


@contextlib.contextmanager
def _holding(run: RunDirectory) -> Iterator[RunDirectory]:
    """Hold the run's lock; if somebody else does, skip the body: it is theirs to say how the run stands."""

    def skip(holder: str) -> None:
        raise _HeldByAnother(holder)

    with contextlib.suppress(_HeldByAnother), run.lock(on_wait=skip):
        yield run
