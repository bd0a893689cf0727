"""On a simulated GPU: everything is computed on the device it is given, and no training step waits for it."""

import contextlib
import os
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from runs import small_student, small_teacher
from simulated_gpu import GPU, SimulatedGPU, is_on_gpu
from test_resume import RANDOM_STUDENT, assert_same_record

from repro.bench import floor
from repro.bench.contenders import Distillation, random_examples
from repro.bench.resnet import every_contender
from repro.config import DataConfig, RunConfig, Selection, TrainingConfig
from repro.data.augment_geometric import RandomCrop
from repro.data.augmentation import Augmentation
from repro.data.dataset import LabeledData
from repro.data.digits import Digits
from repro.data.synthetic import Synthetic
from repro.distill.disjoint_classes import DisjointClasses
from repro.distill.ensemble import Ensemble
from repro.distill.merging import Classes, Merge
from repro.distill.objective import Objective
from repro.distill.weighted_mean import WeightedMean
from repro.errors import Interrupted
from repro.experiments.capacity import Capacity
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.sweep import find_sweep, read_sweep
from repro.models.base import Model
from repro.models.preresnet import PreResNet
from repro.optimization.optimizers import SGD
from repro.progress import Lines
from repro.runner import Runner
from repro.store import RunDirectory, Store
from repro.surface import make_surface
from repro.training.start import build_network
from repro.training.trainer import Trainer
from repro.training.training import Result

CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimulatedGPU:
    return SimulatedGPU(monkeypatch)


def teacher() -> Ensemble:
    torch.manual_seed(5)
    return Ensemble([build_network(small_teacher())])


def make_trainer(config: TrainingConfig, data: LabeledData, device: torch.device) -> Trainer:
    return Trainer(config, {config.data.train.dataset: data}, teacher() if config.parents() else None, device)


def assert_same_on_gpu(config: TrainingConfig, data: LabeledData, gpu: SimulatedGPU) -> None:
    """A run of one epoch gives the same result on the simulated GPU as on the CPU, and no step waits."""
    on_cpu = make_trainer(config, data, CPU)
    on_cpu.advance(lambda: False)
    with gpu:
        on_gpu = make_trainer(config, data, GPU)
        before = len(gpu.waits)
        on_gpu.advance(lambda: False)
        # The epoch's order is copied to the GPU; at its end the losses are checked.
        assert gpu.waits[before:] == ["to", "nonzero"]
        row, result = on_gpu.row(), on_gpu.result()
    expected: Result = on_cpu.result()
    assert row == on_cpu.row()
    assert result.metrics == expected.metrics
    assert result.weights.keys() == expected.weights.keys()
    for name, weight in result.weights.items():
        assert is_on_gpu(weight)
        assert torch.equal(weight, expected.weights[name])


@pytest.mark.parametrize("name", sorted(Objective.registry))
def test_every_objective(name: str, digits: LabeledData, gpu: SimulatedGPU) -> None:
    objective = Objective.registry[name]()
    config = small_student if objective.needs_teacher or objective.is_control else small_teacher
    assert_same_on_gpu(config(objective=objective, optimizer=SGD(learning_rate=0.01), epochs=1), digits, gpu)


@pytest.mark.parametrize("name", sorted(Augmentation.registry))
def test_every_augmentation(name: str, digits: LabeledData, gpu: SimulatedGPU) -> None:
    augmentation = RandomCrop(padding=1) if name == "random_crop" else Augmentation.registry[name]()
    assert_same_on_gpu(small_student(augmentation=(augmentation,), epochs=1), digits, gpu)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name, model in Model.registry.items() if model.input_kind == "images"))
def test_every_network_for_images(name: str, gpu: SimulatedGPU) -> None:
    model = PreResNet(depth=8) if name == "preresnet" else Model.registry[name]()
    dataset = Digits() if name == "lenet5" else Synthetic(images=40)
    data = DataConfig(train=Selection(dataset=dataset, size=40))
    assert_same_on_gpu(small_teacher(model=model, data=data, epochs=1), dataset.load(Path()), gpu)


