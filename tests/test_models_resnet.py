"""torchvision's ResNet as a network of the suite."""

import pytest
import torch
import torchvision

from repro.errors import BadInput
from repro.models.base import count_parameters
from repro.models.resnet import ResNet


def test_resnet_50_is_torchvisions_with_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = ResNet().build(1000, (3, 224, 224))
        reference = torchvision.models.resnet50()
    assert count_parameters(network) == 25_557_032
    assert list(network.state_dict()) == list(reference.state_dict())


def test_it_starts_from_random_weights_that_the_seed_fixes() -> None:
    torch.manual_seed(3)
    network = ResNet(depth=18).build(10, (3, 64, 64))
    torch.manual_seed(3)
    reference = torchvision.models.resnet18(num_classes=10)
    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 31, 64)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=f"not {shape[0]} channels of {shape[1]}x64"):
        ResNet().build(10, shape)
