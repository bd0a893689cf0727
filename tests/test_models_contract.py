"""What every network promises, whatever its architecture; and that stages are captured faithfully."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from repro.errors import BadInput
from repro.models.base import Model, Staged
from repro.models.lenet import LeNet5
from repro.models.lstm import LSTM
from repro.models.preresnet import PreResNet
from repro.models.resnet import ResNet
from repro.models.stages import capture_stages
from repro.models.transformer import Transformer
from repro.models.vgg import VGG

MODELS: dict[str, tuple[Model, tuple[int, ...]]] = {
    "lenet5": (LeNet5(), (1, 28, 28)),
    "basic": (PreResNet(depth=8), (3, 16, 16)),
    "bottleneck": (PreResNet(depth=47), (1, 8, 8)),
    "layer norm": (PreResNet(depth=8, norm="layer"), (3, 16, 16)),
    "plain": (PreResNet(depth=8, skip_connections=False), (3, 16, 16)),
    "vgg": (VGG(), (3, 32, 32)),
    "lstm": (LSTM(embedding=6, cell=5), (7, 12)),
    "transformer": (Transformer(width=8, heads=2, feedforward=12), (7, 12)),
    "resnet": (ResNet(depth=18), (3, 64, 64)),
}

FIRST_BIASES = {
    "lenet5": 0.0476739,
    "basic": -0.0443418,
    "bottleneck": 0.0488604,
    "layer norm": -0.0443418,
    "plain": -0.0741259,
    "vgg": 0.0117536,
    "lstm": 0.0833873,
    "transformer": -0.3401177,
    "resnet": -0.0262130,
}
"""The classifier's first bias, which is drawn after nearly all other weights, at seed 0."""

Build = Callable[[], nn.Module]


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[Model, tuple[int, ...]]:
    return MODELS[request.param]


@pytest.fixture
def build(case: tuple[Model, tuple[int, ...]]) -> Build:
    model, input_shape = case
    return lambda: model.build(5, input_shape)


@pytest.fixture
def images(case: tuple[Model, tuple[int, ...]]) -> Tensor:
    """Four inputs of the network; for one that reads texts rows of token numbers, some of them padding."""
    model, shape = case
    generator = torch.Generator().manual_seed(1)
    if model.input_kind == "texts":
        tokens, words = shape
        return torch.randint(words, (4, tokens), generator=generator).sort(dim=1, descending=True).values
    return torch.randn(4, *shape, generator=generator)


def test_the_seed_fixes_the_weights_and_another_seed_changes_them(build: Build) -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build().parameters())

    first = weights(0)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_gives_the_weights_that_earlier_records_started_from(name: str) -> None:
    """Other or additional draws would change results, and starts near a teacher's initial weights, but no run id."""
    model, shape = MODELS[name]
    torch.manual_seed(0)
    *_, last = (m for m in model.build(5, shape).get_submodule(model.classifier).modules() if isinstance(m, nn.Linear))
    assert last.bias[0].item() == pytest.approx(FIRST_BIASES[name], abs=1e-6)


@pytest.mark.parametrize(
    ("model", "shape", "part"),
    [
        (LeNet5(), (1, 28, 28), ""),
        (PreResNet(depth=20), (3, 32, 32), "classifier"),
        (VGG(), (3, 32, 32), "classifier"),
        (LSTM(), (100, 50), "classifier"),
    ],
)
def test_what_has_torchs_default_initialization_is_uniform_within_one_over_the_root_of_the_fan_in(
    model: Model, shape: tuple[int, ...], part: str
) -> None:
    torch.manual_seed(0)
    layers = [m for m in model.build(100, shape).get_submodule(part).modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers:
        for values in (layer.weight, layer.bias):
            assert values is not None
            scaled = values.detach() * layer.weight[0].numel() ** 0.5
            assert scaled.abs().max() <= 1.0
            # The variance of U[-1, 1] is 1/3, and that of its square 4/45.
            assert abs(scaled.square().mean().item() - 1 / 3) < 4 * (4 / 45 / scaled.numel()) ** 0.5
    assert len(layers) == {"lenet5": 5, "preresnet": 1, "vgg": 3, "lstm": 1}[model.name]


def test_every_parameter_gets_a_gradient(build: Build, images: Tensor) -> None:
    torch.manual_seed(0)
    network = build().train()
    parameters = dict(network.named_parameters())
    loss = F.cross_entropy(network(images), torch.arange(4))
    for name, gradient in zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True):
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


