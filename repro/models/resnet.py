"""ResNet for large images (He et al. 2016, arXiv 1512.03385), as torchvision builds it."""

from typing import ClassVar, Literal

from torch import nn

from repro.errors import BadInput
from repro.models.base import Model

STAGES = ("layer1", "layer2", "layer3", "layer4")
DOWNSAMPLING = 32
"""The factor by which the last stage's output is smaller than the image along each side."""


class ResNet(Model):
    """torchvision's ResNet-`depth`, from random weights. ResNet-50 has 25,557,032 parameters with 1,000 classes.

    From depth 50 on it is the "v1.5" variant, in which the 3x3 convolutions of the bottlenecks have the stride. Its
    stages are the four groups of blocks.
    """

    name: Literal["resnet"] = "resnet"
    classifier: ClassVar[str] = "fc"
    depth: Literal[18, 34, 50, 101, 152] = 50

    def build(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        import torchvision  # imported here: it takes seconds, and no other network needs it

        channels, height, width = input_shape
        if channels != 3 or min(height, width) < DOWNSAMPLING:
            raise BadInput(
                f"model resnet fits colour images of at least {DOWNSAMPLING}x{DOWNSAMPLING} pixels, "
                f"not {channels} channels of {height}x{width}"
            )
        network: nn.Module = torchvision.models.get_model(f"resnet{self.depth}", num_classes=num_classes)
        network.stages = STAGES  # type: ignore[assignment]
        return network
