"""What showing runs in W&B costs: the wall time of a command with `--wandb online` against the same one without.

The runs are the demo's twelve, each time made anew. W&B is a server of ours on the same machine, whose work counts
too. The time is the whole command's, from its start to its end: what it waits for its mirror is in it.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from repro.bench.timing import Report, ratio, spread
from repro.bench.wandb_server import wandb_server_process
from repro.launch.sweep import find_sweep
from repro.training.hardware import describe

ROUNDS = 3


def measure(rounds: int = ROUNDS, settings: tuple[str, ...] = ()) -> Report:
    """Seconds with and without, their ratio, and the processor seconds that are spent on W&B beside training.

    {"machine": ..., "settings": [...], "disabled_seconds": [...], "online_seconds": [...], "processor_seconds": [...],
    "ratio": {"median", "low", "high"}}; the lists hold a number for each round, `processor_seconds` the difference.
    """
    machine = describe(torch.device("cpu")) | {"load": os.getloadavg()[0]}
    wall: dict[str, list[float]] = {"disabled": [], "online": []}
    processor: dict[str, list[float]] = {"disabled": [], "online": []}
    with wandb_server_process() as environment:
        for number in range(rounds):
            # Who goes first takes turns: a machine that warms up favours nobody.
            for mode in sorted(wall, reverse=bool(number % 2)):
                seconds, spent = _launch(mode, settings, environment)
                wall[mode].append(seconds)
                processor[mode].append(spent)
    found = ratio(wall["online"], wall["disabled"])
    extra = [online - disabled for online, disabled in zip(processor["online"], processor["disabled"], strict=True)]
    text = (
        f"wandb: `{' '.join(('repro launch sweeps/digits.yaml', *settings))}`, {rounds} pairs\n"
        f"  without W&B        {spread(wall['disabled']).text(1, ' s')}\n"
        f"  --wandb online     {spread(wall['online']).text(1, ' s')}\n"
        f"  wall time, ratio   {found.text(3, 'x')}\n"
        f"  processor time     {spread(extra).text(1, ' s')} more"
    )
    numbers = {
        "machine": machine,
        "settings": list(settings),
        "disabled_seconds": wall["disabled"],
        "online_seconds": wall["online"],
        "processor_seconds": extra,
        "ratio": found._asdict(),
    }
    return Report(text, numbers)


def _launch(mode: str, settings: tuple[str, ...], environment: Mapping[str, str]) -> tuple[float, float]:
    """Wall time of a command that makes the runs, and processor time of it and all its processes."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        sweep = str(find_sweep("digits"))
        command = [sys.executable, "-m", "repro", "launch", sweep, *settings, "--runs", str(runs), "--wandb", mode]
        before, start = _children_seconds(), time.perf_counter()
        subprocess.run(command, check=True, env={**os.environ, **environment}, capture_output=True)
        return time.perf_counter() - start, _children_seconds() - before


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
