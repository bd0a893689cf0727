"""VGG against torchvision's convolutional part and the classifier written out by hand."""

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from repro.errors import BadInput
from repro.models.base import count_parameters
from repro.models.stages import capture_stages
from repro.models.vgg import VGG


def convolutional_parameters(depth: int) -> int:
    total, incoming = 0, 3
    for width, layers in zip((64, 128, 256, 512, 512), (2, 2, *3 * [(depth - 7) // 3]), strict=True):
        for _ in range(layers):
            total += (9 * incoming + 1) * width
            incoming = width
    return total


@pytest.mark.parametrize(("depth", "batch_norm"), [(16, False), (19, False), (16, True)])
def test_parameter_counts_follow_the_description(depth: Literal[16, 19], batch_norm: bool) -> None:
    with torch.device("meta"):
        network = VGG(depth=depth, batch_norm=batch_norm).build(100, (3, 32, 32))
    classifier = 2 * 513 * 512 + 513 * 100
    norms = 2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512) if batch_norm else 0
    assert count_parameters(network) == convolutional_parameters(depth) + norms + classifier


@pytest.mark.parametrize(("depth", "batch_norm"), [(16, False), (16, True), (19, False)])
def test_features_equal_torchvisions_and_the_classifier_one_written_by_hand(
    depth: Literal[16, 19], batch_norm: bool
) -> None:
    torch.manual_seed(0)
    network = VGG(depth=depth, batch_norm=batch_norm).build(10, (3, 32, 32)).eval()
    state = list(network.state_dict().items())
    convolutional = [value for name, value in state if not name.startswith("classifier")]
    oracle = make_layers(cfgs["D" if depth == 16 else "E"], batch_norm).eval()
    oracle.load_state_dict(dict(zip(oracle.state_dict(), convolutional, strict=True)))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), capture_stages(network) as stages:
        logits = network(images)
        features = oracle(images)
    torch.testing.assert_close(stages["stage5"], features)
    weight1, bias1, weight2, bias2, weight3, bias3 = (value for name, value in state if "classifier" in name)
    hidden = F.linear(F.linear(features.flatten(1), weight1, bias1).relu(), weight2, bias2).relu()
    torch.testing.assert_close(logits, F.linear(hidden, weight3, bias3))
    assert [tuple(stage.shape[1:]) for stage in stages.values()] == [
        (64, 16, 16),
        (128, 8, 8),
        (256, 4, 4),
        (512, 2, 2),
        (512, 1, 1),
    ]


def test_each_hidden_layer_sees_its_inputs_through_dropout_of_one_half() -> None:
    torch.manual_seed(0)
    network = VGG().build(10, (3, 32, 32)).train()
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 1 / 512)
            nn.init.ones_(module.bias)
    seen: list[torch.Tensor] = []
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    for linear in linears:
        linear.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad(), capture_stages(network) as stages:
        network(torch.randn(8, 3, 32, 32))
    first, second, last = seen
    features = stages["stage5"].flatten(1)
    active = features > 0
    factors = first[active] / features[active]
    assert set(factors.tolist()) == {0.0, 2.0}
    assert abs((factors == 0).float().mean().item() - 0.5) < 5 * 0.5 / factors.numel() ** 0.5
    assert abs((second == 0).float().mean().item() - 0.5) < 5 * 0.5 / second.numel() ** 0.5
    assert bool((last > 0).all())


def test_convolutions_start_he_normal_by_fan_out_with_zero_bias() -> None:
    torch.manual_seed(0)
    for module in VGG().build(10, (3, 32, 32)).modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is not None
            assert not module.bias.any()
            standardized = module.weight * (9 * module.out_channels / 2) ** 0.5
            assert abs(standardized.std().item() - 1) < 5 / (2 * standardized.numel()) ** 0.5


@pytest.mark.parametrize("size", [(28, 28), (64, 64)])
def test_other_image_sizes_are_refused_with_what_fits(size: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match=f"32x32 pixels, not {size[0]}x{size[1]}"):
        VGG().build(10, (3, *size))
