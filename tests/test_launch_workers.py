"""Workers that train nothing: how their ends are noted, and which number, device and code they are given."""

import os
import selectors
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from processes import Process
from runs import runner, small_student, small_teacher

from repro.errors import Interrupted, RunFailed
from repro.launch.local import make_in_turn
from repro.launch.obstacles import note_failure, obstacle_to
from repro.launch.pool import Pool, Workplace
from repro.launch.request import Order, Request, order
from repro.stop import StopRequest
from repro.store import RunDirectory, Store

TEACHER = Request("a teacher", small_teacher())
STUDENT = Request("a student", small_student())


class Shell(Workplace):
    """Starts shells with a script in place of workers."""

    script: str

    def start_worker(self, number: int) -> subprocess.Popen[bytes]:  # noqa: ARG002
        return subprocess.Popen(["sh", "-c", self.script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def shell(store: Store, script: str, workers: int = 1) -> Workplace:
    place = Shell(store, store.root, ["cpu"], workers, threads=1)
    object.__setattr__(place, "script", script)
    return place


def begun(store: Store, asked: Order) -> RunDirectory:
    run = store.run(asked.run_id)
    run.path.mkdir()
    run.write_plain_config(asked.run_id, asked.config)
    return run


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("exit 3", "ended with exit code 3"),
        ("kill -9 $$", "was killed by SIGKILL (out of memory?)"),
        ("kill -11 $$", "was killed by SIGSEGV"),
    ],
)
def test_how_the_process_of_a_run_ended_is_its_failure_and_the_next_run_gets_another(
    store: Store, end: str, how: str
) -> None:
    """The second worker finds its run made by the time it answers."""
    first, second = order(TEACHER), order(Request("another", small_teacher(seed=1)))
    done = '{"error": null, "failed": false, "made_elsewhere": false}'
    script = f"read asked; case $asked in *{first.run_id}*) {end};; esac; echo '{done}'; read nothing"
    assert Pool(shell(store, script), StopRequest()).make([first, second]) == {first.run_id: f"its process {how}"}
    run = store.run(first.run_id)
    assert (run.state(), run.failure()) == ("failed", f"its process {how}")
    assert run.config() == TEACHER.config
    assert not store.run(second.run_id).path.exists()


def test_a_run_whose_worker_is_killed_just_before_the_whole_job_is_told_to_end_has_not_failed(store: Store) -> None:
    """As where Slurm ends all processes of a job, in no certain order: it would be left alone from then on."""
    stop, asked, dies = StopRequest(), order(TEACHER), store.root / "dies"
    run = begun(store, asked)

    def end_all() -> None:
        while not dies.exists():
            time.sleep(0.01)
        time.sleep(0.3)
        stop.signal = "SIGTERM"

    with ThreadPoolExecutor() as threads:
        threads.submit(end_all)
        unfinished = Pool(shell(store, f"read asked; touch {dies}; kill -9 $$"), stop).make([asked])
    assert unfinished == {asked.run_id: "its process was killed by SIGKILL (out of memory?)"}
    assert run.state() == "interrupted"


def test_a_record_that_cannot_be_written_ends_neither_the_other_runs_nor_their_workers(store: Store) -> None:
    """As that of another user; a link to nowhere cannot be written by root either."""
    first, second = order(TEACHER), order(Request("another", small_teacher(seed=1)))
    lock = begun(store, first).path / "lock"
    lock.symlink_to("nowhere/lock")
    failed, done = (f'{{"error": {error}, "failed": true, "made_elsewhere": false}}' for error in ('"why"', "null"))
    script = f"read asked; echo '{failed}'; read asked; echo '{done}'; read nothing"
    pool = Pool(shell(store, script), StopRequest())
    assert pool.make([first, second, order(STUDENT)]) == {
        first.run_id: "why",
        STUDENT.run_id: f"its teacher {first.run_id} is interrupted and no process is making it",
    }
    with pytest.raises(RunFailed) as caught:
        make_in_turn([TEACHER, STUDENT], runner(store.root))
    assert str(caught.value).startswith("2 of 2 runs are not done (")
    assert f"{first.run_id}: {lock}: cannot be written (No such file or directory)" in str(caught.value)


