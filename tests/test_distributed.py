"""Several processes that train one run: the same numbers as one, whole records, and an end for every failure."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from image_files import TINY, write_images
from runs import runner, small_student, small_teacher
from torch import nn

from repro.cli import main
from repro.config import DataConfig, RunConfig, Selection
from repro.distill.hard_labels import HardLabels
from repro.errors import BadInput, Interrupted, RunFailed
from repro.progress import Lines
from repro.store import RunDirectory, Store
from repro.training.accumulation import accumulate, check_shares
from repro.training.distributed import ALONE, Ranks, connected, ranks_of_this_job
from repro.training.hardware import choose_device, count_loader_workers
from repro.training.precision import Precision

FLOAT32 = Precision("float32", torch.device("cpu"))
PATIENCE = 300.0
"""Seconds in which a job has to end, however it ends; far more than it needs."""

# Steps of 10, 10 and 4 images in micro-batches of 4: 3, 3 and 1, so that in the last step one process has none.
FOLDER = DataConfig(train=Selection(dataset=TINY))
TEACHER = small_teacher(data=FOLDER, batch_size=10, micro_batch_size=4, epochs=2)
STUDENT = small_student(
    data=FOLDER,
    teachers=(TEACHER,),
    objective=HardLabels(labels_from="sample"),
    batch_size=10,
    micro_batch_size=4,
    epochs=3,
)


class Watching(Lines):
    """Calls `at_step` with the number of the student's steps, counted from 1."""

    def __init__(self, at_step: Callable[[int], None]) -> None:
        super().__init__()
        self.at_step = at_step
        self.steps = 0

    def start(self, title: str, total_steps: int, done_steps: int) -> None:  # noqa: ARG002
        self.steps = done_steps if title == "student" else -(10**6)

    def step(self, count: int = 1) -> None:
        self.steps += count
        self.at_step(self.steps)


def make(root: Path, data: Path, at_step: Callable[[int], None] = lambda _: None) -> None:
    """Make the teacher and the student in this process, alone or as its part of a job. A checkpoint at every step."""
    ranks = ranks_of_this_job()
    work = replace(
        runner(root, checkpoint_seconds=0.0),
        data_directory=data,
        progress=Watching(at_step),
        ranks=ranks,
        loader_workers=0,
    )
    with work.stop.listening(), connected(ranks, work.device):
        work.make(TEACHER, "teacher")
        work.make(STUDENT, "student")


def job(size: int, root: Path, data: Path, at_step: Callable[[int, int], None] = lambda *_: None) -> list[str]:
    """`make` by `size` processes, started as torchrun would; how each ended: its error's class or ""."""
    context = get_context("fork")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pipes, processes = [], []

    def work(rank: int, pipe: Connection) -> None:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
        try:
            make(root, data, lambda step: at_step(rank, step))
        except (RunFailed, BadInput) as error:
            pipe.send(f"{type(error).__name__}: {error}")
        else:
            pipe.send("")

    for rank in range(size):
        receiver, sender = context.Pipe(duplex=False)
        process: ForkProcess = context.Process(target=work, args=(rank, sender))
        process.start()
        sender.close()
        pipes.append(receiver)
        processes.append(process)
    deadline = time.monotonic() + PATIENCE
    try:
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            assert process.exitcode is not None, "the job hangs"
    finally:
        for process in processes:
            process.kill()
    return [_last_word(pipe) for pipe in pipes]


def _last_word(pipe: Connection) -> str:
    try:
        word: str = pipe.recv()
    except EOFError:
        return "killed"
    return word


def records(root: Path) -> list[RunDirectory]:
    return [Store(root).run(config.run_id) for config in (TEACHER, STUDENT)]


def assert_same_bytes(one: Path, other: Path) -> None:
    for run, again in zip(records(one), records(other), strict=True):
        for name in ("metrics.jsonl", "model.safetensors", "predictions.safetensors", "config.json"):
            assert (run.path / name).read_bytes() == (again.path / name).read_bytes(), name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The runs as one process makes them."""
    root = tmp_path_factory.mktemp("alone")
    make(root, data)
    return root


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The runs as two processes make them, uninterrupted."""
    root = tmp_path_factory.mktemp("two")
    assert job(2, root, data) == ["", ""]
    return root


