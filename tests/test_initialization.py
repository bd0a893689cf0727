"""Starting points between a random network and a teacher."""

from pathlib import Path
from typing import Any

import pytest
import torch
from runs import SMALL, small_student, small_teacher
from torch import nn

from repro.config import StudentConfig
from repro.config.override import override
from repro.data.augment_geometric import RandomCrop
from repro.distill.ensemble import Ensemble
from repro.distill.initialization import Interpolated, Random, interpolate_into
from repro.errors import BadInput
from repro.models.preresnet import PreResNet
from repro.training.start import initial_network
from repro.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A teacher with weights and BatchNorm statistics of its own."""
    trainer = Trainer(small_teacher(epochs=1), {SMALL: SMALL.load(Path())}, None, CPU)
    trainer.advance(lambda: False)
    return trainer.network


def floats(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def student(**start: Any) -> StudentConfig:
    return small_student(init=Interpolated(**({"batch_norm": "kept"} | start)))


def test_the_ends_are_exactly_the_random_network_and_the_teacher(trained: nn.Module) -> None:
    random = floats(initial_network(small_student(init=Random()), None))
    for weight, expected in ((0.0, random), (1.0, floats(trained))):
        start = floats(initial_network(student(weight=weight), Ensemble([trained])))
        assert all(torch.equal(start[name], expected[name]) for name in expected), weight


def test_weight_is_the_teachers_and_every_parameter_and_buffer_moves(trained: nn.Module) -> None:
    random = floats(initial_network(small_student(init=Random()), None))
    start = floats(initial_network(student(weight=0.25), Ensemble([trained])))
    assert any("running_var" in name for name in start)
    for name, tensor in floats(trained).items():
        expected = 0.25 * tensor.double() + 0.75 * random[name].double()
        torch.testing.assert_close(start[name].double(), expected, rtol=1e-6, atol=1e-7)


def test_the_teachers_initial_weights_are_those_its_own_training_started_from(trained: nn.Module) -> None:
    teacher_start = floats(Trainer(small_teacher(), {SMALL: SMALL.load(Path())}, None, CPU).network)
    start = floats(initial_network(student(weight=1.0, endpoint="initial"), Ensemble([trained])))
    assert all(torch.equal(start[name], tensor) for name, tensor in teacher_start.items())


def test_the_teacher_itself_is_left_alone(trained: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    initial_network(student(weight=0.5), Ensemble([trained]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())


def test_batch_norm_is_reestimated_by_one_pass_over_the_augmented_images(trained: nn.Module) -> None:
    """Against a plain average over batches, computed by hand for the first BatchNorm of the network."""
    init = Interpolated(weight=1.0, batch_norm="reestimated")
    config = small_student(init=init, augmentation=(RandomCrop(padding=1),), batch_size=50)
    trainer = Trainer(config, {SMALL: SMALL.load(Path())}, Ensemble([trained]), CPU)
    kept = floats(initial_network(student(weight=1.0), Ensemble([trained])))
    estimated = floats(trainer.network)
    moved = {name for name in kept if not torch.equal(kept[name], estimated[name])}
    assert moved == {name for name in kept if "running" in name}

    generator = torch.Generator().manual_seed(config.stream_seed("batch norm"))
    order = torch.randperm(200, generator=torch.Generator().manual_seed(config.stream_seed("batch norm")))
    first_norm = next(name for name, module in trainer.network.named_modules() if isinstance(module, nn.BatchNorm2d))
    inputs: list[torch.Tensor] = []
    handle = trainer.network.get_submodule(first_norm).register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad():
        for rows in order.split(50):
            images = RandomCrop(padding=1)(trainer.examples.inputs[rows] / 255.0, generator)
            trainer.network.train()(images * 2 - 1)
    handle.remove()
    means = torch.stack([batch.double().mean((0, 2, 3)) for batch in inputs]).mean(0)
    variances = torch.stack([batch.double().var((0, 2, 3), unbiased=True) for batch in inputs]).mean(0)
    torch.testing.assert_close(estimated[f"{first_norm}.running_mean"].double(), means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(estimated[f"{first_norm}.running_var"].double(), variances, rtol=1e-4, atol=1e-5)
    assert all(m.momentum == 0.1 for m in trainer.network.modules() if isinstance(m, nn.BatchNorm2d))


def test_weights_of_several_names_and_integer_buffers_are_the_teachers_in_their_measure() -> None:
    def tied(value: float) -> nn.Module:
        first, second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.constant_(first.weight, value)
        second.weight = first.weight
        network = nn.Sequential(first, second)
        network.register_buffer("places", torch.tensor([int(value)]))
        return network

    for weight, expected, places in ((0.5, 2.0, 0), (0.75, 3.0, 0), (1.0, 4.0, 4)):
        network = tied(0.0)
        interpolate_into(network, tied(4.0), weight)
        assert [tensor.item() for tensor in network.state_dict().values()] == [places, expected, expected]


def test_a_mismatch_names_the_entry() -> None:
    network = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"'0\.weight': shapes \(3, 2\) and \(3, 4\)"):
        interpolate_into(network, nn.Sequential(nn.Linear(4, 3)), 0.5)
    with pytest.raises(ValueError, match=r"'0\.bias' is in only one"):
        interpolate_into(network, nn.Sequential(nn.Linear(2, 3, bias=False)), 0.5)


def test_a_config_asks_for_one_teacher_of_the_same_architecture() -> None:
    with pytest.raises(ValueError, match="exactly one teacher, of the student's own architecture"):
        small_student(init=Interpolated(weight=0.5), model=PreResNet(depth=14))
    with pytest.raises(ValueError, match="exactly one teacher"):
        small_student(init=Interpolated(weight=0.5), teachers=(small_teacher(), small_teacher(seed=1)))
    with pytest.raises(BadInput, match="a teacher cannot start from init interpolated"):
        override(small_teacher(), {"init": {"name": "interpolated", "weight": 0.5}})