def test_predictions_of_the_evaluated_network_are_independent_of_the_batch(build: Build, images: Tensor) -> None:
    torch.manual_seed(0)
    network = build()
    with torch.no_grad():
        network.train()(images)  # moves the running statistics off their initial values
        network.eval()
        together = network(images)
        alone = torch.cat([network(image.unsqueeze(0)) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_state_dict_carries_the_whole_function(build: Build, images: Tensor) -> None:
    torch.manual_seed(0)
    trained, restored = build(), build()
    with torch.no_grad():
        trained.train()(images)
        restored.load_state_dict(trained.state_dict())
        assert torch.equal(restored.eval()(images), trained.eval()(images))


def test_a_functional_call_uses_the_given_weights_and_keeps_the_networks_own(build: Build, images: Tensor) -> None:
    torch.manual_seed(0)
    host, guest = build().eval(), build().eval()
    with torch.no_grad():
        own = host(images)
        assert torch.equal(functional_call(host, dict(guest.state_dict()), (images,)), guest(images))
        assert torch.equal(host(images), own)


def test_channels_last_memory_gives_the_same_logits(build: Build, images: Tensor) -> None:
    torch.manual_seed(0)
    network = build().eval()
    with torch.no_grad():
        expected = network(images)
        network.to(memory_format=torch.channels_last)
        logits = network(images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def stem(network: nn.Module) -> nn.Module:
    """What comes before the first stage."""
    if hasattr(network, "maxpool"):  # torchvision's ResNet
        return nn.Sequential(*(network.get_submodule(name) for name in ("conv1", "bn1", "relu", "maxpool")))
    return network.get_submodule("stem") if hasattr(network, "stem") else nn.Identity()


def test_captured_stages_equal_the_submodules_called_one_after_another(build: Build, images: Tensor) -> None:
    torch.manual_seed(0)
    network = build().eval()
    assert isinstance(network, Staged)
    with torch.no_grad(), capture_stages(network) as captured:
        network(images)
        x = stem(network)(images)
        expected = {}
        for stage in network.stages:
            expected[stage] = network.get_submodule(stage)(x.flatten(1) if stage == "hidden" else x).clone()
            x = expected[stage]
    assert list(captured) == list(network.stages)
    for stage, output in captured.items():
        assert torch.equal(output, expected[stage])


def lenet() -> nn.Module:
    return LeNet5().build(10, (1, 28, 28))


def test_each_forward_pass_replaces_what_was_captured() -> None:
    network = lenet()
    with capture_stages(network) as captured:
        network(torch.zeros(1, 1, 28, 28))
        assert {output.shape[0] for output in captured.values()} == {1}
        network(torch.zeros(3, 1, 28, 28))
        assert {output.shape[0] for output in captured.values()} == {3}


def test_captured_tensors_carry_gradients_exactly_if_the_caller_records_them() -> None:
    network = lenet()
    with capture_stages(network) as captured:
        with torch.no_grad():
            network(torch.randn(2, 1, 28, 28))
        assert not any(output.requires_grad for output in captured.values())
        network(torch.randn(2, 1, 28, 28))
        assert all(output.requires_grad for output in captured.values())
        first_weight = next(network.parameters())
        (gradient,) = torch.autograd.grad(captured["hidden"].sum(), first_weight)
    assert gradient.any()


def test_nothing_is_captured_after_the_block_ended() -> None:
    network = lenet()
    with capture_stages(network) as captured:
        pass
    network(torch.zeros(1, 1, 28, 28))
    assert captured == {}


def test_nothing_is_captured_after_the_block_failed() -> None:
    network = lenet()
    with pytest.raises(ZeroDivisionError), capture_stages(network) as captured:
        raise ZeroDivisionError
    network(torch.zeros(1, 1, 28, 28))
    assert captured == {}


def test_nested_captures_do_not_disturb_each_other() -> None:
    network = lenet()
    with capture_stages(network) as outer:
        with capture_stages(network) as inner:
            network(torch.zeros(1, 1, 28, 28))
        network(torch.zeros(3, 1, 28, 28))
    assert inner["hidden"].shape[0] == 1
    assert outer["hidden"].shape[0] == 3


class Misnamed(nn.Module):
    stages = ("body", "neck")

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2)


def test_a_stage_that_does_not_exist_is_named_with_its_network() -> None:
    with pytest.raises(BadInput, match="Misnamed has no submodule 'neck'"), capture_stages(Misnamed()):
        pass


def test_a_network_without_stages_is_refused() -> None:
    with pytest.raises(BadInput, match="Linear does not name its stages"), capture_stages(nn.Linear(2, 2)):
        pass
