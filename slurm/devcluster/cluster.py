"""The cluster: its daemons in order of dependency, its jobs, and its client commands."""

import contextlib
import fcntl
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from slurm.devcluster import configuration
from slurm.devcluster.daemon import PROGRAM_PATH, ClusterError, Daemon

INSTALL = "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge slurmdbd mariadb-server"
_PROGRAMS = ("munged", "munge", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch")
_LONGEST_STATE = 80  # characters: the path of a Unix socket in it may have 107


def missing_programs() -> list[str]:
    """Programs that Slurm and its accounting need and that are not installed here."""
    return [name for name in _PROGRAMS if shutil.which(name, path=PROGRAM_PATH) is None]


class Cluster:
    """A one-machine Slurm in the folder `state`, which survives the process that started it.

    It has the partitions `main` (default), `low` (jobs of `high` preempt and requeue its jobs) and `high`, and two fake
    GPUs. The daemons are attributes, so that they can be killed and restarted one by one. Raises ClusterError if
    `state` cannot hold a cluster.
    """

    def __init__(self, state: Path) -> None:
        self.state = state.expanduser().resolve()
        if len(str(self.state)) > _LONGEST_STATE or len(str(self.state).split()) > 1:
            raise ClusterError(f"the path {self.state} is longer than {_LONGEST_STATE} characters, or contains spaces")
        conf, munge = self.state / "etc", self.state / "munge"
        self.variables = {"SLURM_CONF": str(conf / "slurm.conf")}
        self.munged = self._daemon(
            "munged",
            [
                "--foreground",
                "--force",  # warn about folders closed to other users, instead of refusing them
                f"--socket={munge}/socket",
                f"--key-file={munge}/key",
                f"--pid-file={munge}/own.pid",
                f"--seed-file={munge}/seed",
                f"--log-file={munge}/log",
            ],
            ["munge", f"--socket={munge}/socket", "--no-input"],
        )
        self.mariadbd = Daemon(
            "mariadbd",
            self.state,
            [f"--defaults-file={conf}/mariadb.cnf", f"--user={getpass.getuser()}"],
            self.variables,
            self._database_listens,
        )
        self.slurmdbd = self._daemon("slurmdbd", ["-D"], ["sacctmgr", "--noheader", "show", "cluster"])
        self.slurmctld = self._daemon("slurmctld", ["-D"], ["sinfo"])
        self.slurmd = Daemon("slurmd", self.state, ["-D", "-N", configuration.NODE], self.variables, self._node_is_up)
        # In start order.
        self.daemons = (self.munged, self.mariadbd, self.slurmdbd, self.slurmctld, self.slurmd)

    def environment(self) -> dict[str, str]:
        """This process's environment, changed so that Slurm's commands talk to this cluster."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        return inherited | self.variables

    def command(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run a client command such as `squeue`, and return its output. Raises ClusterError if it fails."""
        done = self._client(arguments, timeout)
        if done is None or done.returncode != 0:
            reason = " ".join(done.stderr.split()) if done else f"no answer in {timeout:.0f} s"
            raise ClusterError(f"`{' '.join(arguments)}` failed: {reason}")
        return done.stdout

    def start(self) -> None:
        """Start every daemon that is not running. Raises ClusterError if a program is missing or a daemon fails."""
        missing = missing_programs()
        if missing:
            raise ClusterError(f"not installed: {', '.join(missing)}; install with: {INSTALL}")
        with self._alone():
            if not any(daemon.pid() for daemon in self.daemons):
                configuration.write(self.state)
            if not (self.state / "mariadb" / "mysql").exists():
                self._create_database()
            for daemon in self.daemons:
                daemon.start()
                if daemon is self.slurmdbd and not self._known_to_accounting():
                    self.command("sacctmgr", "--immediate", "add", "cluster", configuration.CLUSTER)

    def stop(self) -> None:
        """Cancel all jobs and end every process of the cluster. Accounting data stay in the folder."""
        if not self.state.exists():
            return
        with self._alone():
            if all(daemon.pid() for daemon in self.daemons):
                self.cancel_jobs()
            for daemon in reversed(self.daemons):
                daemon.stop()
            for pid in self.job_processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def cancel_jobs(self) -> None:
        """Cancel every job, and wait at most 30 seconds until the last has left the queue."""
        self.command("scancel", f"--user={getpass.getuser()}")
        deadline = time.monotonic() + 30
        while self.command("squeue", "--noheader") and time.monotonic() < deadline:
            time.sleep(0.2)

    def job_processes(self) -> list[int]:
        """Ids of all live processes that jobs of this cluster have started."""
        ours = os.fsencode(f"SLURM_CONF={self.variables['SLURM_CONF']}")
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
                program = (folder / "comm").read_text().strip()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            in_job = program == "slurmstepd" or any(line.startswith(b"SLURM_TASK_PID=") for line in environment)
            if in_job and ours in environment:
                found.append(int(folder.name))
        return found

    def _daemon(self, name: str, arguments: list[str], check: list[str]) -> Daemon:
        """A daemon that is ready when the command `check` succeeds."""

        def ready() -> bool:
            done = self._client(tuple(check), timeout=5.0)
            return done is not None and done.returncode == 0

        return Daemon(name, self.state, arguments, self.variables, ready)

    def _client(self, arguments: tuple[str, ...], timeout: float) -> "subprocess.CompletedProcess[str] | None":
        """The finished command, or None if it was killed after `timeout` seconds."""
        try:
            return subprocess.run(
                arguments, env=self.environment(), capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return None

    def _create_database(self) -> None:
        made = subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
                f"--datadir={self.state}/mariadb",
                f"--user={getpass.getuser()}",
            ],
            # A separate folder, because a starting database removes temporary files of others that are just starting.
            env=os.environ | {"TMPDIR": str(self.state / "tmp")},
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise ClusterError(f"mariadb-install-db failed: {' '.join(made.stderr.split()) or made.stdout.strip()}")

    def _database_listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.state / "mariadb" / "socket")) == 0

    def _known_to_accounting(self) -> bool:
        return configuration.CLUSTER in self.command("sacctmgr", "--noheader", "show", "cluster", "format=cluster")

    def _node_is_up(self) -> bool:
        states = self.command("sinfo", "--noheader", "--format=%T").split()
        return bool(states) and all(state in ("idle", "mixed", "allocated", "completing") for state in states)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold a lock, so that no other process starts or stops this cluster meanwhile."""
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.state / "lock").open("w")
        except OSError as error:
            raise ClusterError(f"cannot write to {self.state}: {error.strerror}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