def runner(root: Path, device: torch.device) -> Runner:
    return Runner(Store(root), root / "no data", device, Lines())


def make(root: Path, device: torch.device, config: RunConfig, stop_once: bool = False) -> RunDirectory:
    """A run, after what it learns from; each perhaps stopped at once and continued."""
    worker = runner(root, device)
    plan = [request.config for request in parents_first([Request("run", config)])]
    for one in plan:
        if stop_once:
            worker.stop.signal = "SIGTERM"
            with pytest.raises(Interrupted):
                worker.make(one, "run")
            worker.stop.signal = None
        worker.make(one, "run")
    return Store(root).run(config.run_id)


def assert_same_records(tmp_path: Path, gpu: SimulatedGPU, config: RunConfig, stop_once: bool = False) -> None:
    on_cpu = make(tmp_path / "on the CPU", CPU, config)
    with gpu:
        on_gpu = make(tmp_path / "on the GPU", GPU, config, stop_once)
    assert_same_record(on_cpu, on_gpu)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep", "condition"),
    [
        ("augmentation", "policy=gan"),  # a stream of generated images
        ("ensemble_distillation", "gan_images=12500"),  # a fixed set of generated images, and three teachers
        ("lenet_mnist", "pool=1.0"),
        ("text", "members=1"),
        ("transfer", ""),
    ],
)
def test_records_of_studies_are_the_same(sweep: str, condition: str, tmp_path: Path, gpu: SimulatedGPU) -> None:
    runs = read_sweep(find_sweep(sweep), {"preset": "smoke", "trial": [0]})
    assert_same_records(tmp_path, gpu, next(run.config for run in runs if condition in run.label))


@pytest.mark.slow
def test_a_run_stopped_on_the_gpu_resumes_bit_for_bit(tmp_path: Path, gpu: SimulatedGPU) -> None:
    assert_same_records(tmp_path, gpu, RANDOM_STUDENT, stop_once=True)


