"""Pre-activation residual networks for small images (He et al. 2016, arXiv:1603.05027).

As the paper uses them: a 3x3 convolution to 16 channels; three stages of widths 16, 32 and 64, of which the second and
third halve the resolution; norm, ReLU, mean over pixels, linear classifier. Convolutions have no bias. Below depth 44,
a block is two 3x3 convolutions; from depth 44 on, it is a bottleneck (1x1, 3x3, 1x1) whose output has 4 times the
width. With RGB images and 100 classes, ResNet-20 has 278,132 parameters and ResNet-56 has 613,556.
"""

from itertools import count
from typing import Literal

from pydantic import field_validator
from torch import Tensor, nn

from repro.errors import BadInput
from repro.models.base import Model

Norm = Literal["batch", "layer"]

FIRST_BOTTLENECK_DEPTH = 44
BOTTLENECK_EXPANSION = 4
SMALLEST_IMAGE = 8


def _convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the resolution at stride 1. Its weights are He-normal by fan-out."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def _normalization(kind: Norm, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    # One group: every image is normalised over all of its channels and pixels. Scale and shift are per channel, as in
    # batch norm, so both kinds have the same number of parameters and fit any image size.
    return nn.GroupNorm(1, channels)


class ResidualBlock(nn.Module):
    """shortcut(x) + branch(x), where the branch is norm, ReLU, convolution for each of `convolutions`.

    If the block changes the shape, the shortcut is a 1x1 convolution of the raw input x (not of its normalised
    activation); otherwise it is the identity. Without `skip_connection` the block is branch(x) alone.
    """

    def __init__(self, convolutions: list[nn.Conv2d], stride: int, norm: Norm, skip_connection: bool) -> None:
        super().__init__()
        in_channels, out_channels = convolutions[0].in_channels, convolutions[-1].out_channels
        layers: list[nn.Module] = []
        for convolution in convolutions:
            layers += [_normalization(norm, convolution.in_channels), nn.ReLU(inplace=True), convolution]
        self.branch = nn.Sequential(*layers)
        self.shortcut: nn.Module | None = None
        if skip_connection:
            changes_shape = stride != 1 or in_channels != out_channels
            self.shortcut = _convolution(in_channels, out_channels, 1, stride) if changes_shape else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.branch(x)
        return output if self.shortcut is None else output + self.shortcut(x)


class PreResNetNetwork(nn.Module):
    """The network. Its stages' outputs are those of each stage's last block, before norm and ReLU."""

    stages: tuple[str, ...] = ("stage1", "stage2", "stage3")

    def __init__(self, depth: int, norm: Norm, skip_connections: bool, num_classes: int, image_channels: int) -> None:
        super().__init__()
        bottleneck = depth >= FIRST_BOTTLENECK_DEPTH
        blocks = (depth - 2) // (9 if bottleneck else 6)

        def stage(in_channels: int, width: int, first_stride: int) -> nn.Sequential:
            layers = []
            for index in range(blocks):
                stride = first_stride if index == 0 else 1
                if bottleneck:
                    out_channels = BOTTLENECK_EXPANSION * width
                    convolutions = [
                        _convolution(in_channels, width, 1),
                        _convolution(width, width, 3, stride),
                        _convolution(width, out_channels, 1),
                    ]
                else:
                    out_channels = width
                    convolutions = [
                        _convolution(in_channels, width, 3, stride),
                        _convolution(width, width, 3),
                    ]
                layers.append(ResidualBlock(convolutions, stride, norm, skip_connections))
                in_channels = out_channels
            return nn.Sequential(*layers)

        expansion = BOTTLENECK_EXPANSION if bottleneck else 1
        self.stem = _convolution(image_channels, 16, 3)
        self.stage1 = stage(16, 16, first_stride=1)
        self.stage2 = stage(16 * expansion, 32, first_stride=2)
        self.stage3 = stage(32 * expansion, 64, first_stride=2)
        self.head = nn.Sequential(_normalization(norm, 64 * expansion), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(64 * expansion, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.head(self.stage3(self.stage2(self.stage1(self.stem(images)))))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def _is_valid_depth(depth: int) -> bool:
    blocks_per_stage, remainder = divmod(depth - 2, 9 if depth >= FIRST_BOTTLENECK_DEPTH else 6)
    return blocks_per_stage >= 1 and remainder == 0


class PreResNet(Model):
    """PreResNet-`depth`. `norm="layer"` is the LayerNorm ResNet of the paper's section 6.

    The original release has no LayerNorm network. This one replaces each batch norm by a group norm with one group
    (Wu and He 2018, arXiv:1803.08494), which is layer norm over channels and pixels. A prediction then depends only on
    the weights and the image, so networks with equal weights predict the same, which section 6 needs.

    `skip_connections=False` gives the plain network: the same branches without shortcuts.
    """

    name: Literal["preresnet"] = "preresnet"
    depth: int
    norm: Norm = "batch"
    skip_connections: bool = True

    @field_validator("depth")
    @classmethod
    def _depth_fills_the_stages(cls, depth: int) -> int:
        if _is_valid_depth(depth):
            return depth
        below = [near for near in range(depth - 1, depth - 10, -1) if _is_valid_depth(near)]
        above = next(near for near in count(max(depth, 0)) if _is_valid_depth(near))
        nearest = f"{below[0]} or {above}" if below else f"{above}"
        raise ValueError(
            f"no PreResNet has depth {depth}: depths are 6n+2 below {FIRST_BOTTLENECK_DEPTH} and 9n+2 above, "
            f"n >= 1; nearest: {nearest}"
        )

    def build(self, num_classes: int, input_shape: tuple[int, ...]) -> PreResNetNetwork:
        channels, height, width = input_shape
        if min(height, width) < SMALLEST_IMAGE:
            raise BadInput(
                f"model preresnet needs images of at least {SMALLEST_IMAGE}x{SMALLEST_IMAGE} pixels, "
                f"not {height}x{width}"
            )
        return PreResNetNetwork(self.depth, self.norm, self.skip_connections, num_classes, channels)
