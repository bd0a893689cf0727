"""How long a command waits for W&B when W&B is out of order: every fault, with real training alongside.

A teacher and a student are trained (preset smoke) while the mirror sends them to a stand-in server that misbehaves.
What counts is how much longer the command takes than its training: at most `repro.tracking.mirror.END_SECONDS`.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias
from unittest import mock

import torch
from tabulate import tabulate

from repro.bench.timing import Report
from repro.bench.wandb_server import KEY, StandInServer, wandb_server
from repro.launch.local import run_here
from repro.launch.plan import parents_first
from repro.launch.sweep import find_sweep, read_sweep
from repro.progress import Progress
from repro.runner import Runner
from repro.store import Store
from repro.tracking import mirror
from repro.tracking.label import Label

Fault: TypeAlias = Callable[[StandInServer, Path], contextlib.AbstractContextManager[Mapping[str, str]]]
"""A context manager, given the server and the folder of runs, that makes something go wrong while its block runs. It
yields changes to the environment variables."""

SETTINGS = {"preset": "smoke", "trial": 0, "images": 100}


@contextlib.contextmanager
def nothing(_server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    yield {}


@contextlib.contextmanager
def no_key(_server: StandInServer, runs: Path) -> Iterator[Mapping[str, str]]:
    yield {"WANDB_API_KEY": "", "HOME": str(runs)}  # none in ~/.netrc either


@contextlib.contextmanager
def wrong_key(_server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    yield {"WANDB_API_KEY": KEY[::-1].replace("a", "b")}


@contextlib.contextmanager
def unreachable(_server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    yield {"WANDB_BASE_URL": f"http://127.0.0.1:{port}"}


@contextlib.contextmanager
def slow(server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    server.fault, server.slow_seconds = "slow", 30.0
    yield {}


@contextlib.contextmanager
def errors_500(server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    server.fault = "error_500"
    yield {}


@contextlib.contextmanager
def dropped(server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    server.fault = "dropped"
    yield {}


@contextlib.contextmanager
def gone_after_the_first_run_began(server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    ended = threading.Event()

    def later() -> None:
        while not any(run.upserts for run in server.runs.values()):
            if ended.wait(0.02):  # no run has begun in all the time
                return
        server.fault = "dropped"

    threading.Thread(target=later, daemon=True).start()
    yield {}
    ended.set()


@contextlib.contextmanager
def full_disk(_server: StandInServer, runs: Path) -> Iterator[Mapping[str, str]]:
    """The folder that the client writes to is on a separate, full disk. Needs root, for mount."""
    folder = runs / "wandb"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], check=True)
    try:
        with contextlib.suppress(OSError), (folder / "full").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield {}
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


FAULTS: dict[str, Fault] = {
    "no key": no_key,
    "wrong key": wrong_key,
    "server unreachable": unreachable,
    "every answer takes 30 s": slow,
    "every answer is a 500": errors_500,
    "every connection is dropped": dropped,
    "server gone after the first run has begun": gone_after_the_first_run_began,
    "disk of the client full": full_disk,
}


def measure() -> Report:
    """Measure the seconds waited under each fault.

    The numbers of the report: {"bound_seconds": ..., "waited_seconds": {fault: seconds, or null if it was not run}}.
    Raises AssertionError if a fault goes unreported or keeps a run from finishing.
    """
    waited: dict[str, float | None] = {}
    said: dict[str, str] = {}
    with wandb_server() as server:
        for name, fault in {"none": nothing, **FAULTS}.items():
            server.forget()
            if fault is full_disk and os.geteuid() != 0:
                waited[name], said[name] = None, "not run: needs root"
                continue
            with tempfile.TemporaryDirectory() as folder:
                waited[name], lines = _train(fault, server, Path(folder) / "runs")
            if len(lines) != (fault is not nothing):
                raise AssertionError(f"{name}: {lines}")
            said[name] = lines[0].partition("(")[2].partition(")")[0][:60] if lines else ""
    rows = [[name, seconds, said[name]] for name, seconds in waited.items()]
    table = tabulate(rows, headers=["fault", "waited, s", "the command says: W&B lacks something"], floatfmt=".1f")
    text = f"wandb_faults: how much longer a command takes, at most {mirror.END_SECONDS:g} s\n\n{table}"
    return Report(text, {"bound_seconds": mirror.END_SECONDS, "waited_seconds": waited})


def wait_for(
    fault: Fault, server: StandInServer, runs: Path, labels: Mapping[str, Label], work: Callable[[], None]
) -> tuple[float, list[str]]:
    """Make the runs by `work` under a fault. Returns the seconds spent outside `work`, and the messages.

    Raises AssertionError if a run is not done.
    """
    said: list[str] = []
    with fault(server, runs) as changes, mock.patch.dict(os.environ, {**server.environment(), **changes}):
        start = time.perf_counter()
        with mirror.mirrored("online", runs, labels, said.append):
            began = time.perf_counter()
            work()
            ended = time.perf_counter()
        waited = time.perf_counter() - start - (ended - began)
    if not all(Store(runs).run(run_id).is_done() for run_id in labels):
        raise AssertionError("a run is not done")
    return waited, said


def _train(fault: Fault, server: StandInServer, runs: Path) -> tuple[float, list[str]]:
    plan = parents_first(read_sweep(find_sweep("digits"), SETTINGS))
    runner = Runner(Store(runs), runs / "no data", torch.device("cpu"), Progress())
    labels = {one.run_id: Label(one.label, "digits", one.tags) for one in plan}
    return wait_for(fault, server, runs, labels, lambda: run_here(plan, runner))
