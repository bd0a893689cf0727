"""A run has one writer: the lock, between real processes that are really killed."""

import errno
import fcntl
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from processes import Process

from repro.cli import main
from repro.launch.sweep import find_sweep, read_sweep
from repro.store import RunDirectory, Store


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return Store(tmp_path / "runs").run("0123456789ab")


def nothing(_: str) -> None:
    """For a lock that nobody else asks for, or where who holds it does not matter."""


def hold(run: RunDirectory, pipe: Connection) -> None:
    """Take the lock, saying so and for whom it waited, and keep it until told to let go."""
    with run.lock(on_wait=lambda holder: pipe.send(("waits for", holder))):
        pipe.send(("holds", os.getpid()))
        pipe.recv()
    pipe.send(("let go", os.getpid()))


def test_a_second_process_waits_is_told_for_whom_and_follows_when_the_first_is_killed(run: RunDirectory) -> None:
    first = Process(lambda pipe: hold(run, pipe))
    assert first.hear() == ("holds", first.process.pid)
    assert run.state() == "running"

    second = Process(lambda pipe: hold(run, pipe))
    said, holder = second.hear()
    assert said == "waits for"
    assert holder.startswith(f"process {first.process.pid} on ")
    assert run.holder() == holder
    assert not second.pipe.poll(0.3), "the lock was given twice"

    first.kill()
    assert second.hear() == ("holds", second.process.pid)
    assert (run.holder() or "").startswith(f"process {second.process.pid} on ")
    second.pipe.send("let go")
    assert second.hear() == ("let go", second.process.pid)
    assert run.holder() is None
    assert run.state() == "missing"


def test_the_lock_of_a_killed_holder_is_free_without_waiting(run: RunDirectory) -> None:
    holder = Process(lambda pipe: hold(run, pipe))
    holder.hear()
    holder.kill()
    assert run.holder() is None
    waits: list[str] = []
    with run.lock(on_wait=waits.append):
        assert (run.path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert waits == []


def test_who_only_looks_at_a_run_is_no_writer_to_wait_for(run: RunDirectory) -> None:
    """A look holds the lock, shared, for a moment. It made a run of several processes, which do not wait, a failure."""
    with run.lock(nothing):
        pass
    waits: list[str] = []
    with (run.path / "lock").open("rb") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        with run.lock(on_wait=waits.append, while_waiting=lambda: fcntl.flock(look, fcntl.LOCK_UN)):
            assert (run.path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert waits == []


def test_a_writer_that_has_not_written_its_name_yet_is_one_all_the_same(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    with (run.path / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert (run.state(), run.holder()) == ("running", "another process")


def test_two_who_look_at_once_take_neither_for_a_writer(run: RunDirectory) -> None:
    with run.lock(nothing):
        pass
    with (run.path / "lock").open("rb") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        assert run.state() == "missing"


def test_a_run_that_ends_while_it_is_looked_at_is_done(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def finish(pipe: Connection) -> None:
        with run.lock(nothing):
            run.write_json("config.json", {})
            pipe.send("holds")
            pipe.recv()
            run.write_json("summary.json", {})
        pipe.send("ended")

    writer, look = Process(finish), RunDirectory.holder
    assert writer.hear() == "holds"

    def look_late(looked_at: RunDirectory) -> str | None:
        writer.pipe.send("end")
        assert writer.hear() == "ended"
        return look(looked_at)

    monkeypatch.setattr(RunDirectory, "holder", look_late)
    assert run.state() == "done"


def test_what_is_done_under_the_lock_is_never_done_by_two_at_once(run: RunDirectory, tmp_path: Path) -> None:
    counter, turns = tmp_path / "counter", 30
    counter.write_text("0")

    def count(pipe: Connection) -> None:
        for _ in range(turns):
            with run.lock(nothing):
                value = int(counter.read_text())
                time.sleep(0.0005)
                counter.write_text(str(value + 1))
        pipe.send("done")

    processes = [Process(count) for _ in range(3)]
    assert [process.hear() for process in processes] == ["done"] * 3
    assert counter.read_text() == str(3 * turns)


def test_an_error_under_the_lock_frees_it(run: RunDirectory) -> None:
    with pytest.raises(ZeroDivisionError), run.lock(nothing):
        _ = 1 / 0
    assert run.holder() is None


def test_runs_do_not_share_a_lock(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.run("aaaaaaaaaaaa").lock(nothing), store.run("bbbbbbbbbbbb").lock(nothing):
        assert [store.run(run_id).state() for run_id in ("aaaaaaaaaaaa", "bbbbbbbbbbbb")] == ["running", "running"]


@pytest.mark.parametrize("command", [["status"], ["launch", "sweeps/digits.yaml", "preset=smoke"]])
def test_a_file_system_without_locks_is_named_in_one_line(
    command: list[str], run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with run.lock(nothing):
        run.write_json("config.json", {})

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert main([*command, "--runs", str(run.path.parent)]) == 2
    said = capsys.readouterr().err
    assert "this file system does not support locks (No locks available); see --runs" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "command", [["status"], ["launch", str(find_sweep("digits"))], ["run", "digits", "images=100", "trial=0"]]
)
def test_a_folder_where_the_lock_should_be_is_named_in_one_line_and_left_alone(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (request,) = read_sweep(find_sweep("digits"), {"preset": "smoke", "trial": 0, "images": 100})
    (parent_id,) = request.parent_ids
    run = Store(tmp_path).run(parent_id)
    (run.path / "lock").mkdir(parents=True)
    run.write_json("config.json", {})
    settings = [] if command == ["status"] else ["preset=smoke"]
    assert main([*command, *settings, "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == (
        f"repro: {run.path / 'lock'}: is a folder, but a file of this name is needed as a lock; remove it"
    )
    assert len(said) == (2 if command[0] == "run" else 1)  # after which runs come first
    assert (run.path / "lock").is_dir() and not (run.path / "run.log").exists()