def test_a_worker_that_died_before_it_was_given_a_run_is_given_none(store: Store) -> None:
    """Else that run, which nobody began, would be a failure."""
    pool, asked = Pool(shell(store, "read asked"), StopRequest()), order(TEACHER)
    with selectors.DefaultSelector() as answers:
        dead, pool.waiting = pool._hire(answers), [asked]
        dead.process.kill()
        dead.process.wait()
        pool._hand_out(answers)
        assert pool.waiting == [asked]
        dead.give(asked)  # it may die at this very moment
        dead.order = None
        pool._hear(dead, answers)
        pool._hand_out(answers)
        assert (pool.waiting, [worker.order for worker in pool.workers]) == ([], [asked])
        pool.dismiss()


def test_a_child_waits_for_a_parent_that_a_worker_was_given_but_has_not_begun(store: Store) -> None:
    """For seconds, while that worker starts, nobody holds the parent; another one is free for the child."""
    record = store.root / TEACHER.run_id
    make = f"sleep 0.7; mkdir -p {record}; echo '{{}}' > {record}/summary.json"
    done = '{"error": null, "failed": false, "made_elsewhere": false}'
    parent = f'*\'"run_id": "{TEACHER.run_id}\'*'
    script = f"while read asked; do case $asked in {parent}) {make};; esac; echo '{done}'; done"
    assert Pool(shell(store, script, workers=2), StopRequest()).make([order(TEACHER), order(STUDENT)]) == {}


def test_a_new_worker_takes_the_number_of_the_one_that_died_and_so_its_device(store: Store) -> None:
    pool = Pool(shell(store, "read asked", workers=3), StopRequest())
    with selectors.DefaultSelector() as answers:
        for _ in range(3):
            pool._hire(answers)
        pool.workers[1].process.kill()
        pool._hear(pool.workers[1], answers)
        assert pool._hire(answers).number == 1
        pool.dismiss()


def test_devices_are_given_in_turn_and_workers_run_the_code_and_threads_they_are_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "mine")
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, env, **_: started.append((command, env)))
    place = Workplace(store, store.root, ["cuda:0", "cuda:1"], workers=3, threads=5, code=store.root / "code")
    for number in range(3):
        place.start_worker(number)
    given = [dict(zip(command[3::2], command[4::2], strict=True)) for command, _ in started]
    assert [options["--device"] for options in given] == ["cuda:0", "cuda:1", "cuda:0"]
    for options, (_, environment) in zip(given, started, strict=True):
        assert options["--threads"] == environment["OMP_NUM_THREADS"] == "5"
        assert environment["PYTHONPATH"] == f"{store.root / 'code'}{os.pathsep}mine"
        assert environment["PYTHONSAFEPATH"] == "1"
        assert environment.get("CUDA_VISIBLE_DEVICES") == os.environ.get("CUDA_VISIBLE_DEVICES")


def test_the_reason_that_a_run_has_written_itself_is_kept(store: Store) -> None:
    asked = order(TEACHER)
    run = begun(store, asked)
    run.write_failure("the loss became nan", "Traceback")
    before = run.last_failure()
    note_failure(asked, store, "its process ended with exit code 1")
    assert run.last_failure() == before
    note_failure(asked, store, "its teacher failed", parent="0123456789ab")  # why it is not tried again
    failure = run.last_failure()
    assert failure is not None and (failure["error"], failure["parent"]) == ("its teacher failed", "0123456789ab")


def test_a_run_that_ends_well_while_its_failure_is_to_be_noted_has_none(store: Store) -> None:
    """As where another launch took it over from a worker that was killed."""
    asked = order(TEACHER)
    run = begun(store, asked)

    def finish(pipe: Connection) -> None:
        with run.lock(on_wait=print):
            pipe.send("holds")
            time.sleep(0.3)
            run.write_json("summary.json", {})

    assert Process(finish).hear() == "holds"
    note_failure(asked, store, "its process was killed")
    assert run.is_done() and run.failure() is None


def test_a_parent_that_ends_while_it_is_looked_at_is_no_obstacle(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, parent, look = order(STUDENT), begun(store, order(TEACHER)), RunDirectory.holder

    def end_then_look(run: RunDirectory) -> str | None:
        if run == parent:
            run.write_json("summary.json", {})
        return look(run)

    monkeypatch.setattr(RunDirectory, "holder", end_then_look)
    assert obstacle_to(asked, store, ours=()) is None


def test_a_launch_that_waits_for_another_process_can_be_stopped(store: Store) -> None:
    work = runner(store.root)
    work.stop.signal = "SIGTERM"
    with (
        store.run(TEACHER.run_id).lock(on_wait=print),
        pytest.raises(Interrupted, match="stopped by SIGTERM: 2 runs left, some of them waiting for another process;"),
    ):
        make_in_turn([TEACHER, STUDENT], work)
