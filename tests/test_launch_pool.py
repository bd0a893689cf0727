"""Runs made by real worker processes: failures, deaths, and the end of whoever started them."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from processes import PATIENCE, Process
from runs import runner, small_student, small_teacher
from terminal import Terminal

from repro.config import RunConfig
from repro.errors import BadInput
from repro.launch.local import make_in_turn
from repro.launch.obstacles import note_failure
from repro.launch.pool import Pool, Workplace, _Worker
from repro.launch.request import Order, Request, order
from repro.launch.together import make_together
from repro.launch.worker import _outcome
from repro.optimization.optimizers import SGD
from repro.progress import Lines
from repro.stop import StopRequest
from repro.store import RunDirectory, Store

LONG = small_teacher(epochs=20_000, evaluate_every=20_000)
DIVERGING = small_teacher(optimizer=SGD(learning_rate=1e30))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def workplace(store: Store, workers: int = 1) -> Workplace:
    return Workplace(store, store.root / "no data", ["cpu"], workers, threads=1)


def orders(*configs: RunConfig) -> list[Order]:
    return [order(Request(f"run {number}", config)) for number, config in enumerate(configs)]


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 4 * PATIENCE  # a worker imports torch first
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def training(run: RunDirectory) -> bool:
    """Whether the run is past its start."""
    log = run.path / "run.log"
    return log.exists() and "at step" in log.read_text()


@pytest.mark.slow
def test_one_worker_makes_what_can_be_made_and_lives_through_a_failure(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    child, stranger = small_student(teachers=(DIVERGING,)), small_student(teachers=(small_teacher(seed=7),))
    fine = small_teacher(epochs=1)
    forgiven, other = small_teacher(epochs=1, seed=8), small_teacher(epochs=1, seed=9)
    again = []
    for config in (forgiven, other):
        store.run(config.run_id).path.mkdir(parents=True)
        store.run(config.run_id).write_failure("the disk was full")
        when = store.run(config.run_id).read_json("failure.json")["time"] if config is forgiven else None
        again.append(order(Request("again", config, forgiven=when)))
    unfinished = Pool(workplace(store), StopRequest()).make([*orders(DIVERGING, child, stranger, fine), *again])
    assert store.run(forgiven.run_id).is_done()
    assert "has failed since this launch began: the disk was full" in unfinished.pop(other.run_id)
    failed, blocked, alone, done = (store.run(config.run_id) for config in (DIVERGING, child, stranger, fine))
    assert done.state() == "done"
    assert set(unfinished) == {failed.run_id, blocked.run_id, alone.run_id}
    assert "the loss became" in (failed.failure() or "")
    assert blocked.last_failure() is not None
    assert blocked.failure() == f"its teacher {failed.run_id} failed: {failed.failure()}"
    assert blocked.read_json("failure.json")["parent"] == failed.run_id
    # Nobody makes its parent: that is no failure of this run, and it is left as it is.
    (parent,) = small_student(teachers=(small_teacher(seed=7),)).parents()
    assert unfinished[alone.run_id] == f"its teacher {parent.run_id} is missing and no process is making it"
    assert alone.state() == "missing"
    holders = {(run.path / "lock").read_text().split()[1] for run in (failed, done)}
    assert len(holders) == 1, "the failure took the worker with it"
    assert "Traceback" not in capfd.readouterr().err


def test_why_a_run_failed_is_left_to_whoever_holds_its_lock(store: Store) -> None:
    (asked,) = orders(small_teacher())
    run = store.run(asked.run_id)

    def train(pipe: Connection) -> None:
        with run.lock(on_wait=print):
            pipe.send("trains")
            pipe.recv()

    other = Process(train)
    assert other.hear() == "trains"
    note_failure(asked, store, "its process was killed")
    assert run.failure() is None
    other.kill()
    note_failure(asked, store, "its process was killed")
    assert run.failure() == "its process was killed"


@pytest.mark.slow
def test_a_killed_worker_is_a_failure_of_its_run_alone(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    long, fine = store.run(LONG.run_id), small_teacher(epochs=1)

    def kill() -> None:
        wait_until(lambda: training(long))
        os.kill(int((long.path / "lock").read_text().split()[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    unfinished = Pool(workplace(store), StopRequest()).make(orders(LONG, fine))
    killer.join()
    told = capfd.readouterr().err.splitlines()
    assert f"repro: run {long.run_id} (run 0): {unfinished[long.run_id]}" in told
    assert unfinished == {long.run_id: "its process was killed by SIGKILL (out of memory?)"}
    assert long.failure() == unfinished[long.run_id]
    assert store.run(fine.run_id).state() == "done"


@pytest.mark.slow
def test_a_worker_saves_its_run_and_ends_when_whoever_started_it_is_killed(store: Store) -> None:
    long = store.run(LONG.run_id)

    def launch(_: Connection) -> None:
        Pool(workplace(store), StopRequest()).make(orders(LONG))

    launcher = Process(launch)
    wait_until(lambda: training(long))
    launcher.kill()
    wait_until(lambda: long.holder() is None)
    assert long.state() == "interrupted"
    assert long.checkpoint() is not None
    assert "stopped by its launcher's end" in (long.path / "run.log").read_text()


@pytest.mark.slow
def test_a_pool_that_is_asked_to_stop_leaves_checkpoints_and_starts_nothing_more(store: Store) -> None:
    long, next_one = store.run(LONG.run_id), small_teacher(epochs=1)
    stop = StopRequest()

    def ask() -> None:
        wait_until(lambda: training(long))
        stop.signal = "SIGTERM"

    asking = threading.Thread(target=ask)
    asking.start()
    unfinished = Pool(workplace(store), stop).make(orders(LONG, next_one))
    asking.join()
    assert (long.state(), store.run(next_one.run_id).state()) == ("interrupted", "missing")
    assert long.checkpoint() is not None
    assert unfinished[next_one.run_id] == "not started"
    assert "stopped by" in unfinished[long.run_id]


@pytest.mark.slow
def test_two_processes_make_a_run_together_and_stop_with_a_checkpoint(store: Store) -> None:
    """`torchrun`, as a profile's `processes_per_run` asks for it; what the processes do is in test_torchrun.py."""
    endless = small_teacher(epochs=100_000, micro_batch_size=16)
    run, stop = store.run(endless.run_id), StopRequest()
    others = set(psutil.Process().children(recursive=True))  # of earlier tests

    def ask() -> None:
        wait_until(run.last_metrics)
        stop.signal = "Slurm"
        for process in set(psutil.Process().children(recursive=True)) - others:  # as Slurm does before it takes a job
            process.send_signal(signal.SIGUSR2)

    asking = threading.Thread(target=ask)
    asking.start()
    place = Workplace(store, store.root / "no data", ["cpu"], workers=1, threads=1, processes=2)
    unfinished = Pool(place, stop).make(orders(endless))
    asking.join()
    (attempt,) = run.read_json("environment.json")["attempts"]
    assert attempt["machine"]["process_count"] == 2
    assert run.state() == "interrupted" and run.checkpoint() is not None
    assert "at step" in unfinished[run.run_id]
    assert "stopped by SIGUSR2 at step" in (run.path / "run.log").read_text()


