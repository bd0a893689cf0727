"""A process that makes runs one after another; started and fed by `repro.launch.pool`.

Each line of standard input requests a run: {"label": ..., "run_id": ..., "config": ..., "forgiven": ...}. Each request
is answered, in order, by a line of standard output: {"error": ..., "failed": ..., "made_elsewhere": ...}, with null and
false if the run is done. If another process is making the run, the answer says `made_elsewhere` at once. The lines
before the answer report progress: {"progress": name, "arguments": [...]}, a call of `repro.progress.Progress`.

The end of the input ends the worker: at once if it is idle, otherwise at the next step, with a checkpoint. So no worker
outlives its pool.
"""

import argparse
import contextlib
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from repro.errors import BadInput, Interrupted, MadeElsewhere, RunFailed, is_loss_of_gpu
from repro.launch.together import make_together
from repro.progress import Progress, Report
from repro.stop import StopRequest
from repro.store import Store

POLL_SECONDS = 0.5

Make: TypeAlias = Callable[[dict[str, Any]], None]
"""A function that makes the requested run, or raises BadInput or RunFailed."""


def main() -> int:
    """Make the requested runs. Exit code 0 if all of them are done, else 1."""
    parser = argparse.ArgumentParser(prog="repro.launch.worker")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    answer = _take_stdout()
    progress = Report(lambda name, arguments: answer({"progress": name, "arguments": arguments}))
    stop = StopRequest()
    make = _together(options, stop) if options.processes > 1 else _alone(options, progress, stop)
    all_done = True
    with stop.listening():
        for request in _requests(stop):
            outcome = _outcome(make, request, progress)
            answer(outcome)
            all_done = all_done and outcome["error"] is None
    return 0 if all_done else 1


def _alone(options: argparse.Namespace, progress: Progress, stop: StopRequest) -> Make:
    """A function that makes a run in this process. Its imports happen now, before signals become requests to stop."""
    import torch

    from repro.config import parse_config
    from repro.runner import Runner
    from repro.training.hardware import choose_device, keep_freed_memory

    torch.set_num_threads(options.threads)
    keep_freed_memory()

    def make(request: dict[str, Any]) -> None:
        runner = Runner(Store(options.runs), options.data, choose_device(options.device), progress, stop)
        runner.make(parse_config(request["config"]), request["label"], request["forgiven"], waits=False)

    return make


def _together(options: argparse.Namespace, stop: StopRequest) -> Make:
    """A function that makes a run in several child processes."""

    def make(request: dict[str, Any]) -> None:
        where = (options.runs, options.data, options.device)
        make_together(request, *where, options.processes, options.threads, stop)

    return make


def _outcome(make: Make, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Make one run, and return the answer to the request."""
    answer: dict[str, Any] = {"error": None, "failed": False, "made_elsewhere": False}
    try:
        make(request)
    except MadeElsewhere as error:
        return answer | {"error": str(error), "made_elsewhere": True}
    except (BadInput, RunFailed) as error:
        progress.say(f"repro: {error}")
        return answer | {"error": str(error), "failed": not isinstance(error, Interrupted)}
    except Exception as error:  # a bug, which must not stop the worker's other runs
        if is_loss_of_gpu(error):  # but its other runs would fail too: a new worker makes them
            raise
        traceback.print_exc()
        return answer | {"error": repr(error), "failed": True}
    return answer


def _take_stdout() -> Callable[[dict[str, Any]], None]:
    """Reserve standard output for answers, and redirect prints to standard error. Return what writes an answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(outcome: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the pool is gone; the record has the state of the run
            print(json.dumps(outcome), file=answers, flush=True)

    return answer


def _requests(stop: StopRequest) -> Iterator[dict[str, Any]]:
    """Yield requests as they arrive, until the input ends or a signal asks to stop."""
    arrived: queue.Queue[bytes] = queue.Queue()

    def read() -> None:
        # Unbuffered, because a buffered reader that is blocked in a thread cannot be torn down at exit.
        with open(0, "rb", buffering=0, closefd=False) as stdin:
            for line in stdin:
                arrived.put(line)
        if stop.signal is None:
            stop.signal = "its launcher's end"

    threading.Thread(target=read, daemon=True).start()
    while stop.signal is None:
        with contextlib.suppress(queue.Empty):
            line = arrived.get(timeout=POLL_SECONDS)
            if stop.signal is None:
                yield json.loads(line)


if __name__ == "__main__":
    sys.exit(main())
