"""Runs whose training steps are compiled: the same function, exact resume, and what refuses them."""

import copy
import sysconfig
from pathlib import Path

import pytest
import torch
from runs import SMALL, runner, small_student, small_teacher, stopped
from torch import Tensor, nn

from repro.cli import main
from repro.config import StudentConfig, parse_config
from repro.config.override import override
from repro.data.dataset import LabeledData
from repro.distill.contrastive import Contrastive
from repro.distill.ensemble import Ensemble
from repro.distill.mutual_learning import MutualLearning
from repro.errors import BadInput, RunFailed
from repro.launch.cost import Speeds
from repro.models.preresnet import PreResNet, PreResNetNetwork
from repro.training import compiled
from repro.training.compiled import without_batch_norm
from repro.training.hardware import use_exact_kernels
from repro.training.trainer import Trainer

CPU = torch.device("cpu")
SMALLEST = PreResNet(depth=8, norm="layer")
"""Its weights alone decide what it predicts: rounding in BatchNorm's statistics would add to what is compared."""
can_compile = pytest.mark.skipif(
    (missing := compiled.missing_for_compiling()) is not None, reason=f"compiling takes {missing}"
)


@pytest.fixture(autouse=True)
def one_stage_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have kernels of the same kinds, which take a minute to compile."""
    whole = PreResNet.build

    def first_stage(model: PreResNet, num_classes: int, input_shape: tuple[int, ...]) -> PreResNetNetwork:
        network = whole(model, num_classes, input_shape)
        if model == SMALLEST:
            network.stage2, network.stage3 = nn.Sequential(), nn.Sequential()
            network.head[0] = nn.GroupNorm(1, 16)
            network.classifier = nn.Linear(16, num_classes)
        return network

    monkeypatch.setattr(PreResNet, "build", first_stage)


@pytest.fixture(scope="module")
def small() -> LabeledData:
    return SMALL.load(Path())


def teacher() -> Ensemble:
    torch.manual_seed(5)
    return Ensemble([SMALLEST.build(10, (1, 8, 8))])


def student(**changes: object) -> StudentConfig:
    """Seven steps an epoch, the last of 8 images instead of 32."""
    return small_student(**{"model": SMALLEST, "epochs": 2} | changes)


def trainer(config: StudentConfig, images: LabeledData) -> Trainer:
    return Trainer(config, {SMALL: images}, teacher(), CPU)


@pytest.mark.slow
@can_compile
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_run_computes_the_same_by_fused_kernels_and_goes_on_from_its_checkpoint_to_the_bit(
    precision: str, small: LabeledData
) -> None:
    config = student(precision=precision, compiled=True)
    eager = stopped(trainer(student(precision=precision), small), 14)
    ours = stopped(trainer(config, small), 14)
    full = eager if precision == "float32" else stopped(trainer(student(), small), 14)
    weights, eager_weights = ours.state_dict()["network"], eager.state_dict()["network"]
    assert any(not torch.equal(value, eager_weights[name]) for name, value in weights.items())
    torch.testing.assert_close(ours.losses, full.losses, rtol=1e-4 if precision == "float32" else 0.05, atol=0.0)
    # Asked to stop before the short batch: what goes on meets that shape first, and the full one after it.
    state = copy.deepcopy(stopped(trainer(config, small), 6).state_dict())
    torch.manual_seed(99)
    second = trainer(config, small)
    second.load_state_dict(state)
    resumed = stopped(second, 14).state_dict()
    for name, value in weights.items():
        assert torch.equal(value, resumed["network"][name]), name
    assert torch.equal(ours.losses, second.losses)


@pytest.mark.slow
@can_compile
def test_metrics_of_a_compiled_run_are_those_of_its_weights(small: LabeledData) -> None:
    ours = stopped(trainer(student(compiled=True, precision="bfloat16"), small), 7)
    plain = trainer(student(), small)
    plain.load_state_dict(ours.state_dict())
    theirs = {name: value for name, value in plain.row().items() if name != "train/loss"}
    assert theirs.items() <= ours.row().items()


class InPieces(nn.Module):
    """Of two pieces that cannot be compiled as one."""

    def forward(self, inputs: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return inputs + 1


@pytest.mark.slow
@can_compile
def test_dropout_draws_what_it_does_in_a_run_that_is_not_compiled() -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5))
    inputs = torch.randn(4, 3)
    dropped = []
    for ask in (network, compiled.compiled(network, None)[0]):
        torch.manual_seed(7)
        dropped.append([ask(inputs) == 0 for _ in range(3)])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*dropped, strict=True))
    assert not torch.equal(dropped[0][0], dropped[0][1])


def test_what_torch_cannot_compile_as_a_whole_is_refused_or_an_error() -> None:
    texts = {"dataset": {"name": "synthetic_texts"}}
    reader = small_teacher().model_dump(mode="json") | {"data": {"train": texts}, "model": {"name": "lstm"}}
    with pytest.raises(BadInput, match="compiled does not work with lstm"):
        parse_config(reader | {"compiled": True})
    config = student().model_dump(mode="json") | {"data": {"train": texts}, "model": {"name": "transformer"}}
    with pytest.raises(BadInput, match="compiled does not work with lstm"):
        parse_config(config | {"teachers": [reader], "compiled": True})
    with pytest.raises(RunFailed, match=r"torch\.compile failed on InPieces: \w+"):
        compiled.compiled(InPieces(), None)[0](torch.ones(3))


@pytest.mark.parametrize("objective", [Contrastive(embedding=8), MutualLearning()], ids=lambda one: one.name)
def test_what_looks_into_networks_is_not_compiled(objective: Contrastive | MutualLearning) -> None:
    with pytest.raises(ValueError, match=f"compiled does not work with {objective.name}"):
        student(compiled=True, objective=objective)


@pytest.mark.parametrize(
    ("lacking", "message"),
    [("g++", "a C++ compiler, and there is no nowhere here"), ("Python.h", "header files of Python")],
)
def test_without_a_compiler_it_is_refused_before_anything_is_written(
    lacking: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if lacking == "g++":
        monkeypatch.setenv("CXX", "nowhere")
    else:
        monkeypatch.setenv("CXX", "sh")
        monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    here = ["preset=smoke", "compiled=true", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    assert main(["run", "digits", *here]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert main(["launch", "sweeps/digits.yaml", *here]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(BadInput, match="compiled"):
        runner(tmp_path / "runs").make(small_teacher(compiled=True), "a worker's")
    assert not (tmp_path / "runs").exists()


def test_it_is_part_of_the_run_and_its_cost_is_not_that_of_others() -> None:
    plain, ours = student(), student(compiled=True)
    assert plain.run_id != ours.run_id == override(plain, {"compiled": True}).run_id
    network = SMALLEST.build(10, (1, 8, 8))
    assert isinstance(network, nn.Module)
    without = Speeds(Path("speeds.json"), "", {}, {}).seconds(ours)
    assert isinstance(without, str) and without.endswith("in float32, compiled")


def test_folded_teachers_say_the_same_without_batch_norm_behind_a_convolution() -> None:
    torch.manual_seed(0)
    teachers = Ensemble([PreResNet(depth=8).build(10, (3, 8, 8)) for _ in range(2)])
    images = torch.rand(32, 3, 8, 8)
    for norm in (module for module in teachers.modules() if isinstance(module, nn.BatchNorm2d)):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            nn.init.uniform_(tensor, 0.5, 1.5)  # fresh ones would do nothing
    folded = without_batch_norm(teachers)
    assert torch.allclose(folded(images), teachers(images), rtol=1e-3, atol=1e-3)
    left = [name for name, module in folded.members[0].named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert left == [*(f"stage{stage}.0.branch.0" for stage in (1, 2, 3)), "head.0"]  # they stand behind sums


def test_batch_norm_without_running_statistics_is_not_folded() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    images = torch.rand(8, 3, 8, 8)
    folded = without_batch_norm(Ensemble([layers]))
    assert torch.equal(folded.members[0](images), layers(images)) and isinstance(layers[1], nn.BatchNorm2d)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_too(small: LabeledData) -> None:
    use_exact_kernels()
    cuda = torch.device("cuda")

    def losses(compiled: bool, stop_at: int) -> torch.Tensor:
        first, second = (Trainer(student(compiled=compiled), {SMALL: small}, teacher(), cuda) for _ in range(2))
        second.load_state_dict(stopped(first, stop_at).state_dict())
        return stopped(second, 14).losses.cpu()

    assert torch.equal(losses(True, 6), losses(True, 0))
    torch.testing.assert_close(losses(True, 0), losses(False, 0), rtol=1e-3, atol=0.0)
