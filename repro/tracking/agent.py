"""`repro wandb agent`: W&B's own sweep agent, but with a correct exit code and no leftover processes.

On its own, `wandb agent` exits with 0 even if its runs fail, and leaves them running when it is told to stop.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType

import psutil

from repro.errors import BadInput, RunFailed
from repro.progress import counted
from repro.stop import handling, not_ignored
from repro.tracking.under_agent import REPORT

STOP_SECONDS = 120.0
"""How long runs may take to save a checkpoint when the agent is told to stop; then they are killed."""


def run_agent(sweep: str, count: int | None) -> int:
    """Work on a W&B sweep (ENTITY/PROJECT/ID or ID) until it has no points left, and return how many runs were made.

    Raises RunFailed if a run failed, was killed or could not be started, or if the agent was stopped; BadInput if the
    agent could not work on the sweep at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        report.touch()
        command = [sys.executable, "-m", "repro.tracking.agent_process"]
        command += [] if count is None else ["--count", str(count)]
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        # This `repro` comes first, even if it was called by its path.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environment |= {REPORT: str(report), "WANDB_DIR": folder, "PATH": path}
        code, stopped_by = _work([*command, sweep], environment)
        words = Counter(report.read_text().split())
        # The agent writes this file for each point, before it starts the point's command. Count them, because a command
        # that could not start, or that our command line refused, has reported nothing.
        points = len(list(Path(folder).glob("wandb/sweep-*/config-*.yaml")))
    if stopped_by is not None:
        raise RunFailed(f"stopped by {stopped_by} after {counted(words['done'], 'run')}; `repro launch` makes the rest")
    if code != 0 and not points:
        raise BadInput(f"wandb agent could not work on the sweep {sweep} (see its message above)")
    begun = max(points, words["begun"])  # W&B may hand out a point twice
    if code != 0 or words["done"] < begun:
        raise RunFailed(f"{begun - words['done']} of {counted(begun, 'run')} of the sweep {sweep} failed")
    return words["done"]


def _work(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str | None]:
    """Run the agent and all it starts to their end; return its exit code, and the signal that stopped it, if any."""
    received: list[int] = []
    agent: subprocess.Popen[bytes] | None = None

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        if agent is not None:
            agent.send_signal(signal.SIGTERM)  # forwarded to its run, which saves a checkpoint first

    family: dict[int, psutil.Process] = {}
    with handling(not_ignored(signal.SIGTERM, signal.SIGINT, signal.SIGHUP), stop):
        # In its own process group, so that Ctrl-C reaches it only through us, once. It ends when the pipe does.
        agent = subprocess.Popen(command, env=environment, process_group=0, stdin=subprocess.PIPE)
        if received:
            agent.send_signal(signal.SIGTERM)
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                family |= {one.pid: one for one in psutil.Process(agent.pid).children(recursive=True)}
            try:
                agent.wait(timeout=1.0)
                break
            except subprocess.TimeoutExpired:
                continue
        # End whatever the agent did not wait for; a run first saves a checkpoint.
        for one in (left := _running(family.values())):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while (left := _running(left)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    return agent.returncode, signal.Signals(received[0]).name if received else None


def _running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run. In a container whose first process reaps none, ended ones stay as zombies."""
    running = []
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                running.append(one)
    return running
