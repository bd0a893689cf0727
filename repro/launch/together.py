"""Make one run with several processes, one device each: `torchrun`, started by a worker of `repro.launch.pool`.

The processes read the request from a file, and the first one writes the outcome next to it. All of them inherit a pipe
as standard input, to which nothing is ever written. When the worker closes it or dies, they see its end and stop with
a checkpoint, so that no process outlives the worker.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from repro.errors import BadInput, Interrupted, RunFailed
from repro.stop import StopRequest
from repro.store import Store

POLL_SECONDS = 0.2


def make_together(
    request: dict[str, Any], runs: Path, data: Path, device: str, processes: int, threads: int, stop: StopRequest
) -> None:
    """Make the requested run with `processes` processes; if another process is making it, wait for that first.

    Raises what the runner raises in the first process, BadInput or RunFailed, or RunFailed if that process dies;
    BadInput if the other process has made the run with other data; Interrupted if asked to stop.
    """
    run = Store(runs).run(request["run_id"])
    while (holder := run.holder()) is not None:
        if stop.signal is not None:
            raise Interrupted(f"run {run.run_id}: stopped by {stop.signal} while it waited for {holder}")
        time.sleep(POLL_SECONDS)
    if run.is_done():
        from repro.config import parse_config
        from repro.run_data import check_data_of_done

        check_data_of_done(run, parse_config(request["config"]), data)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(request))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command += ["-m", "repro.launch.together", str(path), "--runs", str(runs), "--data", str(data)]
        command += ["--device", device, "--threads", str(threads)]
        # Slurm's warning goes to every process of a job, and would kill torchrun before the others have saved.
        process = subprocess.Popen(["sh", "-c", 'trap "" USR2; exec "$@"', "sh", *command], stdin=subprocess.PIPE)
        assert process.stdin is not None
        while process.poll() is None:
            if stop.signal is not None:
                process.stdin.close()
            time.sleep(POLL_SECONDS)
        process.stdin.close()
        outcome = path.with_name("outcome.json")
        kind, message = json.loads(outcome.read_text()) if outcome.exists() else ("RunFailed", None)
    if run.is_done():
        return
    if stop.signal is not None:
        raise Interrupted(message or f"run {run.run_id}: stopped by {stop.signal}")
    failure = run.failure()  # by the process that failed, which may not be the first
    message = failure or message or f"its {processes} processes ended with exit code {process.returncode}"
    raise BadInput(message) if kind == "BadInput" else RunFailed(message)


def main() -> int:
    """Run one of the processes. Exit code 0 if the run is done, else 1."""
    import torch

    from repro.config import parse_config
    from repro.progress import Lines, Progress
    from repro.runner import Runner
    from repro.training.distributed import connected, ranks_of_this_job
    from repro.training.hardware import choose_device, keep_freed_memory

    parser = argparse.ArgumentParser(prog="repro.launch.together")
    parser.add_argument("request", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    request = json.loads(options.request.read_text())
    stop, ranks = StopRequest(), ranks_of_this_job()
    threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
    output = Lines() if ranks.is_first else Progress()
    try:
        device = choose_device(options.device)
        runner = Runner(Store(options.runs), options.data, device, output, stop, ranks=ranks)
        with stop.listening(), connected(ranks, device):
            runner.make(parse_config(request["config"]), request["label"], request["forgiven"])
    except (BadInput, RunFailed) as error:
        if ranks.is_first:
            kind = "BadInput" if isinstance(error, BadInput) else "RunFailed"
            options.request.with_name("outcome.json").write_text(json.dumps([kind, str(error)]))
        print(f"repro: process {ranks.rank}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _wait_for_end(stop: StopRequest) -> None:
    while os.read(0, 1):
        pass
    if stop.signal is None:
        stop.signal = "its launcher's end"


if __name__ == "__main__":
    sys.exit(main())
