"""LeNet-5 with ReLU for 28x28 images (after LeCun et al. 1998, doi:10.1109/5.726791)."""

from typing import Literal

from torch import Tensor, nn

from repro.errors import BadInput
from repro.models.base import Model


class LeNetNetwork(nn.Module):
    """Two convolutions with average pooling, then fully connected layers of 120, 84 and `num_classes` units.

    Its stages are what each part hands on: the two pooled feature maps (6x14x14 and 16x5x5) and the 84
    hidden units, all after their ReLU. A stage ends after the pooling, so no in-place ReLU can overwrite it.
    """

    stages: tuple[str, ...] = ("stage1", "stage2", "hidden")

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        # ReLU in place: allocating the feature maps anew costs about a fifth of the training speed on CPU.
        self.stage1 = nn.Sequential(nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(inplace=True), nn.AvgPool2d(2))
        self.stage2 = nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.AvgPool2d(2))
        self.hidden = nn.Sequential(
            nn.Linear(16 * 5 * 5, 120), nn.ReLU(inplace=True), nn.Linear(120, 84), nn.ReLU(inplace=True)
        )
        self.classifier = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stage2(self.stage1(images))
        logits: Tensor = self.classifier(self.hidden(features.flatten(1)))
        return logits


class LeNet5(Model):
    """LeNet-5: 61,706 parameters for grey images and 10 classes. Torch's default initialization."""

    name: Literal["lenet5"] = "lenet5"

    def build(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        channels, height, width = input_shape
        if (height, width) != (28, 28):
            raise BadInput(f"model lenet5 fits images of 28x28 pixels, not {height}x{width}")
        return LeNetNetwork(num_classes, channels)
