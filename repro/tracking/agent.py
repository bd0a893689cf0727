"""`repro wandb agent`: W&B's own sweep agent, with an honest exit code, and nothing left behind.

By itself `wandb agent` exits with 0 whatever becomes of its runs, and when it is told to stop it leaves them alone.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType

import psutil

from repro.errors import BadInput, RunFailed
from repro.progress import counted
from repro.tracking.report import REPORT

STOP_SECONDS = 120.0
"""So long runs may take to save themselves when the agent is told to stop; then they are killed."""


def run_agent(sweep: str, count: int | None) -> int:
    """Work on a W&B sweep (ENTITY/PROJECT/ID or ID) until it has no points left, and return how many runs were made.

    Raises RunFailed if one of the runs failed, was killed or could not be started, or if the agent was stopped or could
    not work.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        report.touch()
        command = [sys.executable, "-m", "wandb", "agent", "--forward-signals"]
        command += [] if count is None else ["--count", str(count)]
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        # Our own `repro` comes first, also where it was called by its path.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        environment |= {REPORT: str(report), "WANDB_DIR": folder, "PATH": path}
        # A group of its own: Ctrl-C reaches it through us, once.
        agent = subprocess.Popen([*command, sweep], env=environment, process_group=0)
        stopped_by = _wait(agent)
        words = Counter(report.read_text().split())
        # For each point that it is given the agent writes this file, before it starts the point's command: a command
        # that could not start, or was refused by our command line, has reported nothing.
        points = len(list(Path(folder).glob("wandb/sweep-*/config-*.yaml")))
    if stopped_by is not None:
        raise RunFailed(f"stopped by {stopped_by} after {counted(words['done'], 'run')}; `repro launch` makes the rest")
    if agent.returncode != 0 and not points:
        raise BadInput(f"wandb agent could not work on the sweep {sweep} (its reason stands above)")
    begun = max(points, words["begun"])  # W&B may hand out a point again
    if agent.returncode != 0 or words["done"] < begun:
        raise RunFailed(f"{begun - words['done']} of {counted(begun, 'run')} of the sweep {sweep} failed")
    return words["done"]


def _wait(agent: "subprocess.Popen[bytes]") -> str | None:
    """Wait for the agent and everything it started; the signal that ended it early, if one did."""
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        agent.send_signal(signal.SIGTERM)  # it forwards this to its run, which saves itself, and waits for it

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    family: dict[int, psutil.Process] = {}
    try:
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                family |= {one.pid: one for one in psutil.Process(agent.pid).children(recursive=True)}
            try:
                agent.wait(timeout=1.0)
                break
            except subprocess.TimeoutExpired:
                continue
        # Whatever the agent did not wait for ends now: a run first saves itself.
        left = [one for one in family.values() if one.is_running()]
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.terminate()
        for one in psutil.wait_procs(left, timeout=STOP_SECONDS)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return signal.Signals(received[0]).name if received else None