def test_what_another_process_has_made_with_other_data_is_not_taken_as_done(store: Store) -> None:
    config = small_teacher(epochs=1)
    run = store.run(config.run_id)
    request = {"run_id": run.run_id, "config": config.model_dump(mode="json"), "label": "a run", "forgiven": None}
    place: tuple[Path, Path, str, int, int] = (store.root, store.root / "no data", "cpu", 2, 1)
    runner(store.root).make(config, "a run")
    make_together(request, *place, StopRequest())  # done: no process is started
    summary = run.read_json("summary.json")
    run.write_json("summary.json", summary | {"data": dict.fromkeys(summary["data"], "another fingerprint")})
    with pytest.raises(BadInput, match="digits"):
        make_together(request, *place, StopRequest())


@pytest.mark.parametrize(("visible", "seen"), [("4,5,6,7", ["4,5", "6,7"]), (None, ["0,1", "2,3"])])
def test_each_of_several_runs_at_once_has_gpus_of_its_own_for_its_processes(
    store: Store, monkeypatch: pytest.MonkeyPatch, visible: str | None, seen: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, env, **_: started.append((command, env)))
    devices = [f"cuda:{index}" for index in range(4)]
    place = Workplace(store, store.root, devices, workers=2, threads=1, processes=2)
    for number in range(2):
        place.start_worker(number)
    assert [env["CUDA_VISIBLE_DEVICES"] for _, env in started] == seen
    assert [command[command.index("--device") + 1] for command, _ in started] == ["cuda", "cuda"]


