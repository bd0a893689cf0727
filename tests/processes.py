"""Real processes for tests that kill them."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from types import SimpleNamespace
from typing import Any

import psutil

PATIENCE = 300.0
"""Seconds after which a process that says nothing is given up; far more than it needs."""


class Process:
    """A forked process that runs `work(pipe)`, at most until the tests end."""

    def __init__(self, work: Callable[[Connection], None]) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, its_end = context.Pipe()
        self.process: ForkProcess = context.Process(target=work, args=(its_end,), daemon=True)
        self.process.start()
        its_end.close()

    def hear(self) -> Any:
        assert self.pipe.poll(PATIENCE), "the process says nothing"
        return self.pipe.recv()

    def kill(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join(PATIENCE)


def outlive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end in time. A zombie has ended; who reaps it is up to the machine."""
    left, deadline = list(processes), time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [one for one in left if _runs(one)]
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it has ended between the two questions
        return False


def has_argument(process: psutil.Process, argument: str) -> bool:
    """Whether its command line has this argument; no, if it has ended meanwhile, even if nobody has noticed (a zombie).

    The processes of a test are not the only ones: multiprocessing reaps those of earlier tests when it next starts one.
    """
    try:
        return argument in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def report_of_its_process() -> SimpleNamespace:
    """A bench that reports which process runs it; here, because a new process imports this file alone in a moment."""
    return SimpleNamespace(text="", numbers={"process": os.getpid()})
