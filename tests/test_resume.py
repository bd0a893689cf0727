"""Interrupted and resumed equals uninterrupted, to the bit, however and whenever it was interrupted."""

import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from runs import SMALL, assert_goes_on_to_the_bit, lenet_teacher, runner, small_student, small_teacher

from repro import clock
from repro.config import DataConfig, RunConfig, Selection
from repro.data.augment_geometric import HorizontalFlip, RandomCrop
from repro.data.augment_noise import UniformNoise
from repro.data.dataset import Dataset, LabeledData
from repro.data.digits import Digits
from repro.data.synthetic import Synthetic
from repro.distill.ensemble import Ensemble
from repro.distill.hard_labels import HardLabels
from repro.errors import BadInput, Interrupted
from repro.models.vgg import VGG
from repro.runner import Runner
from repro.store import RunDirectory, Store
from repro.training.hardware import use_exact_kernels
from repro.training.trainer import Trainer
from repro.training.training import Training

CPU = torch.device("cpu")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
every_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda])])

# Every random stream is in use: order, augmentation, sampled hard labels, and BatchNorm statistics move.
RANDOM_STUDENT = small_student(
    augmentation=(RandomCrop(padding=1), HorizontalFlip(), UniformNoise(p=0.3)),
    objective=HardLabels(labels_from="sample"),
    epochs=6,
    evaluate_every=2,
)

FEW = DataConfig(train=Selection(dataset=Synthetic(images=20, image_size=8)))
"""Images for one step an epoch."""


def assert_same_record(one: RunDirectory, other: RunDirectory) -> None:
    for name in ("metrics.jsonl", "model.safetensors", "predictions.safetensors", "config.json"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    summaries = [run.read_json("summary.json") for run in (one, other)]
    for summary in summaries:
        del summary["seconds"], summary["finished"]
    assert summaries[0] == summaries[1]


def make(root: Path, config: RunConfig, **options: float) -> RunDirectory:
    worker = runner(root, **options)
    for parent in config.parents():
        worker.make(parent, "parent")
    worker.make(config, "run")
    return Store(root).run(config.run_id)


KILLER = """
    import os, random, signal, sys, time
    from pathlib import Path
    import torch
    from runs import runner
    from test_resume import RANDOM_STUDENT
    torch.set_num_threads(1)
    root, moments = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    work = runner(root, checkpoint_seconds=0.01)
    for parent in RANDOM_STUDENT.parents():
        work.make(parent, "parent")
    attempts, killed, states = 0, 0, set()
    while not work.store.run(RANDOM_STUDENT.run_id).is_done():
        attempts += 1
        child = os.fork()
        if child == 0:
            work.make(RANDOM_STUDENT, "run")
            os._exit(0)
        time.sleep(moments.uniform(0.0, 0.1 * 1.08**attempts))  # longer and longer, so that it ends
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        states.add(work.store.run(RANDOM_STUDENT.run_id).state())
    print(killed, sorted(states))
"""


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_like_one_that_never_was(tmp_path: Path) -> None:
    undisturbed = make(tmp_path / "undisturbed", RANDOM_STUDENT)
    seed = random.SystemRandom().randrange(10**6)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLER), str(tmp_path / "killed"), str(seed)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-2000:]}"
    kills = int(done.stdout.split()[0])
    assert kills >= 5, f"seed {seed}: the run was over after {kills} kills, too few to mean anything"
    assert_same_record(undisturbed, Store(tmp_path / "killed").run(RANDOM_STUDENT.run_id))


class Killed(BaseException):
    """The end of a process at that moment: nothing handles it."""


