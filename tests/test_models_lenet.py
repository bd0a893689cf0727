"""LeNet-5 against its parameter count and a forward pass written with functions alone."""

import pytest
import torch
import torch.nn.functional as F

from repro.errors import BadInput
from repro.models.base import count_parameters
from repro.models.lenet import LeNet5
from repro.models.stages import capture_stages


def test_parameter_count_is_the_sum_over_the_described_layers() -> None:
    described = (25 * 1 + 1) * 6 + (25 * 6 + 1) * 16 + 401 * 120 + 121 * 84 + 85 * 10
    assert count_parameters(LeNet5().build(10, (1, 28, 28))) == described == 61_706


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 28), (3, 32)])
def test_the_forward_pass_equals_one_written_with_functions(channels: int, size: int) -> None:
    torch.manual_seed(0)
    network = LeNet5().build(10, (channels, size, size)).double()
    conv1, b1, conv2, b2, fc1, b3, fc2, b4, fc3, b5 = network.state_dict().values()
    images = torch.randn(5, channels, size, size, dtype=torch.float64)
    padded = images if size == 32 else F.pad(images, (2, 2, 2, 2))
    x = F.conv2d(padded, conv1, b1).clamp(min=0)
    first = x.reshape(5, 6, 14, 2, 14, 2).mean(dim=(3, 5))
    x = F.conv2d(first, conv2, b2).clamp(min=0)
    second = x.reshape(5, 16, 5, 2, 5, 2).mean(dim=(3, 5))
    x = (second.reshape(5, 400) @ fc1.T + b3).clamp(min=0)
    hidden = (x @ fc2.T + b4).clamp(min=0)
    with capture_stages(network) as stages:
        logits = network(images)
    torch.testing.assert_close(logits, hidden @ fc3.T + b5)
    for captured, expected in zip(stages.values(), (first, second, hidden), strict=True):
        torch.testing.assert_close(captured, expected)


@pytest.mark.parametrize("size", [(32, 28), (8, 8), (28, 27)])
def test_other_image_sizes_are_refused_with_what_fits(size: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match=f"28x28 or 32x32 pixels, not {size[0]}x{size[1]}"):
        LeNet5().build(10, (1, *size))
