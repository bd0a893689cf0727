"""The cost of showing runs in W&B: the wall time of `repro demo --wandb online` against `repro demo`.

Both demos run in full, from scratch, with their twelve runs, table and figure. They take turns of one second, during
which all processes of the other are suspended: on some machines, the same work takes a tenth longer from one minute to
the next, which is more than the effect measured here. Once its runs are done, a demo's next turn lasts to its end, so
that the time it waits for its mirror counts in full. W&B is replaced by a stand-in server on the same machine. Its
processor time is reported separately, since W&B's own server runs elsewhere.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import torch

from repro.bench.timing import Report, note, paired_ratio, spread, until_interrupted
from repro.bench.wandb_server import wandb_server_process
from repro.launch.plan import parents_first
from repro.launch.sweep import find_sweep, read_sweep
from repro.training.hardware import describe

ROUNDS = 7
TURN_SECONDS = 1.0


def measure(rounds: int = ROUNDS) -> Report:
    """Measure pairs of demos, printing each pair on stderr.

    Ctrl-C, SIGTERM or SIGHUP ends the bench with the pairs that are complete; if there are none, raises
    KeyboardInterrupt.

    The numbers of the report: {"machine": ..., "disabled_seconds": [...], "online_seconds": [...],
    "server_processor_seconds": [...], "ratio": {"median", "low", "high", "confidence"}}; lists have one entry per pair.
    """
    machine = describe(torch.device("cpu")) | {"load": os.getloadavg()[0]}
    runs = len(parents_first(read_sweep(find_sweep("digits"), {})))
    without: list[float] = []
    shown: list[float] = []
    served: list[float] = []
    with until_interrupted(), wandb_server_process() as (environment, server):
        for number in range(rounds):
            before = _processor_seconds(server)
            with _demo("disabled", environment, runs) as plain, _demo("online", environment, runs) as online:
                # The two alternate in going first.
                take_turns([plain, online] if number % 2 == 0 else [online, plain], TURN_SECONDS)
            without.append(plain.seconds)
            shown.append(online.seconds)
            served.append(_processor_seconds(server) - before)
            line = f"{plain.seconds:.2f} s, online {online.seconds:.2f} s, ratio {online.seconds / plain.seconds:.4f}"
            note(f"pair {number + 1}: {line}")
    if not served:
        raise KeyboardInterrupt
    found = paired_ratio(shown, without)
    text = (
        f"wandb: `repro demo`, {len(served)} pairs, load {machine['load']:.2f} at the start; median (range)\n"
        f"  without W&B                  {spread(without).text(1, ' s')}\n"
        f"  --wandb online               {spread(shown).text(1, ' s')}\n"
        f"  ratio in a pair, median      {found.median:.3f}x, {found.confidence:.0%} interval of the median "
        f"{found.low:.3f}-{found.high:.3f}\n"
        f"  processor time of our server {spread(served).text(2, ' s')}"
    )
    numbers = {
        "machine": machine,
        "disabled_seconds": without,
        "online_seconds": shown,
        "server_processor_seconds": served,
        "ratio": found._asdict(),
    }
    return Report(text, numbers)


class TurnTaker:
    """A command that runs, with all processes that it starts, only during its turns. `seconds` is their total length.

    `last_turn` is a folder and a number of runs: once the folder holds as many finished runs, the next turn is the last
    and lasts until the command ends.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], last_turn: tuple[Path, int]) -> None:
        self.seconds = 0.0
        self.runs, self.count = last_turn
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            self._stop()
        except BaseException:  # such as Ctrl-C
            self.kill()
            raise

    def turn(self, seconds: float) -> bool:
        """Run for `seconds` or, if all runs are done, to the end. Returns whether the command has ended.

        Raises RuntimeError if it failed.
        """
        rest = None if len(list(self.runs.glob("*/summary.json"))) >= self.count else seconds
        start = time.perf_counter()
        for one in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.resume()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(rest)
        end = self._stop()
        self.seconds += end - start
        if self.process.returncode:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} has failed: {self.process.returncode}")  # type: ignore[arg-type]
        return self.process.returncode is not None

    def kill(self) -> None:
        self._stop()  # otherwise, processes started in the meantime would be missed
        for one in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()

    def _processes(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _stop(self) -> float:
        """Suspend all processes, including those started in the meantime.

        Returns the time at which the first pass over them was complete.
        """
        stopped: set[psutil.Process] = set()
        end = 0.0
        while self.process.poll() is None and (running := [one for one in self._processes() if one not in stopped]):
            for one in running:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.suspend()
            stopped.update(running)
            end = end or time.perf_counter()
        return end or time.perf_counter()


def take_turns(takers: Sequence[TurnTaker], seconds: float) -> None:
    """Give each of them a turn, one after the other, until all have ended."""
    left = list(takers)
    while left:
        left = [taker for taker in left if not taker.turn(seconds)]


@contextlib.contextmanager
def _demo(mode: str, environment: Mapping[str, str], runs: int) -> Iterator[TurnTaker]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        command = [sys.executable, "-m", "repro", "demo", "--out", str(out), "--wandb", mode]
        taker = TurnTaker(command, {**os.environ, **environment}, (out / "runs", runs))
        try:
            yield taker
        finally:
            taker.kill()


def _processor_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
