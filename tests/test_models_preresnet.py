"""PreResNet against the paper's parameter counts, a forward pass written out by hand, and its properties."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from repro.errors import BadInput
from repro.models.base import count_parameters
from repro.models.preresnet import PreResNet
from repro.models.stages import capture_stages

VALID_DEPTHS = (8, 14, 20, 26, 32, 38, 47, 56, 65)


def on_meta(model: PreResNet, num_classes: int = 100, channels: int = 3) -> nn.Module:
    with torch.device("meta"):
        return model.build(num_classes, (channels, 32, 32))


def expected_parameters(depth: int, num_classes: int, channels: int) -> int:
    """Counted from the paper's description, block by block."""
    total, incoming = 9 * channels * 16, 16
    for width in (16, 32, 64):
        if depth < 44:
            blocks, outgoing = (depth - 2) // 6, width
            inner = 9 * width * width + 2 * width  # second convolution and its norm
        else:
            blocks, outgoing = (depth - 2) // 9, 4 * width
            inner = 2 * width + 9 * width * width + 2 * width + width * outgoing
        for _ in range(blocks):
            first = 2 * incoming + incoming * width * (9 if depth < 44 else 1)
            shortcut = incoming * outgoing if incoming != outgoing else 0
            total += first + inner + shortcut
            incoming = outgoing
    return total + 2 * incoming + (incoming + 1) * num_classes


