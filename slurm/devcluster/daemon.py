"""A daemon of the cluster: started in the background, found again by its pid file, stopped or killed."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PROGRAM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


class ClusterError(Exception):
    """The cluster cannot do what was asked; the message is the one line a user sees."""


class Daemon:
    """A background process of the cluster in the folder `state`. `name` is also the name of its program.

    `variables` are added to its environment. These and the program identify the process, in case another process has
    reused its pid. `ready` tells whether it answers.
    """

    def __init__(
        self, name: str, state: Path, arguments: Sequence[str], variables: Mapping[str, str], ready: Callable[[], bool]
    ) -> None:
        self.name = name
        self.log = state / "log" / f"{name}.log"
        self._state = state
        self._pid_file = state / "pid" / name
        self._arguments = list(arguments)
        self._variables = dict(variables)
        self._ready = ready
        self._child: subprocess.Popen[bytes] | None = None  # kept, so that the child is reaped when it dies

    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        try:
            pid = int(self._pid_file.read_text())
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None  # no such process, a zombie, or another user's process
        ours = all(os.fsencode(f"{name}={value}") in environment for name, value in self._variables.items())
        return pid if ours and Path(os.fsdecode(program)).name == self.name else None

    def start(self, timeout: float = 60.0) -> None:
        """Start it unless it is running, and wait until it answers. Raises ClusterError after `timeout` seconds."""
        if self.pid() is None:
            self._launch()
        deadline = time.monotonic() + timeout
        while not self._ready():
            if self.pid() is None:
                raise ClusterError(f"{self.name} ended right after its start: {self._last_line()} (see {self.log})")
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.name} does not answer after {timeout:.0f} s (see {self.log})")
            time.sleep(0.1)

    def stop(self, timeout: float = 30.0) -> None:
        """Ask it to end (SIGTERM) and wait; kill it after `timeout` seconds. Does nothing if it is not running."""
        self._send(signal.SIGTERM)
        if not self._ended(timeout):
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL, as in a crash. Does nothing if it is not running. Raises ClusterError if it survives."""
        self._send(signal.SIGKILL)
        if not self._ended(30.0):
            raise ClusterError(f"{self.name} (process {self.pid()}) cannot be killed")

    def _launch(self) -> None:
        program = shutil.which(self.name, path=PROGRAM_PATH)
        if program is None:
            raise ClusterError(f"{self.name} is not installed")
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [program, *self._arguments],
                env=os.environ | self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._state,
                start_new_session=True,
            )
        self._pid_file.write_text(str(self._child.pid))

    def _send(self, number: signal.Signals) -> None:
        pid = self.pid()
        if pid is not None:
            os.kill(pid, number)

    def _ended(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
