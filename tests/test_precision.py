"""The modes of precision: what each rounds, what it leaves in float32, and where it is refused."""

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from runs import SMALL, assert_goes_on_to_the_bit, lenet_teacher, runner, small_student, small_teacher, stopped
from test_models_contract import Build, build, case, images  # noqa: F401  (fixtures: every architecture)
from torch import Tensor, nn

from repro.cli import main
from repro.config import RunConfig, StudentConfig
from repro.config.override import override
from repro.data.dataset import LabeledData
from repro.data.digits import Digits
from repro.distill.contrastive import Contrastive
from repro.distill.ensemble import Ensemble
from repro.distill.hint import Hint
from repro.distill.mutual_learning import MutualLearning
from repro.errors import BadInput
from repro.models.lenet import LeNet5
from repro.models.preresnet import PreResNet
from repro.optimization.optimizers import SGD
from repro.optimization.schedules import Constant
from repro.store import Store
from repro.training.hardware import use_exact_kernels
from repro.training.precision import Precision
from repro.training.trainer import Trainer

CPU = torch.device("cpu")
DIGITS = Digits()
LENET = LeNet5()
RESNET = PreResNet(depth=8)


@pytest.fixture(scope="module")
def digits() -> LabeledData:
    return DIGITS.load(Path())


@pytest.fixture(scope="module")
def small() -> LabeledData:
    return SMALL.load(Path())


def network(seed: int, model: LeNet5 | PreResNet = RESNET, shape: tuple[int, ...] = (1, 8, 8)) -> nn.Module:
    torch.manual_seed(seed)
    return model.build(10, shape)


def lenet_student(**changes: object) -> StudentConfig:
    """Of one LeNet-5 on 28x28 digits: a step of 50 images an epoch."""
    own = lenet_teacher()
    options = {"data": own.data, "model": LENET, "teachers": (own,), "batch_size": 100, "schedule": Constant()}
    return small_student(**options | {"optimizer": SGD(learning_rate=0.05, momentum=0.0)} | changes)