@pytest.mark.parametrize("with_workers", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_another_launch_is_making_is_left_for_the_end(with_workers: bool, store: Store) -> None:
    held, free = small_teacher(epochs=1), small_teacher(epochs=1, seed=1)
    requests = [Request(one.kind, one) for one in (held, small_student(teachers=(held,), epochs=1), free)]

    def launch() -> None:
        if with_workers:
            assert Pool(workplace(store), StopRequest()).make([order(request) for request in requests]) == {}
        else:
            make_in_turn(requests, runner(store.root))

    with ThreadPoolExecutor() as threads:
        with store.run(held.run_id).lock(on_wait=print):
            launched = threads.submit(launch)
            wait_until(store.run(free.run_id).is_done)
            assert not launched.done() and store.run(requests[1].run_id).state() == "missing"
        launched.result(PATIENCE)
    assert all(store.run(request.run_id).is_done() for request in requests)


@pytest.mark.slow
def test_a_worker_answers_each_request_in_a_line_of_its_own(store: Store) -> None:
    """The protocol of `repro.launch.worker`, spoken by hand."""
    process = workplace(store).start_worker(0)
    good, bad, held = orders(small_teacher(epochs=1), DIVERGING, LONG)
    assert process.stdin is not None
    for asked in (good, bad, good, held):
        content = {"label": asked.label, "run_id": asked.run_id, "config": asked.config, "forgiven": None}
        process.stdin.write(json.dumps(content).encode() + b"\n")
    process.stdin.flush()
    assert process.stdout is not None
    lines, answers = [], 0
    with store.run(held.run_id).lock(on_wait=print):
        while answers < 4:
            lines.append(json.loads(process.stdout.readline()))
            answers += "error" in lines[-1]
    last = lines.pop()
    assert last["made_elsewhere"] and not last["failed"]
    assert last["error"].startswith(f"run 2: is being trained by process {os.getpid()} on ")
    # How a run goes is told before its answer; the third is done already, and nothing is told.
    calls = [(line["progress"], line["arguments"][0]) for line in lines if line.get("progress") in ("start", "say")]
    (failure,) = [line["error"] for line in lines if line.get("error")]
    assert calls == [("start", "run 0"), ("start", "run 1"), ("say", f"repro: {failure}")]
    assert [(line["error"] is None, line["failed"]) for line in lines if "error" in line] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert all("error" in line for line in lines[-2:])
    process.stdin.close()
    assert process.wait(PATIENCE) == 1


@pytest.mark.slow
def test_an_error_of_the_pool_itself_is_no_failure_of_the_runs_that_are_being_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where nobody reads what it shows: `repro launch ... --workers 2 2>&1 | head`."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    monkeypatch.setattr(sys, "stderr", Gone())
    with pytest.raises(BrokenPipeError):
        Pool(workplace(store, workers=2), StopRequest()).make(orders(LONG, small_teacher(epochs=20_000, seed=1)))
    assert [run.failure() for run in store.runs()] == [None] * len(store.runs())
    assert {run.state() for run in store.runs()} <= {"missing", "interrupted"}


def test_what_a_worker_says_does_not_keep_it_from_ending(store: Store) -> None:
    """More than a pipe holds, of which nobody has read anything when it is told to end."""
    pool = Pool(workplace(store), StopRequest())
    says = "import sys; sys.stdout.write('x' * 1_000_000); sys.stdout.flush()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    ignoring = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); {says}"
    process = subprocess.Popen([sys.executable, "-S", "-c", ignoring], **pipes)  # type: ignore[call-overload]
    assert process.stdout.readline() == b"\n"  # it ignores the signal by now, as one that saves its run does
    pool.workers = [_Worker(0, process, Lines())]
    pool.dismiss(seconds=PATIENCE)
    assert process.wait(PATIENCE) == 0
    assert len(pool.workers[0].parting) > 500_000


def test_a_worker_that_does_not_end_in_time_is_killed(store: Store) -> None:
    """Else a launch that was told to stop would wait for it forever."""
    pool = Pool(workplace(store), StopRequest())
    ignoring = ["sh", "-c", "trap '' TERM; echo; exec sleep 60"]
    process = subprocess.Popen(ignoring, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"\n"
    pool.workers = [_Worker(0, process, Lines())]
    pool.dismiss(seconds=0.1)
    assert process.wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.slow
def test_on_a_terminal_there_is_a_bar_for_all_runs_and_one_for_each_that_is_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    assert Pool(workplace(store), StopRequest()).make(orders(small_teacher(), small_teacher(seed=1))) == {}
    shown = screen.getvalue()
    assert "runs:   0%" in shown and "| 1/2 [" in shown
    for number in (0, 1):
        assert f"] run {number}" in shown
    assert "accuracy" not in shown.replace("\r", "\n").splitlines()[-1], "the last bar is not wiped away"


@pytest.mark.parametrize(
    ("message", "ends"),
    [("CUDA error: an illegal memory access was encountered", True), ("CUDA error: out of memory", False)],
)
def test_a_worker_that_has_lost_its_gpu_ends_with_its_run(message: str, ends: bool) -> None:
    """All that it asked of this GPU from then on would fail, and with it run after run."""

    def fails(_: dict[str, Any]) -> None:
        raise torch.AcceleratorError(message)

    if ends:
        with pytest.raises(torch.AcceleratorError):
            _outcome(fails, {}, Lines())
    else:
        assert _outcome(fails, {}, Lines())["failed"]
