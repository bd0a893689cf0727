"""LeNet-5 with ReLU for small images (after LeCun et al. 1998, doi:10.1109/5.726791)."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from repro.errors import BadInput
from repro.models.base import Model


class LeNetNetwork(nn.Module):
    """Two convolutions with average pooling, then fully connected layers of 120, 84 and `num_classes` units.

    All layers but the last are `width` times as wide. The stages are the two pooled feature maps (6x14x14 and 16x5x5)
    and the 84 hidden units, each `width` times as wide and all after their ReLU. A convolutional stage ends after the
    pooling, so no in-place ReLU can overwrite its output.
    """

    stages: tuple[str, ...] = ("stage1", "stage2", "hidden")

    def __init__(self, num_classes: int, channels: int, padding: int, width: int = 1) -> None:
        super().__init__()
        # In-place ReLU: allocating new feature maps would cost about a fifth of the training speed on a CPU.
        self.stage1 = nn.Sequential(
            nn.Conv2d(channels, 6 * width, 5, padding=padding), nn.ReLU(inplace=True), nn.AvgPool2d(2)
        )
        self.stage2 = nn.Sequential(nn.Conv2d(6 * width, 16 * width, 5), nn.ReLU(inplace=True), nn.AvgPool2d(2))
        self.hidden = nn.Sequential(
            nn.Linear(16 * width * 5 * 5, 120 * width),
            nn.ReLU(inplace=True),
            nn.Linear(120 * width, 84 * width),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(84 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stage2(self.stage1(images))
        logits: Tensor = self.classifier(self.hidden(features.flatten(1)))
        return logits


class LeNet5(Model):
    """LeNet-5 with torch's default initialization: 61,706 parameters for grey images and 10 classes.

    Images have 32x32 pixels, as in LeCun et al., or 28x28, which the first convolution pads to 32x32 with zeros.
    `width` multiplies the channels and units of every hidden layer.
    """

    later_fields: ClassVar[frozenset[str]] = frozenset({"width"})

    name: Literal["lenet5"] = "lenet5"
    width: int = Field(default=1, ge=1)

    def build(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        channels, height, width = input_shape
        paddings = {(28, 28): 2, (32, 32): 0}
        if (height, width) not in paddings:
            raise BadInput(f"model lenet5 fits images of 28x28 or 32x32 pixels, not {height}x{width}")
        return LeNetNetwork(num_classes, channels, paddings[height, width], self.width)