def sharpened(net: nn.Module) -> nn.Module:
    """With weights so large that its logits are, and their rounding shows."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(4.0)
    return net


def in_bfloat16(net: nn.Module, inputs: Tensor) -> Tensor:
    """What a network whose weights and inputs are all bfloat16 says: an oracle without autocast."""
    outputs: Tensor = copy.deepcopy(net).bfloat16()(inputs.bfloat16())
    return outputs


def test_a_step_in_bfloat16_is_one_of_the_network_in_bfloat16_with_loss_and_weights_in_float32(
    digits: LabeledData,
) -> None:
    config = lenet_student(precision="bfloat16", epochs=1)
    teacher = sharpened(network(5, LENET, (1, 28, 28)))
    trainer = Trainer(config, {DIGITS: digits}, Ensemble([teacher]), CPU)
    start = copy.deepcopy(sharpened(trainer.network)).train()
    inputs = trainer.examples.inputs.float() / 127.5 - 1
    with torch.no_grad():
        target = F.softmax(in_bfloat16(teacher, inputs).float() / 2.0, dim=1)
    rounded = copy.deepcopy(start).bfloat16()
    loss = -4.0 * (target * F.log_softmax(rounded(inputs.bfloat16()).float() / 2.0, dim=1)).sum(1).mean()
    gradients = torch.autograd.grad(loss, list(rounded.parameters()))
    with torch.no_grad():
        in_full = -4.0 * (F.softmax(teacher(inputs) / 2, 1) * F.log_softmax(start(inputs) / 2, 1)).sum(1).mean()
    trainer.advance(lambda: False)
    ours = trainer.losses.item()
    assert abs(ours - loss.item()) < 0.1 * abs(ours - in_full.item())  # which are 1e-4 of the loss apart
    for before, after, gradient in zip(start.parameters(), trainer.network.parameters(), gradients, strict=True):
        moved = (before - after).detach() / 0.05
        # Each side adds in an order of its own, and rounds to 8 bits; but weights move by less than 8 bits can hold.
        assert (moved - gradient.float()).norm() < 0.02 * moved.norm()
        assert not torch.equal(after, after.bfloat16().float())


MODES_OF_RESUME = {
    "logits": small_student(precision="bfloat16", epochs=2),
    "micro-batches": small_student(precision="bfloat16", epochs=2, micro_batch_size=12),
    "peers": small_student(precision="bfloat16", epochs=2, objective=MutualLearning()),
    "hidden layers": small_student(precision="bfloat16", epochs=2, objective=Contrastive(embedding=8)),
}


@pytest.mark.parametrize("config", MODES_OF_RESUME.values(), ids=MODES_OF_RESUME.keys())
def test_a_run_in_bfloat16_goes_on_from_its_checkpoint_to_the_bit(config: StudentConfig, small: LabeledData) -> None:
    ended = assert_goes_on_to_the_bit(lambda: Trainer(config, {SMALL: small}, Ensemble([network(5)]), CPU), 9)
    state = ended.state_dict()
    for part in ("network", *(["beside"] if "beside" in state else [])):
        for name, tensor in state[part].items():
            assert tensor.dtype != torch.bfloat16, name
    momenta = [of["momentum_buffer"] for of in state["optimizer"]["state"].values()]
    assert momenta and all(momentum.dtype == torch.float32 for momentum in momenta)


def test_micro_batches_in_bfloat16_add_up_in_float32(small: LabeledData) -> None:
    """LayerNorm has no batch statistics, so the pieces' gradients add up to the whole batch's, up to rounding."""
    model = PreResNet(depth=8, norm="layer")
    moved = []
    for size in (None, 40):
        config = small_teacher(
            precision="bfloat16", model=model, micro_batch_size=size, batch_size=200, epochs=1, schedule=Constant()
        )
        trainer = Trainer(config, {SMALL: small}, None, CPU)
        start = torch.cat([p.detach().reshape(-1) for p in trainer.network.parameters()])
        trainer.advance(lambda: False)
        moved.append(torch.cat([p.detach().reshape(-1) for p in trainer.network.parameters()]) - start)
    assert (moved[0] - moved[1]).norm() < 0.02 * moved[0].norm()


def test_teachers_are_asked_in_the_runs_mode_and_metrics_are_those_of_float32(small: LabeledData) -> None:
    teacher = network(5).eval()
    trainer = Trainer(small_student(precision="bfloat16", epochs=1), {SMALL: small}, Ensemble([teacher]), CPU)
    inputs = trainer.examples.inputs.float() / 127.5 - 1
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = teacher(inputs)
    assert trainer.loss.teacher_logits is not None and trainer.loss.teacher_logits.dtype == torch.float32
    torch.testing.assert_close(trainer.loss.teacher_logits[0], rounded.float(), rtol=0.02, atol=0.02)
    assert torch.equal(trainer.loss.teacher_logits, trainer.loss.teacher_logits.bfloat16().float())
    trainer.advance(lambda: False)
    with torch.no_grad():
        logits = trainer.network.eval()(small.test.inputs.float() / 127.5 - 1)
        teachers = F.log_softmax(teacher(small.test.inputs.float() / 127.5 - 1), dim=1)
    result = trainer.result()
    torch.testing.assert_close(result.tensors["predictions"]["test_logits"], logits, rtol=1e-5, atol=1e-5)
    assert trainer.test_set.teacher_logits is not None
    torch.testing.assert_close(trainer.test_set.teacher_logits, teachers, rtol=1e-5, atol=1e-5)


def test_hidden_layers_are_compared_in_float32(small: LabeledData, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    distance = Hint.hidden_distance

    def watch(own: Hint, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList) -> Tensor:
        result = distance(own, student, teacher, modules)
        seen.extend([*(layer.dtype for layer in (*student, *teacher)), modules(student)[0].dtype, result.dtype])
        return result

    monkeypatch.setattr(nn.ModuleList, "forward", lambda self, layers: [self[0](layers[0])], raising=False)
    monkeypatch.setattr(Hint, "hidden_distance", watch)
    config = small_student(precision="bfloat16", objective=Hint())
    trainer = Trainer(config, {SMALL: small}, Ensemble([network(5)]), CPU)
    trainer.advance(lambda: True)
    assert seen == [torch.float32] * 4


@pytest.mark.slow
def test_every_architecture_trains_in_bfloat16(build: Build, images: Tensor) -> None:  # noqa: F811
    torch.manual_seed(0)
    net = build().train()
    plain = copy.deepcopy(net)
    with Precision("bfloat16", CPU).networks():
        logits = net(images)
    F.cross_entropy(logits.float(), torch.arange(4)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name
    plain(images)
    for (name, ours), exact in zip(net.named_buffers(), plain.buffers(), strict=True):
        assert ours.dtype == exact.dtype, name


def test_batch_norms_statistics_are_those_of_its_inputs_in_float32() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=1.0))
    inputs = torch.randn(64, 3, 8, 8) + 3.0
    with Precision("bfloat16", CPU).networks():
        normalised = layers[0](inputs)
        layers[1](normalised)
    assert normalised.dtype == torch.bfloat16
    exact = normalised.double()
    torch.testing.assert_close(layers[1].running_mean.double(), exact.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(layers[1].running_var.double(), exact.var((0, 2, 3)), rtol=1e-5, atol=1e-6)


def tf32_is_on() -> bool:
    switches: set[bool] = {torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32}
    assert len(switches) == 1
    return switches.pop()


@pytest.mark.parametrize("micro_batch_size", [None, 12])
def test_tf32_is_on_in_the_networks_and_the_backward_pass_of_a_step_and_nowhere_else(
    small: LabeledData, micro_batch_size: int | None
) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    config = small_student(precision="tfloat32", epochs=1, micro_batch_size=micro_batch_size)
    trainer = Trainer(config, {SMALL: small}, Ensemble([network(5)]), CPU)
    assert trainer.teachers is not None and not tf32_is_on()
    trainer.loss.teacher_logits = None  # ask the teacher at every step
    seen: dict[str, set[bool]] = {"student": set(), "teacher": set(), "backward": set(), "optimizer": set()}
    trainer.network.register_forward_hook(lambda *_: seen["student"].add(tf32_is_on()))
    trainer.teachers.members[0].register_forward_hook(lambda *_: seen["teacher"].add(tf32_is_on()))
    next(trainer.network.parameters()).register_hook(lambda _: seen["backward"].add(tf32_is_on()))
    trainer.optimizer.register_step_pre_hook(lambda *_: seen["optimizer"].add(tf32_is_on()))
    trainer.advance(lambda: False)
    assert seen == {"student": {True}, "teacher": {True}, "backward": {True}, "optimizer": {False}}
    seen["student"].clear()
    trainer.row()
    assert seen["student"] == {False} and not tf32_is_on()


def test_tf32_is_refused_on_the_cpu_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "repro: config key 'precision' is 'tfloat32', which needs a CUDA device; valid here: bfloat16, float32\n"
    here = ["preset=smoke", "precision=tfloat32", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    assert main(["run", "digits", *here]) == 2
    assert capsys.readouterr().err.endswith(message)
    assert main(["launch", "sweeps/digits.yaml", *here]) == 2
    assert capsys.readouterr().err.endswith(message)
    assert not (tmp_path / "runs").exists()
    config: RunConfig = small_teacher(precision="tfloat32")
    with pytest.raises(BadInput, match="needs a CUDA device"):
        runner(tmp_path / "runs").make(config, "a worker's")
    assert not (tmp_path / "runs").exists()


def test_a_study_runs_in_bfloat16_teachers_too_and_a_sweep_takes_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ["--device", "cpu", "--runs", str(tmp_path)]
    settings = ["preset=smoke", "images=300", "precision=bfloat16", "teachers.precision=bfloat16"]
    assert main(["run", "digits", *settings, *runs]) == 0
    records = Store(tmp_path).runs()
    assert sorted((record.config().kind, record.config().precision) for record in records) == [
        ("student", "bfloat16"),
        ("teacher", "bfloat16"),
    ]
    capsys.readouterr()
    sweep = ["sweeps/digits.yaml", "preset=smoke", "images=300", "trial=0", "precision=[float32, bfloat16]"]
    assert main(["launch", *sweep, "--dry-run", *runs]) == 0
    assert "3 runs" in capsys.readouterr().out  # the teacher in float32 is shared


def test_the_mode_is_part_of_the_run_and_the_default_is_float32() -> None:
    plain = small_student()
    assert plain.precision == "float32"
    ids = {override(plain, {"precision": mode}).run_id for mode in ("float32", "tfloat32", "bfloat16")}
    ids.add(override(plain, {"teachers.precision": "bfloat16"}).run_id)
    assert plain.run_id in ids and len(ids) == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", ["tfloat32", "bfloat16"])
def test_on_a_gpu_a_mode_rounds_and_goes_on_from_its_checkpoint_like_an_uninterrupted_run(
    mode: str, small: LabeledData
) -> None:
    use_exact_kernels()
    cuda = torch.device("cuda")

    def losses(precision: str, stop_at: int) -> Tensor:
        config = small_student(precision=precision, epochs=1, model=PreResNet(depth=8))
        trainer = stopped(Trainer(config, {SMALL: small}, Ensemble([network(5)]), cuda), stop_at)
        second = Trainer(config, {SMALL: small}, Ensemble([network(5)]), cuda)
        second.load_state_dict(trainer.state_dict())
        second.advance(lambda: False)
        return second.losses.cpu()

    torch.testing.assert_close(losses(mode, 3), losses(mode, 0), rtol=1e-3, atol=1e-3)
    assert not torch.equal(losses(mode, 0), losses("float32", 0))
    torch.testing.assert_close(losses(mode, 0), losses("float32", 0), rtol=0.1, atol=0.1)
