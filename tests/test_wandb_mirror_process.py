"""The mirror as a process: when a command starts one, what does not end it, and how long it may hold the command."""

import errno
import os
import shutil
import signal
from pathlib import Path

import processes
import psutil
import pytest
from mirrored_runs import assert_shows, finished_runs, labels, wait_until, write_part
from processes import has_argument, outlive

from repro.bench.wandb_server import StandInServer
from repro.errors import RunFailed
from repro.store import RunDirectory
from repro.tracking import mirror
from repro.tracking.description import destination
from repro.tracking.label import Label
from repro.tracking.mirror import Mode, mirrored
from repro.tracking.sync import sync

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[RunDirectory]:
    return finished_runs(tmp_path_factory.mktemp("finished"))


def mirrors() -> list[psutil.Process]:
    """Those of this process."""
    return [one for one in psutil.Process().children() if has_argument(one, "repro.tracking.follow")]


@pytest.mark.usefixtures("server")
def test_no_process_starts_where_nothing_is_to_be_sent(finished: list[RunDirectory], tmp_path: Path) -> None:
    with mirrored("online", finished[0].path.parent, labels(finished), pytest.fail):
        assert not mirrors()  # all are done: `repro wandb sync` sends those
    modes: tuple[Mode, ...] = ("offline", "disabled")
    for mode in modes:
        with mirrored(mode, tmp_path, labels(finished), pytest.fail):
            assert not mirrors()


def test_a_signal_to_all_processes_of_a_command_does_not_keep_w_and_b_from_its_end(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at Ctrl-C or at the end of a job: what the command still writes, in order to stop, is sent."""
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    said: list[str] = []
    for record in finished:
        write_part(record, 1, tmp_path)
    teacher, student = finished
    with mirrored("online", tmp_path, labels([student, teacher]), said.append):
        with RunDirectory(tmp_path / teacher.run_id).lock(pytest.fail):
            wait_until(lambda: teacher.run_id in server.runs)
        assert student.run_id not in server.runs  # it was looked at before, but nobody makes it yet
        (process,) = mirrors()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        shutil.copytree(teacher.path, tmp_path / teacher.run_id, dirs_exist_ok=True)
        write_part(student, 2, tmp_path)
    assert said == []
    assert_shows(server, teacher)
    interrupted = server.runs[student.run_id]
    assert [row["epoch"] for row in interrupted.history()] == [1, 2]
    assert (interrupted.exit_code, interrupted.preempted) == (1, True)
    assert not server.runs[teacher.run_id].preempted


def test_the_end_of_the_client_s_own_process_is_said_and_sync_sends_the_rest(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    said: list[str] = []
    named = labels(finished)
    teacher = RunDirectory(tmp_path / finished[0].run_id)
    write_part(finished[0], 1, tmp_path)
    with mirrored("online", tmp_path, named, said.append):
        with teacher.lock(pytest.fail):
            wait_until(lambda: teacher.run_id in server.runs)
        (process,) = mirrors()
        (client,) = process.children()
        client.kill()
        shutil.copytree(finished[0].path, teacher.path, dirs_exist_ok=True)
    assert len(said) == 1 and "`repro wandb sync --runs" in said[0]
    (one,) = sync([(teacher, named[teacher.run_id])], destination(tmp_path))
    assert one.problem is None
    assert_shows(server, teacher)


def test_a_command_that_failed_waits_less(
    finished: list[RunDirectory], server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    monkeypatch.setattr(mirror, "STOPPED_SECONDS", 1.0)
    said: list[str] = []
    write_part(finished[0], 1, tmp_path)
    with pytest.raises(RunFailed), mirrored("online", tmp_path, labels(finished[:1]), said.append):
        with RunDirectory(tmp_path / finished[0].run_id).lock(pytest.fail):
            wait_until(lambda: finished[0].run_id in server.runs)
        (process,) = mirrors()
        family = [process, *process.children(recursive=True)]
        assert len(family) > 1  # the client's own process, which has a session of its own
        server.fault = "dropped"
        raise RunFailed("stopped")
    monkeypatch.setattr(processes, "PATIENCE", 10.0)  # it must not go on trying
    assert outlive(family) == []
    assert [line.partition(";")[0] for line in said] == [
        "warning: W&B is incomplete (it was still sending 1 s after the end)"
    ]


def test_a_mirror_that_breaks_is_said(
    finished: list[RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the client is not installed as it should be."""
    (tmp_path / "wandb.py").write_text("raise ImportError('half of the client is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    said: list[str] = []
    with mirrored("online", tmp_path / "runs", labels(finished), said.append):
        write_part(finished[0], 1, tmp_path / "runs")
    (line,) = said
    assert line.startswith("warning: W&B is incomplete (ImportError: half of the client is missing);")


def test_a_mirror_that_cannot_start_is_said_and_the_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("repro.tracking.mirror.subprocess.Popen", refused)
    said: list[str] = []
    with mirrored("online", tmp_path, {"a run": Label("a run", "a sweep")}, said.append):
        said.append("the command goes on")
    assert said == [
        "warning: W&B is incomplete (its mirror cannot start: Resource temporarily unavailable); "
        f"`repro wandb sync --runs {tmp_path}` sends the rest",
        "the command goes on",
    ]