@pytest.mark.slow
@pytest.mark.parametrize("first_on_gpu", [True, False])
def test_a_run_stopped_on_one_kind_of_device_goes_on_on_the_other(
    first_on_gpu: bool, tmp_path: Path, gpu: SimulatedGPU, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its random draws are then other ones, which no other step has."""
    config = RANDOM_STUDENT
    make(tmp_path, CPU, config.teachers[0])

    def attempt(on_gpu: bool, ends: bool) -> None:
        worker = runner(tmp_path, GPU if on_gpu else CPU)
        worker.stop.signal = None if ends else "SIGTERM"
        with (
            gpu if on_gpu else contextlib.nullcontext(),
            contextlib.nullcontext() if ends else pytest.raises(Interrupted),
        ):
            worker.make(config, "run")

    attempt(first_on_gpu, ends=False)
    attempt(not first_on_gpu, ends=True)
    assert "continues with another device, cuda: its result may differ" in capsys.readouterr().err
    run = Store(tmp_path).run(config.run_id)
    assert run.is_done() and [row["epoch"] for row in run.metrics()] == [2, 4, 6]


def test_generators_that_cannot_take_the_state_of_another_device_start_anew_at_every_step(
    digits: LabeledData, gpu: SimulatedGPU
) -> None:
    config, trainer = RANDOM_STUDENT, make_trainer(RANDOM_STUDENT, digits, CPU)
    for _ in range(2):
        trainer.advance(lambda: True)
    with gpu:
        other = make_trainer(config, digits, GPU)
        other.load_state_dict(trainer.state_dict())
    seeds = {name: generator.initial_seed() for name, generator in other.random.items()}
    assert seeds == {name: config.stream_seed(name, 2) for name in ("augmentation", "objective")}
    assert trainer.step == other.step == 2


def test_merged_teachers_never_make_the_host_wait(gpu: SimulatedGPU) -> None:
    logits = torch.randn(2, 3, 4)
    rules: list[tuple[Merge, tuple[Classes, ...]]] = [
        (WeightedMean(weights=(0.7, 0.3)), ((0, 1, 2, 3),) * 2),
        (DisjointClasses(), ((0, 2), (1, 3))),
    ]
    for rule, known in rules:
        with gpu:
            on_gpu = logits.to(GPU)
            gpu.waits.clear()
            merged = rule.merge(on_gpu, known)
        assert is_on_gpu(merged) and gpu.waits == []
        assert torch.equal(merged, rule.merge(logits, known))


@pytest.mark.slow
def test_a_loss_surface_is_the_same(tmp_path: Path, gpu: SimulatedGPU) -> None:
    config = small_student(augmentation=(RandomCrop(padding=1),), epochs=1)
    make(tmp_path, CPU, config)
    path = make_surface(runner(tmp_path, CPU), config, "on the CPU", points=3, images=50)
    on_cpu = path.read_bytes()
    path.unlink()
    with gpu:
        make_surface(runner(tmp_path, GPU), config, "on the GPU", points=3, images=50)
    assert path.read_bytes() == on_cpu


def test_what_a_gpu_refuses_is_refused(gpu: SimulatedGPU) -> None:
    with gpu:
        on_gpu, on_cpu = torch.ones(3, device="cuda"), torch.ones(3)
        with pytest.raises(RuntimeError, match="both devices"):
            on_gpu + on_cpu
        with pytest.raises(RuntimeError, match="both devices"):
            torch.nn.Linear(3, 2)(on_gpu)
        with pytest.raises(RuntimeError, match="generator on cpu"):
            torch.rand(2, generator=torch.Generator(), device="cuda")
        with pytest.raises(TypeError, match="on the simulated GPU"):
            on_gpu.numpy()
        assert gpu.waits == []
        assert (on_gpu * 2.0 + on_gpu.sum()).device == GPU
        _ = on_gpu[on_gpu > 0], on_gpu[torch.tensor([0])], float(on_gpu.sum())
        _ = on_gpu.cpu(), torch.tensor([1.0], device="cuda")
        assert Counter(gpu.waits) == Counter(["__getitem__", "__getitem__", "__float__", "cpu", "tensor"])


@pytest.mark.slow
def test_a_bench_waits_for_the_gpu_once_a_slice_and_measures_its_own_precision(
    gpu: SimulatedGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    config = Capacity(preset="smoke").config().model_copy(update={"epochs": 1_000_000})
    with gpu:
        job = Distillation(config, random_examples(config, 64), GPU)
        contenders = every_contender(job, compiled=False)
        assert {"ours, tfloat32", "ours, bfloat16"} < set(contenders)
        for name in ("ours", "ours, tfloat32", "bare"):
            waits.clear()
            assert contenders[name](1.0) >= 2 * config.batch_size
            assert waits == [GPU], name


def test_peaks_of_a_gpu_are_those_of_many_products_in_a_row(gpu: SimulatedGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is launched in no time here, and a second passes while the host waits for all of them."""
    waits: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    monkeypatch.setattr(time, "perf_counter", lambda: float(len(waits)))
    monkeypatch.setattr(floor, "MATRIX", 8)
    monkeypatch.setattr(floor, "CHANNELS", 2)
    monkeypatch.setattr(floor, "COPIED", 1000)
    with gpu:
        assert floor.peaks(GPU) == pytest.approx((20 * 2 * 16 * 32**2 * 2**2 * 9, 20 * 2 * 4 * 1000))


def test_other_tests_than_those_of_a_real_gpu_see_none() -> None:
    """Or the bytes that they compare would be a GPU's, and what they fork could not train."""
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "" and not torch.cuda.is_available()
