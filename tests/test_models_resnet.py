"""torchvision's ResNet as a network of the suite."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from runs import runner, small_teacher
from torch import nn

from repro.config import DataConfig, Selection, TeacherConfig
from repro.data.synthetic import Synthetic
from repro.errors import BadInput
from repro.models.base import count_parameters
from repro.models.preresnet import PreResNet
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


def test_a_batch_of_one_image_that_batch_norm_cannot_normalise_is_found_before_the_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(**changes: Any) -> TeacherConfig:
        data = DataConfig(train=Selection(dataset=Synthetic(images=33, image_size=32)))
        return small_teacher(**{"data": data, "model": ResNet(depth=18), "batch_size": 32} | changes)

    check = runner(tmp_path).check
    check([config(last_batch="drop"), config(batch_size=31), config(model=PreResNet(depth=8))])
    for changes in ({}, {"batch_size": 33, "micro_batch_size": 16}):
        with pytest.raises(BadInput, match="resnet cannot train on a batch of one image, which every epoch has"):
            check([config(last_batch="drop", batch_size=33), config(**changes)])

    def averaging(*_: object) -> nn.Module:
        """One whose training looks at a value: how many batches there were."""
        return nn.Sequential(nn.BatchNorm2d(3, momentum=None), nn.Flatten(), nn.Linear(3 * 32 * 32, 10))

    monkeypatch.setattr(PreResNet, "build", averaging)
    check([config(model=PreResNet(depth=8))])
