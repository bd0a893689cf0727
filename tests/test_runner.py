"""What one call of the runner does beside training: wait for others, save in time, and leave alone what it should."""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes import Process
from runs import runner, small_student, small_teacher

from repro import clock
from repro.config import DataConfig, Selection
from repro.data.synthetic import Synthetic
from repro.errors import BadInput, Interrupted, RunFailed, is_out_of_memory
from repro.progress import Lines
from repro.store import RunDirectory, Store
from repro.training.trainer import Trainer

CONFIG = small_teacher(data=DataConfig(train=Selection(dataset=Synthetic(images=20, image_size=8))), epochs=6)
"""Six steps, one an epoch."""


class Told(Lines):
    """Notes what the runner says, and calls `then` after it."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.then = then

    def say(self, line: str) -> None:
        self.lines.append(line)
        self.then()


@pytest.fixture
def made_elsewhere(tmp_path: Path) -> Process:
    """Holds the lock of CONFIG's run; told a fingerprint, it finishes the run with these data."""
    run = Store(tmp_path).run(CONFIG.run_id)

    def make(pipe: Connection) -> None:
        with run.lock(on_wait=print):
            pipe.send("holds")
            if pipe.poll(20.0):
                run.write_json("summary.json", {"metrics": {}, "seconds": 1.0, "data": {"synthetic": pipe.recv()}})

    process = Process(make)
    assert process.hear() == "holds"
    return process


def test_a_run_that_another_process_makes_is_waited_for_and_not_made_again(
    tmp_path: Path, made_elsewhere: Process
) -> None:
    (dataset,) = CONFIG.data.datasets
    told = Told(then=lambda: made_elsewhere.pipe.send(dataset.fingerprint(tmp_path)))
    replace(runner(tmp_path), progress=told).make(CONFIG, "a teacher")
    (line,) = told.lines
    assert line.startswith(f"a teacher: waiting, process {made_elsewhere.process.pid} on ")
    assert {path.name for path in (tmp_path / CONFIG.run_id).iterdir()} == {"lock", "summary.json"}


def test_a_run_that_another_process_makes_with_other_data_is_not_taken_for_this_one(
    tmp_path: Path, made_elsewhere: Process
) -> None:
    told = Told(then=lambda: made_elsewhere.pipe.send("other data"))
    with pytest.raises(BadInput, match=f"run {CONFIG.run_id} was made with other synthetic data"):
        replace(runner(tmp_path), progress=told).make(CONFIG, "a teacher")


def test_who_waits_for_another_process_can_be_stopped(tmp_path: Path, made_elsewhere: Process) -> None:
    worker = runner(tmp_path)

    def stop() -> None:
        worker.stop.signal = "SIGTERM"

    with pytest.raises(Interrupted, match=r"\(a teacher\): stopped by SIGTERM while it waited"):
        replace(worker, progress=Told(then=stop)).make(CONFIG, "a teacher")
    assert Store(tmp_path).run(CONFIG.run_id).state() == "running"
    assert not made_elsewhere.pipe.poll()


def test_checkpoints_come_within_an_epoch_as_often_as_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 10 seconds here, an epoch 70."""
    now, config, saved = [0.0], small_teacher(epochs=2), list[float]()
    write = RunDirectory.write_checkpoint

    class Slow(Lines):
        def step(self, count: int = 1) -> None:
            now[0] += 10.0 * count

    def note(run: RunDirectory, content: dict[str, Any]) -> None:
        saved.append(content["seconds"])
        write(run, content)

    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(RunDirectory, "write_checkpoint", note)
    replace(runner(tmp_path, checkpoint_seconds=30.0), progress=Slow()).make(config, "a teacher")
    assert saved == [30.0, 60.0, 90.0, 120.0, 140.0]


def test_a_failure_is_left_alone_unless_forgiven_and_that_of_a_parent_is_none(tmp_path: Path) -> None:
    work, run = runner(tmp_path), Store(tmp_path).run(CONFIG.run_id)
    run.path.mkdir()
    run.write_failure("its teacher failed", parent="0123456789ab")
    work.make(CONFIG, "a teacher", forgiven=None)  # it is only made once its parent is done
    assert run.is_done()
    (run.path / "summary.json").unlink()
    run.write_failure("the loss became nan")
    failure = run.last_failure()
    assert failure is not None
    for forgiven in (None, "2026-01-01T00:00:00+0000"):
        with pytest.raises(RunFailed, match="has failed since this launch began: the loss became nan"):
            work.make(CONFIG, "a teacher", forgiven=forgiven)
        assert run.last_failure() == failure
    work.make(CONFIG, "a teacher", forgiven=failure["time"])
    assert run.is_done() and run.failure() is None


def test_a_run_whose_output_is_closed_has_not_failed_and_is_continued(tmp_path: Path) -> None:
    """As in `repro launch SWEEP 2>&1 | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    made = runner(tmp_path)
    with pytest.raises(BrokenPipeError), os.fdopen(writer, "w") as closed, contextlib.redirect_stderr(closed):
        made.make(small_teacher(), "teacher")
    run = made.store.run(small_teacher().run_id)
    assert run.state() == "interrupted"
    made.make(small_teacher(), "teacher")
    assert run.is_done()


def test_a_run_that_exceeds_the_memory_fails_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "advance", lambda *_: torch.empty(10**14))  # 400 terabytes
    reason = r"cpu is out of memory \(.*DefaultCPUAllocator: .*\); runs that are made at the same time share it"
    with pytest.raises(RunFailed, match=rf"^run {CONFIG.run_id} \(a teacher\): {reason}$"):
        runner(tmp_path).make(CONFIG, "a teacher")
    failure = Store(tmp_path).run(CONFIG.run_id).last_failure()
    assert failure is not None and "in make" in failure["traceback"]
    assert re.fullmatch(reason, failure["error"])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (MemoryError(), True),
        (RuntimeError("shapes cannot be multiplied"), False),
    ],
)
def test_what_says_that_memory_does_not_suffice(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_a_finished_run_is_not_refused_where_it_could_not_be_made(tmp_path: Path) -> None:
    """As a copy of the records of a GPU on another machine."""
    config = small_student(precision="tfloat32")
    work = runner(tmp_path)
    with pytest.raises(BadInput, match="tfloat32"):
        work.check([config])
    (tmp_path / config.run_id).mkdir()
    work.store.run(config.run_id).write_json("summary.json", {})
    work.check([config])
