"""VGG for 32x32 images (Simonyan and Zisserman 2015, arXiv:1409.1556), as in the paper's appendix C.2."""

from typing import Literal

from torch import Tensor, nn

from repro.errors import BadInput
from repro.models.base import Model

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS_PER_STAGE = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _stage(in_channels: int, width: int, convolutions: int, batch_norm: bool) -> nn.Sequential:
    """3x3 convolutions, each followed by (batch norm and) ReLU, then 2x2 max-pooling."""
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        convolution = nn.Conv2d(in_channels, width, 3, padding=1)
        # Without batch norm, torch's default weights would shrink the signal layer by layer.
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        layers.append(convolution)
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
        in_channels = width
    return nn.Sequential(*layers, nn.MaxPool2d(2))


class VGGNetwork(nn.Module):
    """Five stages down to 512x1x1, then the classifier.

    The classifier is two hidden layers of 512 units with ReLU, each preceded by dropout 0.5, and a linear output, with
    torch's default initialization. The hidden layers replace the two 4096-unit layers of the ImageNet network. The
    stages' outputs are those of the five max-poolings.
    """

    stages: tuple[str, ...] = ("stage1", "stage2", "stage3", "stage4", "stage5")

    def __init__(self, depth: Literal[16, 19], batch_norm: bool, num_classes: int, channels: int) -> None:
        super().__init__()
        in_channels = channels
        for name, width, convolutions in zip(self.stages, WIDTHS, CONVOLUTIONS_PER_STAGE[depth], strict=True):
            self.add_module(name, _stage(in_channels, width, convolutions, batch_norm))
            in_channels = width
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        features = images
        for stage in self.stages:
            features = self.get_submodule(stage)(features)
        logits: Tensor = self.classifier(features.flatten(1))
        return logits


class VGG(Model):
    """VGG-`depth`. Figure 13 uses depth 16 without batch norm: 15,291,300 parameters with 100 classes."""

    name: Literal["vgg"] = "vgg"
    depth: Literal[16, 19] = 16
    batch_norm: bool = False

    def build(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        channels, height, width = input_shape
        if (height, width) != (32, 32):
            raise BadInput(f"model vgg fits images of 32x32 pixels, not {height}x{width}")
        return VGGNetwork(self.depth, self.batch_norm, num_classes, channels)