def assert_same_numbers(one: Path, other: Path) -> None:
    for run, again in zip(records(one), records(other), strict=True):
        for ours, theirs in zip(run.metrics(), again.metrics(), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
        for name, weights in run.weights().items():
            torch.testing.assert_close(weights, again.weights()[name], rtol=1e-3, atol=1e-5, msg=name)
        for name, values in run.predictions().items():
            torch.testing.assert_close(values, again.predictions()[name], rtol=1e-3, atol=1e-4, msg=name)


def test_two_processes_give_the_numbers_of_one(alone: Path, two: Path) -> None:
    assert_same_numbers(alone, two)
    (attempt,) = records(two)[1].read_json("environment.json")["attempts"]
    assert attempt["machine"]["process_count"] == 2


@pytest.mark.slow
def test_three_processes_give_the_numbers_of_one(alone: Path, tmp_path: Path, data: Path) -> None:
    assert job(3, tmp_path, data) == ["", "", ""]
    assert_same_numbers(alone, tmp_path)


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_ends_the_job_and_a_restart_gives_the_same_bytes(
    victim: int, two: Path, tmp_path: Path, data: Path
) -> None:
    def kill(rank: int, step: int) -> None:
        if rank == victim and step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    ends = job(2, tmp_path, data, kill)
    assert ends[victim] == "killed"
    assert "another process of this job ended or cannot be reached" in ends[1 - victim]
    student = records(tmp_path)[1]
    assert student.state() == "failed" and "another process" in (student.failure() or "")
    assert job(2, tmp_path, data) == ["", ""]
    assert_same_bytes(tmp_path, two)
    attempts = student.read_json("environment.json")["attempts"]
    assert [attempt["step"] for attempt in attempts] == [0, 4]


def test_a_job_of_two_goes_on_as_one(alone: Path, tmp_path: Path, data: Path) -> None:
    def stop(rank: int, step: int) -> None:
        if rank == 1 and step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    ends = job(2, tmp_path, data, stop)
    assert [end.partition(":")[0] for end in ends] == [Interrupted.__name__] * 2
    assert "stopped by SIGTERM at step 5 of 9" in ends[1]
    assert "stopped by a signal to another process at step 5 of 9" in ends[0]
    assert records(tmp_path)[1].state() == "interrupted"
    make(tmp_path, data)
    assert_same_numbers(alone, tmp_path)


@pytest.mark.slow
def test_two_processes_train_in_bfloat16_stopped_or_not_like_one(
    tmp_path: Path, data: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_full = records(alone)[1].weights()
    rounding = STUDENT.model_copy(update={"precision": "bfloat16"})
    monkeypatch.setitem(globals(), "STUDENT", rounding)

    def stop(rank: int, step: int) -> None:
        if rank == 0 and step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    make(tmp_path / "one", data)
    assert job(2, tmp_path / "two", data) == ["", ""]
    assert {end.partition(":")[0] for end in job(2, tmp_path / "stopped", data, stop)} == {Interrupted.__name__}
    assert job(2, tmp_path / "stopped", data) == ["", ""]
    assert_same_bytes(tmp_path / "stopped", tmp_path / "two")
    one, two = (records(tmp_path / name)[1].weights() for name in ("one", "two"))
    apart = [torch.cat([(two[name] - of[name]).double().flatten() for name in two]).norm() for of in (one, in_full)]
    assert apart[0] < 0.2 * apart[1]  # the processes add in another order; the mode rounds


def test_the_reason_of_any_process_stays_in_the_record(tmp_path: Path, data: Path) -> None:
    def fail(rank: int, step: int) -> None:
        if rank == 1 and step == 2:
            raise RunFailed("the second process has a reason")

    ends = job(2, tmp_path, data, fail)
    assert "the second process has a reason" in ends[1] and "another process" in ends[0]
    assert records(tmp_path)[1].failure() == "the second process has a reason"


def test_a_run_of_one_micro_batch_a_step_cannot_be_shared(tmp_path: Path, data: Path) -> None:
    whole: RunConfig = TEACHER.model_copy(update={"micro_batch_size": None})
    work = replace(runner(tmp_path), data_directory=data, ranks=Ranks(0, 2))
    with pytest.raises(BadInput, match="2 processes cannot share steps of 1 micro-batch"):
        work._training(whole, {TINY: TINY.load(data)})
    ragged = TEACHER.model_copy(update={"batch_size": 10, "micro_batch_size": 4})  # 4, 4 and 2 images
    check_shares(ragged, Ranks(0, 3))
    with pytest.raises(BadInput, match=r"4 processes cannot share steps of 3 micro-batch.* to 2 or less"):
        check_shares(ragged, Ranks(0, 4))


# -- what torchrun says ------------------------------------------------------------------------------------------------


def test_under_torchrun_only_runs_are_made_and_messages_name_their_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert main(["status"]) == 2
    message = "repro: process 1: torchrun starts several processes for one run: use it only with `repro run`\n"
    assert capsys.readouterr().err == message
    assert main(["run", "imagenet", "preset=smoke", "--device", "cuda:0"]) == 2
    assert "torchrun gives each process its own GPU" in capsys.readouterr().err
    assert choose_device("cpu").type == "cpu"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(10)))
    assert count_loader_workers() == 5


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "LOCAL_RANK is not set"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
    ],
)
def test_what_torchrun_would_have_set_is_named_where_something_else_has_set_a_part_of_it(
    variables: dict[str, str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["run", "digits", "preset=smoke", "--device", "cpu", "--runs", str(tmp_path / "runs")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"but {problem}: start with torchrun, or unset WORLD_SIZE" in line
    assert main(["status", "--runs", str(tmp_path / "runs")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# -- accumulation ------------------------------------------------------------------------------------------------------


def test_the_gradient_of_ragged_micro_batches_is_that_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    inputs, labels = torch.randn(10, 6, dtype=torch.float64), torch.arange(10) % 3
    whole = F.cross_entropy(network(inputs), labels)
    expected = torch.autograd.grad(whole, list(network.parameters()))
    pieces = (
        (len(rows) / 10, F.cross_entropy(network(inputs[rows]), labels[rows])) for rows in torch.arange(10).split(4)
    )
    loss = accumulate(network, pieces, ALONE, FLOAT32)
    torch.testing.assert_close(loss.double(), whole.detach(), rtol=1e-6, atol=0)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-14)


def test_running_statistics_are_the_mean_of_the_micro_batches_updates_from_one_start() -> None:
    norm = nn.BatchNorm1d(2, momentum=0.25)
    network = nn.Sequential(norm, nn.Linear(2, 1)).double()
    start_mean, start_var = torch.tensor([1.0, -1.0]).double(), torch.tensor([2.0, 3.0]).double()
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(start_mean)
    norm.running_var.copy_(start_var)
    inputs = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, second = inputs[:3], inputs[3:]
    accumulate(network, ((len(rows) / 5, network(rows).mean()) for rows in (first, second)), ALONE, FLOAT32)
    mean = 0.75 * start_mean + 0.25 * (0.6 * first.mean(0) + 0.4 * second.mean(0))
    var = 0.75 * start_var + 0.25 * (0.6 * first.var(0) + 0.4 * second.var(0))  # unbiased, as torch's are
    torch.testing.assert_close(network[0].running_mean, mean)
    torch.testing.assert_close(network[0].running_var, var)


def test_a_plain_average_of_statistics_counts_steps_whoever_computes_which_micro_batch() -> None:
    network = nn.Sequential(nn.BatchNorm1d(1, momentum=None), nn.Linear(1, 1))
    for step in ([2.0, 4.0, 6.0], [10.0, 12.0, 14.0]):
        batches = (torch.full((2, 1), value) for value in step)
        accumulate(network, ((1 / 3, network(batch).mean()) for batch in batches), ALONE, FLOAT32)
    assert network.state_dict()["0.running_mean"].item() == pytest.approx((4 + 12) / 2)
    assert network.state_dict()["0.num_batches_tracked"].item() == 2


def test_a_process_without_a_micro_batch_has_a_gradient_of_zeros() -> None:
    network = nn.Linear(2, 1)
    assert accumulate(network, iter(()), ALONE, FLOAT32).item() == 0.0
    assert [parameter.grad.tolist() for parameter in network.parameters() if parameter.grad is not None] == [
        [[0, 0]],
        [0],
    ]


def test_one_process_alone_waits_for_nobody() -> None:
    tensor = torch.arange(3.0)
    ALONE.sum([tensor])
    ALONE.copy_from_first([tensor])
    assert tensor.tolist() == [0.0, 1.0, 2.0]
    assert ALONE.any(True) and not ALONE.any(False) and ALONE.first_decides(True)
    assert json.dumps(list(ALONE.share([1, 2, 3]))) == "[1, 2, 3]"
    assert list(Ranks(1, 2).share([1, 2, 3, 4, 5])) == [2, 4]
