"""What showing runs in W&B costs: the wall time of `repro demo --wandb online` against `repro demo`.

Every demo is whole and made anew: its twelve runs, table and figure, and what it waits for its mirror at its end. W&B
is a server of ours on the same machine; what that one works is told apart, since W&B's own works elsewhere.
"""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from repro.bench.timing import Report, paired_ratio, spread
from repro.bench.wandb_server import wandb_server_process
from repro.training.hardware import describe

ROUNDS = 10


@dataclass(frozen=True)
class _Demo:
    """Wall seconds; processor seconds of the demo with all that it started, and of the server."""

    seconds: float
    processor: float
    server: float


def measure(rounds: int = ROUNDS) -> Report:
    """Pairs of demos, one after the other; each pair is told on stderr, and Ctrl-C ends it with those that are whole.

    {"machine": ..., "disabled_seconds": [...], "online_seconds": [...], "disabled_processor_seconds": [...],
    "online_processor_seconds": [...], "server_processor_seconds": [...],
    "ratio": {"median", "low", "high", "confidence"}}; a number for each pair.
    """
    machine = describe(torch.device("cpu")) | {"load": os.getloadavg()[0]}
    disabled: list[_Demo] = []
    online: list[_Demo] = []
    with contextlib.suppress(KeyboardInterrupt), wandb_server_process() as (environment, server):
        for number in range(rounds):
            # Who goes first takes turns: a machine that warms up or slows down favours nobody.
            order = ("disabled", "online") if number % 2 == 0 else ("online", "disabled")
            pair = {mode: _run_demo(mode, environment, server) for mode in order}
            disabled.append(pair["disabled"])
            online.append(pair["online"])
            with_it, without = pair["online"].seconds, pair["disabled"].seconds
            line = f"pair {number + 1}: {without:.2f} s, online {with_it:.2f} s, ratio {with_it / without:.4f}"
            print(line, file=sys.stderr, flush=True)
    if not online:
        raise KeyboardInterrupt
    without_seconds, with_seconds = [demo.seconds for demo in disabled], [demo.seconds for demo in online]
    without_processor, with_processor = [demo.processor for demo in disabled], [demo.processor for demo in online]
    served = [demo.server for demo in online]
    found = paired_ratio(with_seconds, without_seconds)
    text = (
        f"wandb: `repro demo`, {len(online)} pairs, load {machine['load']:.2f} at the start; median (range)\n"
        f"  without W&B                  {spread(without_seconds).text(1, ' s')}\n"
        f"  --wandb online               {spread(with_seconds).text(1, ' s')}\n"
        f"  ratio in a pair, median      {found.median:.3f}x, {found.confidence:.0%} interval of the median "
        f"{found.low:.3f}-{found.high:.3f}\n"
        f"  processor time               {spread(without_processor).text(1, ' s')}, online "
        f"{spread(with_processor).text(1, ' s')}, of our server {spread(served).text(2, ' s')}"
    )
    numbers = {
        "machine": machine,
        "disabled_seconds": without_seconds,
        "online_seconds": with_seconds,
        "disabled_processor_seconds": without_processor,
        "online_processor_seconds": with_processor,
        "server_processor_seconds": served,
        "ratio": found._asdict(),
    }
    return Report(text, numbers)


def _run_demo(mode: str, environment: Mapping[str, str], server: int) -> _Demo:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "repro", "demo", "--out", str(Path(folder) / "demo"), "--wandb", mode]
        served, used, start = _of_server(server), _of_children(), time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, **environment}, capture_output=True)
        return _Demo(time.perf_counter() - start, _of_children() - used, _of_server(server) - served)


def _of_server(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _of_children() -> float:
    times = resource.getrusage(resource.RUSAGE_CHILDREN)
    return times.ru_utime + times.ru_stime
