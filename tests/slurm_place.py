"""A folder of runs, launched on the one-machine Slurm as a user does it: through `repro`'s command line."""

import contextlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from repro.cli import main
from repro.store import RunDirectory, Store
from slurm.devcluster import Cluster

PATIENCE = 600.0
"""Seconds after which what does not happen is given up; far more than it needs, also on a busy machine."""

BOOT_SECONDS = 22.0
"""Of a job that is lost with its node, Slurm believes for minutes that it runs, if the node comes back sooner than
BatchStartTimeout and MessageTimeout (10 s each) after the job's start."""

DIGITS = Path(__file__).parents[1] / "sweeps" / "digits.yaml"

SWEEP = (str(DIGITS), "preset=smoke", "trial=[0,1,2,3,4,5,6,7]", "images=[100,300]", "epochs=20", "teachers.epochs=20")
"""8 teachers with 2 students each; a run is some 50 steps and 20 evaluations, a second of work."""
RUNS = 24

PROFILE = """\
partition: low
time: "00:10:00"
cpus: 1
memory: 500M
device: cpu
runs_per_job: 6
warning_seconds: 90
"""


@dataclass(frozen=True)
class Done:
    """A finished command; `lines` are those of stderr."""

    code: int
    out: str
    lines: list[str]


@dataclass(frozen=True)
class Place:
    """A folder with runs in `runs` and profiles in `profiles`, beside a cluster."""

    cluster: Cluster
    folder: Path

    def write_profile(self, text: str = PROFILE, **changes: Any) -> None:
        """Write the profile `test`; `changes` replaces the values of keys."""
        lines = [line for line in text.splitlines() if line.partition(":")[0] not in changes]
        lines += [f"{key}: {json.dumps(value)}" for key, value in changes.items()]
        (self.folder / "profiles").mkdir(exist_ok=True)
        (self.folder / "profiles" / "test.yaml").write_text("\n".join(lines) + "\n")

    def start(self, *arguments: str) -> "Command":
        """Start a `repro` command."""
        environment = self.cluster.environment() | {
            "REPRO_RUNS": str(self.folder / "runs"),
            "REPRO_PROFILES": str(self.folder / "profiles"),
            "REPRO_DATA": str(self.folder / "data"),
            "OMP_NUM_THREADS": "1",
        }
        return Command(arguments, self.folder, environment)

    def start_launch(self, sweep: Sequence[str] = SWEEP, *options: str) -> "Command":
        return self.start("launch", *sweep, "--cluster", "slurm", "--profile", "test", *options)

    def launch(self, sweep: Sequence[str] = SWEEP, *options: str) -> Done:
        return finish(self.start_launch(sweep, *options))

    def start_launch_again(self) -> "Command":
        return self.start_launch(SWEEP, "--retry", "failed")

    def launch_again(self) -> Done:
        """As after a disaster: what failed is made again, too."""
        return finish(self.start_launch_again())

    def repro(self, *arguments: str) -> Done:
        return finish(self.start(*arguments))

    def status(self) -> list[dict[str, Any]]:
        """`repro status --json`"""
        rows: list[dict[str, Any]] = json.loads(self.repro("status", "--json").out)
        return rows

    @property
    def records(self) -> list[RunDirectory]:
        return Store(self.folder / "runs").runs()

    def kind(self, run_id: str) -> str:
        return Store(self.folder / "runs").run(run_id).config().kind

    def attempts(self, run: RunDirectory) -> list[dict[str, Any]]:
        """When and where the run was begun or continued."""
        path = run.path / "environment.json"
        found: list[dict[str, Any]] = json.loads(path.read_text())["attempts"] if path.exists() else []
        return found

    def submissions(self) -> list[dict[str, Any]]:
        """The launcher's notes of what it submitted, oldest first."""
        paths = (self.folder / "runs" / ".launch").glob("*/*.json")
        found = [json.loads(path.read_text()) for path in paths if path.parent.name in ("submitted", "ended")]
        return sorted(found, key=lambda note: (note["time"], int(note["job_id"] or 0)))

    def queue(self, form: str = "%A") -> list[str]:
        return self.cluster.command("squeue", "--noheader", "--array", f"--format={form}").split()

    def evict(self) -> str:
        """Run a job of the partition `high` that needs the whole node; returns its id when it has left."""
        options = ("--partition=high", "--exclusive", "--output=/dev/null")
        job = self.cluster.command("sbatch", "--parsable", *options, "--wrap=sleep 1").strip()
        wait_until(lambda: job not in self.queue(), "the evicting job has run")
        return job

    def wait_for_empty_queue(self) -> None:
        wait_until(lambda: not self.queue(), "no job is left in the queue")


class Command:
    """A `repro` command in a process, session and environment of its own, whose output goes to files.

    It is forked off, not started: so it need not import torch, which takes seconds, and can be killed all the same.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._code: int | None = None
        self._outputs = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        self.pid = os.fork()
        if self.pid == 0:
            self._run(arguments, folder, environment)

    def _run(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> NoReturn:
        code = 99
        try:
            os.setsid()
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            for number, file in enumerate(self._outputs, start=1):
                os.dup2(file.fileno(), number)
            sys.stdin = Path(os.devnull).open()  # noqa: SIM115
            sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
            code = main(arguments)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        if self._code is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self._code = os.waitstatus_to_exitcode(ended[1])
        return self._code

    def output(self) -> list[str]:
        """What it has written to stdout and to stderr."""
        for file in self._outputs:
            file.seek(0)
        return [file.read() for file in self._outputs]


def finish(command: Command) -> Done:
    """Wait for a command; its standard error by lines."""
    deadline = time.monotonic() + PATIENCE
    while (code := command.poll()) is None:
        assert time.monotonic() < deadline, "the command does not end"
        time.sleep(0.05)
    out, error = command.output()
    return Done(code, out, error.splitlines())


def wait_until(
    condition: Callable[[], object], what: str, patience: float = PATIENCE, seconds_between: float = 0.3
) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:.0f} s: {what}"
        time.sleep(seconds_between)


def look_at_process(pid: int) -> tuple[str, dict[str, str]]:
    """The command line and the environment variables of a process; nothing if it has ended."""
    try:
        command, environment = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    except (FileNotFoundError, ProcessLookupError):
        return "", {}
    pairs = (line.partition("=") for line in environment.decode(errors="replace").split("\0") if line)
    return command.replace(b"\0", b" ").decode(errors="replace"), {name: value for name, _, value in pairs}


def kill(pid: int, number: int) -> None:
    """Send a signal; that the process has ended by itself is as well."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def process_of(run: RunDirectory) -> int:
    """The process that held the run's lock last."""
    return int((run.path / "lock").read_text().split()[1])