def randomize_norms(network: nn.Module) -> None:
    """Give every norm layer scales, shifts and running statistics other than the neutral ones."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)


def normalized(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    if f"{name}.running_mean" in state:
        mean = state[f"{name}.running_mean"].view(1, -1, 1, 1)
        variance = state[f"{name}.running_var"].view(1, -1, 1, 1)
    else:
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        variance = (x - mean).square().mean(dim=(1, 2, 3), keepdim=True)
    scale, shift = (state[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias"))
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def forward_by_hand(state: dict[str, Tensor], depth: int, images: Tensor) -> Tensor:
    """Evaluation-mode logits from the state dict alone, with skip connections."""
    kernels = (3, 3) if depth < 44 else (1, 3, 1)
    blocks = (depth - 2) // (3 * len(kernels))
    strided = kernels.index(3)
    x = F.conv2d(images, state["stem.weight"], padding=1)
    for stage in (1, 2, 3):
        for block in range(blocks):
            prefix = f"stage{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = x
            for index, kernel in enumerate(kernels):
                y = normalized(state, f"{prefix}.branch.{3 * index}", y).clamp(min=0)
                weight = state[f"{prefix}.branch.{3 * index + 2}.weight"]
                y = F.conv2d(y, weight, padding=kernel // 2, stride=stride if index == strided else 1)
            if block == 0 and x.shape != y.shape:
                x = F.conv2d(x, state[f"{prefix}.shortcut.weight"], stride=stride)
            x = x + y
    x = normalized(state, "head.0", x).clamp(min=0).mean(dim=3).mean(dim=2)
    return x @ state["classifier.weight"].T + state["classifier.bias"]


def test_resnet20_and_resnet56_have_the_papers_parameter_counts() -> None:
    assert count_parameters(on_meta(PreResNet(depth=20))) == 278_132
    assert count_parameters(on_meta(PreResNet(depth=56))) == 613_556


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("depth", [8, 14, 38, 47, 110])
def test_parameter_counts_follow_the_description(depth: int, norm: str) -> None:
    model = PreResNet.model_validate({"depth": depth, "norm": norm})
    network = on_meta(model, num_classes=7, channels=1)
    assert count_parameters(network) == expected_parameters(depth, num_classes=7, channels=1)


def test_a_plain_network_lacks_exactly_the_shortcut_convolutions() -> None:
    basic, bottleneck = PreResNet(depth=20), PreResNet(depth=47)
    plain_basic = PreResNet(depth=20, skip_connections=False)
    plain_bottleneck = PreResNet(depth=47, skip_connections=False)
    difference = count_parameters(on_meta(basic)) - count_parameters(on_meta(plain_basic))
    assert difference == 16 * 32 + 32 * 64
    difference = count_parameters(on_meta(bottleneck)) - count_parameters(on_meta(plain_bottleneck))
    assert difference == 16 * 64 + 64 * 128 + 128 * 256


@pytest.mark.parametrize("depth", VALID_DEPTHS)
def test_every_valid_depth_gives_logits_and_stages_of_the_described_shapes(depth: int) -> None:
    network = on_meta(PreResNet(depth=depth))
    expansion = 1 if depth < 44 else 4
    with capture_stages(network) as stages:
        assert network(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 100)
    assert [tuple(stage.shape) for stage in stages.values()] == [
        (2, 16 * expansion, 32, 32),
        (2, 32 * expansion, 16, 16),
        (2, 64 * expansion, 8, 8),
    ]


def test_all_other_depths_are_refused() -> None:
    accepted = []
    for depth in range(-3, 70):
        try:
            PreResNet(depth=depth)
        except ValidationError:
            continue
        accepted.append(depth)
    assert tuple(accepted) == VALID_DEPTHS


@pytest.mark.parametrize(
    ("depth", "nearest"), [(-9, "8"), (2, "8"), (18, "14 or 20"), (45, "38 or 47"), (109, "101 or 110")]
)
def test_a_refused_depth_is_told_its_nearest_valid_depths(depth: int, nearest: str) -> None:
    with pytest.raises(ValidationError, match=rf"depth {depth}: .* nearest: {nearest} "):
        PreResNet(depth=depth)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 64)])
def test_grey_and_colour_images_from_8x8_fit(shape: tuple[int, int, int]) -> None:
    assert PreResNet(depth=8).build(10, shape)(torch.randn(2, *shape)).shape == (2, 10)


def test_smaller_images_are_refused_with_their_size() -> None:
    with pytest.raises(BadInput, match="at least 8x8 pixels, not 7x32"):
        PreResNet(depth=8).build(10, (3, 7, 32))


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("depth", [14, 47])
def test_the_forward_pass_equals_one_written_out_by_hand(depth: int, norm: str) -> None:
    torch.manual_seed(depth)
    network = PreResNet.model_validate({"depth": depth, "norm": norm}).build(10, (3, 16, 16)).double().eval()
    randomize_norms(network)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = forward_by_hand(network.state_dict(), depth, images)
    torch.testing.assert_close(network(images), expected, rtol=1e-9, atol=1e-9)


def test_layer_norm_predictions_ignore_the_rest_of_the_batch_in_training_mode_and_batch_norm_does_not() -> None:
    torch.manual_seed(0)
    image, one_batch, other_batch = torch.randn(1, 3, 16, 16), *torch.randn(2, 7, 3, 16, 16)

    def prediction_beside(network: nn.Module, others: Tensor) -> Tensor:
        logits: Tensor = network(torch.cat([image, others]))
        return logits[0]

    layer = PreResNet(depth=14, norm="layer").build(10, (3, 16, 16)).train()
    batch = PreResNet(depth=14, norm="batch").build(10, (3, 16, 16)).train()
    torch.testing.assert_close(prediction_beside(layer, one_batch), prediction_beside(layer, other_batch))
    difference = prediction_beside(batch, one_batch) - prediction_beside(batch, other_batch)
    assert difference.abs().max() > 0.01


def test_a_block_whose_last_convolution_is_zero_is_the_identity_with_a_skip_and_zero_without() -> None:
    x = torch.randn(2, 16, 8, 8)
    for skip_connections, expected in [(True, x), (False, torch.zeros_like(x))]:
        network = PreResNet(depth=14, skip_connections=skip_connections).build(10, (3, 8, 8))
        block = network.get_submodule("stage1.1")
        last = [module for module in block.modules() if isinstance(module, nn.Conv2d)][-1]
        nn.init.zeros_(last.weight)
        assert torch.equal(block(x), expected)


def test_skip_connections_add_the_raw_input_and_leave_the_branches_alone() -> None:
    torch.manual_seed(0)
    skip = PreResNet(depth=14).build(10, (3, 8, 8)).eval()
    plain = PreResNet(depth=14, skip_connections=False).build(10, (3, 8, 8)).eval()
    plain.load_state_dict({name: skip.state_dict()[name] for name in plain.state_dict()})
    x = torch.randn(2, 16, 8, 8)
    difference = skip.get_submodule("stage1.0")(x) - plain.get_submodule("stage1.0")(x)
    torch.testing.assert_close(difference, x)


@pytest.mark.parametrize("depth", [20, 47])
def test_convolutions_start_he_normal_by_fan_out_and_norms_start_neutral(depth: int) -> None:
    torch.manual_seed(0)
    network = PreResNet(depth=depth).build(100, (3, 32, 32))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            standardized = module.weight * (module.kernel_size[0] ** 2 * module.out_channels / 2) ** 0.5
            count = standardized.numel()
            assert abs(standardized.mean().item()) < 5 / count**0.5
            assert abs(standardized.std().item() - 1) < 5 / (2 * count) ** 0.5
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.bias, torch.zeros_like(module.bias))