def test_a_run_killed_at_any_write_ends_like_one_that_never_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is flushed before it gets its name, and its folder after: a kill at each flush is one at each state."""
    config = small_teacher(data=FEW, epochs=2)
    undisturbed = make(tmp_path / "undisturbed", config)
    moments, states = 0, []
    while "done" not in states:
        root = tmp_path / str(moments)

        def make_until_killed(root: Path = root, last: int = moments) -> None:
            flushes = itertools.count()

            def flush(_: int) -> None:
                if next(flushes) == last:
                    raise Killed

            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", flush)
                make(root, config, checkpoint_seconds=0.0)

        with pytest.raises(Killed):
            make_until_killed()
        states.append(Store(root).run(config.run_id).state())
        with contextlib.suppress(Killed):  # it may have less to do than the first
            make_until_killed()
        assert_same_record(undisturbed, make(root, config))
        moments += 1
    # Config, metrics, environment, a checkpoint an epoch, weights, predictions, summary, twice each; a row an epoch.
    assert moments == 2 * 8 + 2
    assert states == ["missing", *["interrupted"] * (moments - 2), "done"]


@every_device
def test_a_trainer_continued_from_its_state_goes_on_to_the_bit(device: str) -> None:
    use_exact_kernels()
    config = RANDOM_STUDENT
    datasets: dict[Dataset, LabeledData] = {SMALL: SMALL.load(Path())}

    def fresh() -> Trainer:
        teacher = config.teachers[0].model.build(10, SMALL.input_shape)
        teacher.load_state_dict(weights)
        return Trainer(config, datasets, Ensemble([teacher]), torch.device(device))

    torch.manual_seed(0)
    weights = config.teachers[0].model.build(10, SMALL.input_shape).state_dict()
    assert_goes_on_to_the_bit(fresh, 1, 6, 7, 8, 13)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize(("before", "after"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_on_a_gpu_a_run_goes_on_from_a_checkpoint_of_the_other_kind_of_device(before: str, after: str) -> None:
    def fresh(kind: str) -> Trainer:
        torch.manual_seed(0)
        teacher = Ensemble([RANDOM_STUDENT.teachers[0].model.build(10, SMALL.input_shape)])
        return Trainer(RANDOM_STUDENT, {SMALL: SMALL.load(Path())}, teacher, torch.device(kind))

    first, second = fresh(before), fresh(after)
    first.advance(lambda: first.step >= 3)
    second.load_state_dict(first.state_dict())
    assert second.step == 3
    assert second.advance(lambda: False) and second.losses.isfinite().all()


def test_dropout_is_drawn_from_the_restored_stream() -> None:
    dataset = Digits(image_size=32)
    config = small_teacher(
        data=DataConfig(train=Selection(dataset=dataset, size=12)), model=VGG(), batch_size=4, epochs=1
    )
    data = dataset.load(Path())
    small: dict[Dataset, LabeledData] = {dataset: LabeledData(data.train, data.test.subset(torch.arange(8)))}
    uninterrupted = Trainer(config, small, None, CPU)
    uninterrupted.advance(lambda: False)
    first = Trainer(config, small, None, CPU)
    first.advance(lambda: True)
    state = first.state_dict()
    second = Trainer(config, small, None, CPU)  # draws from the global stream, and seeds it
    second.load_state_dict(state)
    second.advance(lambda: False)
    assert torch.equal(uninterrupted.losses, second.losses)


def test_a_stop_request_leaves_a_checkpoint_from_which_the_same_call_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_teacher()
    undisturbed = make(tmp_path / "undisturbed", config)
    worker = runner(tmp_path / "stopped")
    worker.stop.signal = "SIGTERM"
    with pytest.raises(Interrupted, match="continues from there"):
        worker.make(config, "run")
    stopped = Store(tmp_path / "stopped").run(config.run_id)
    assert stopped.state() == "interrupted"
    assert_same_record(undisturbed, make(tmp_path / "stopped", config))
    assert "continues at step 1 of 21" in capsys.readouterr().err
    log = (stopped.path / "run.log").read_text()
    assert [
        log.count(text) for text in ("starts at step 0", "stopped by SIGTERM at step 1", "continues at step 1")
    ] == [
        1,
        1,
        1,
    ]


def test_rows_written_after_the_checkpoint_are_not_doubled(tmp_path: Path) -> None:
    config = small_teacher()
    worker = runner(tmp_path)
    worker.stop.signal = "SIGTERM"
    with pytest.raises(Interrupted):
        worker.make(config, "run")
    run = Store(tmp_path).run(config.run_id)
    run.append_metrics({"epoch": 1, "left by": "a process that died before its next checkpoint"})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "torn')
    make(tmp_path, config)
    assert [row["epoch"] for row in run.metrics()] == [1, 2, 3]


def test_seconds_are_those_of_all_attempts_from_asking_the_teachers_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, prepare = [0.0], Runner._training

    def take_100_seconds(*arguments: Any) -> Training:
        now[0] += 100.0
        return prepare(*arguments)

    monkeypatch.setattr(Runner, "_training", take_100_seconds)
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0]))
    worker, config = runner(tmp_path), small_teacher()
    worker.stop.signal = "SIGTERM"
    with pytest.raises(Interrupted):
        worker.make(config, "run")
    make(tmp_path, config)
    assert Store(tmp_path).run(config.run_id).read_json("summary.json")["seconds"] == 200.0


def test_a_run_is_not_continued_or_reused_on_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_teacher()
    make(tmp_path, config)
    monkeypatch.setattr(Digits, "fingerprint", lambda *_: "other")
    with pytest.raises(BadInput, match="other digits data"):
        make(tmp_path, config)


def test_a_diverging_run_stops_with_step_and_cause_and_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    from repro.config.override import override
    from repro.errors import RunFailed

    config = override(
        lenet_teacher(epochs=6, batch_size=16),
        {"optimizer.learning_rate": 1e8, "schedule": {"name": "constant", "warmup_epochs": 5, "per": "step"}},
    )
    with pytest.raises(RunFailed, match=r"the loss became (nan|inf) at epoch \d+, step \d+ .*learning_rate"):
        make(tmp_path, config, checkpoint_seconds=0.0)
    run = Store(tmp_path).run(config.run_id)
    assert run.state() == "failed"
    assert "learning_rate" in run.read_json("failure.json")["error"]
    checkpoint = run.checkpoint()
    assert checkpoint is not None
    assert all(tensor.isfinite().all() for tensor in checkpoint["trainer"]["losses"])
    assert json.loads((run.path / "config.json").read_text())["run_id"] == run.run_id
