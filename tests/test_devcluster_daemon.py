"""What the one-machine cluster takes for its own processes, starts, ends and leaves alone. No Slurm is needed here."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_place import wait_until

from slurm.devcluster import Cluster, ClusterError
from slurm.devcluster.__main__ import main
from slurm.devcluster.configuration import write
from slurm.devcluster.daemon import Daemon

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that has these variables besides those that every process has."""
    started: list[subprocess.Popen[bytes]] = []

    def process(*command: str, **variables: str) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(command, env=os.environ | variables))
        wait_until(lambda: Path(f"/proc/{started[-1].pid}/environ").read_bytes(), "the kernel shows its environment")
        return started[-1]

    yield process
    for one in started:
        one.kill()
        one.wait()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """A daemon of a cluster in `tmp_path`, whatever process has started it; by default `sleep`."""
    for name in ("log", "pid"):
        (tmp_path / name).mkdir()
    made: list[Daemon] = []

    def make(*command: str, ready: bool = True) -> Daemon:
        name, *arguments = command or ("sleep", "60")
        ours = {"CLUSTER": "ours"}
        same = Daemon(name, tmp_path, arguments, ours, lambda: True)  # which the kernel shows a moment after its start
        made.append(Daemon(name, tmp_path, arguments, ours, lambda: ready and same.pid() is not None))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def test_a_daemon_is_found_again_started_once_and_stopped_by_another_command(daemon: Callable[..., Daemon]) -> None:
    first = daemon()
    assert first.pid() is None
    first.start()
    pid = first.pid()
    again = daemon()
    again.start()
    assert pid is not None and again.pid() == first.pid() == pid
    again.stop()
    assert again.pid() is None
    wait_until(lambda: first.pid() is None, "its parent is told that it has ended")  # a moment after /proc shows it
    again.stop()  # which does nothing
    first.start()
    assert first.pid() not in (None, pid)


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        (["sleep", "60"], {}),
        (["sleep", "60"], {"CLUSTER": "theirs"}),
        (["tail", "-f", "/dev/null"], {"CLUSTER": "ours"}),
    ],
)
def test_a_process_that_has_the_old_number_of_a_daemon_is_left_alone(
    command: list[str], variables: dict[str, str], daemon: Callable[..., Daemon], start: Start, tmp_path: Path
) -> None:
    """A daemon was killed, and its number given to another cluster's, or to any other process."""
    other = start(*command, **variables)
    (tmp_path / "pid" / "sleep").write_text(str(other.pid))
    ours = daemon()
    assert ours.pid() is None
    ours.stop()
    ours.kill()
    assert other.poll() is None
    ours.start()
    assert ours.pid() not in (None, other.pid)


def test_a_daemon_that_ends_or_does_not_answer_is_named_with_its_last_words(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    log = tmp_path / "log" / "sh.log"
    with pytest.raises(ClusterError) as caught:
        daemon("sh", "-c", "echo starting; echo the port is taken; echo", ready=False).start()
    assert str(caught.value) == f"sh ended right after its start: the port is taken (see {log})"
    log.unlink()
    with pytest.raises(ClusterError, match="sh ended right after its start: it said nothing"):
        daemon("sh", "-c", "true", ready=False).start()
    silent = daemon(ready=False)
    with pytest.raises(ClusterError, match="sleep does not answer after 0 s"):
        silent.start(timeout=0.2)
    with pytest.raises(ClusterError, match="no-such-program is not installed"):
        daemon("no-such-program").start()


def test_a_daemon_may_finish_when_it_is_stopped_and_is_killed_if_it_takes_too_long(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    orderly = daemon(
        "bash", "-c", f"trap 'touch {tmp_path}/saved; exit' TERM; touch {tmp_path}/up; while true; do sleep 0.05; done"
    )
    orderly._ready = (tmp_path / "up").exists
    orderly.start()
    orderly.stop()
    assert (tmp_path / "saved").exists() and orderly.pid() is None
    (tmp_path / "up").unlink()
    stubborn = daemon("bash", "-c", f"trap '' TERM; touch {tmp_path}/up; while true; do sleep 0.05; done")
    stubborn._ready = (tmp_path / "up").exists
    stubborn.start()
    stubborn.stop(timeout=0.3)
    assert stubborn.pid() is None


def test_commands_of_a_cluster_do_not_see_another_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a job of the site's own Slurm, or where a user's profile sets defaults for it."""
    for name in ("SLURM_CONF", "SLURM_JOB_ID", "SBATCH_PARTITION", "OTHER"):
        monkeypatch.setenv(name, "the site's")
    environment = Cluster(tmp_path).environment()
    assert {name: value for name, value in environment.items() if name.startswith(("SLURM", "SBATCH"))} == {
        "SLURM_CONF": str(tmp_path / "etc" / "slurm.conf")
    }
    assert environment["OTHER"] == "the site's"


def test_only_processes_of_its_own_jobs_are_ended_with_a_cluster(tmp_path: Path, start: Start) -> None:
    ours, theirs = Cluster(tmp_path / "ours"), Cluster(tmp_path / "theirs")
    in_job = start("sleep", "60", SLURM_TASK_PID="1", **ours.variables)
    shell = start("sleep", "60", **ours.variables)  # in which somebody uses the cluster
    other = start("sleep", "60", SLURM_TASK_PID="1", **theirs.variables)
    assert ours.job_processes() == [in_job.pid]
    ours.state.mkdir()
    ours.stop()
    assert in_job.wait(10) == -signal.SIGKILL
    assert (shell.poll(), other.poll()) == (None, None)


def test_keys_and_passwords_are_for_their_user_alone_and_nothing_listens_to_other_machines(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        (folder / "etc").mkdir(parents=True)
        (folder / "etc" / "slurmdbd.conf").touch(0o644)
        write(folder)
    key, database, accounting = ([(folder / name).read_bytes() for folder in folders] for name in (
        "munge/key", "etc/mariadb.cnf", "etc/slurmdbd.conf"
    ))  # fmt: skip
    passwords = [re.findall(rb"StoragePass=(\w+)", text) for text in accounting]
    for first, second in (key, database, accounting, passwords):
        assert first != second
    for path in (folders[0] / "munge" / "key", *(folders[0] / "etc").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert b"\nbind-address=127.0.0.1\n" in database[0]
    assert b"\nCommunicationParameters=NoInAddrAny\n" in accounting[0]
    assert "\nCommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n" in (folders[0] / "etc/slurm.conf").read_text()


def test_a_cluster_that_was_never_started_is_not_running_and_can_be_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(tmp_path / "state")]
    assert main(["status", *state]) == 1
    assert capsys.readouterr().out.count("not running") == 5
    assert main(["stop", *state]) == 0
    assert not (tmp_path / "state").exists()
