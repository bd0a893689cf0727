"""SN-GAN: residual networks for small images with spectral norm in the discriminator.

Miyato et al. 2018, arXiv:1802.05957. The architecture is that of the published ResNet for CIFAR-10. The generator maps
the latent linearly to 4x4 pixels and doubles the resolution in every block (nearest neighbour). The discriminator has
four blocks, of which the first two halve the resolution (2x2 means), and computes the score from the sum over pixels.
Every shape-changing block has a 1x1 convolution as its shortcut. With the published widths and 32x32 RGB images, the
generator has 4,276,739 parameters and the discriminator 1,053,825.

The side of the first feature map depends on the image size: 8 = 4 * 2, 28 = 7 * 2^2, 32 = 4 * 2^3.
"""

import math
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from repro.errors import BadInput
from repro.generative.base import GenerativeModel

SMALLEST_START, LARGEST_START = 4, 7
RESIDUAL_GAIN = math.sqrt(2.0)


def _initialized(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """Initialise a convolution or linear layer as the published code does: Glorot-uniform weights and zero bias."""
    assert isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None
    nn.init.xavier_uniform_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _convolution(in_channels: int, out_channels: int, kernel_size: int = 3, gain: float = RESIDUAL_GAIN) -> nn.Module:
    return _initialized(nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2), gain)


class UpBlock(nn.Module):
    """shortcut(upsample(x)) + branch(x), where the branch upsamples before its first convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Upsample(scale_factor=2),
            _convolution(in_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            _convolution(out_channels, out_channels),
        )
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), _convolution(in_channels, out_channels, 1, gain=1.0))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.branch(x) + self.shortcut(x)
        return output


class GeneratorNetwork(nn.Module):
    """Latents (batch, latent_size) -> images (batch, channels, size, size) in [-1, 1]."""

    def __init__(self, latent_size: int, width: int, start: int, blocks: int, image_channels: int) -> None:
        super().__init__()
        self.width, self.start = width, start
        self.linear = _initialized(nn.Linear(latent_size, width * start * start))
        self.blocks = nn.Sequential(*(UpBlock(width, width) for _ in range(blocks)))
        self.to_image = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(inplace=True), _convolution(width, image_channels, gain=1.0), nn.Tanh()
        )

    def forward(self, latents: Tensor) -> Tensor:
        pixels = self.linear(latents).view(-1, self.width, self.start, self.start)
        images: Tensor = self.to_image(self.blocks(pixels))
        return images


class DownBlock(nn.Module):
    """shortcut(x) + branch(x), both of which end by halving the resolution if `halves`.

    The first block of the network takes raw pixels, so it has no activation before its first convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, halves: bool, first: bool = False) -> None:
        super().__init__()
        self.halves = halves
        self.branch = nn.Sequential(
            nn.Identity() if first else nn.ReLU(),
            spectral_norm(_convolution(in_channels, out_channels)),
            nn.ReLU(inplace=True),
            spectral_norm(_convolution(out_channels, out_channels)),
        )
        changes_shape = halves or in_channels != out_channels
        self.shortcut = (
            spectral_norm(_convolution(in_channels, out_channels, 1, gain=1.0)) if changes_shape else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.halves:
            # A 1x1 convolution commutes with a mean over pixels; in this order it convolves a quarter of the pixels.
            output: Tensor = F.avg_pool2d(self.branch(x), 2) + self.shortcut(F.avg_pool2d(x, 2))
        else:
            output = self.branch(x) + self.shortcut(x)
        return output


class DiscriminatorNetwork(nn.Module):
    """Images in [-1, 1] -> scores (batch,)."""

    def __init__(self, width: int, image_channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            DownBlock(image_channels, width, halves=True, first=True),
            DownBlock(width, width, halves=True),
            DownBlock(width, width, halves=False),
            DownBlock(width, width, halves=False),
        )
        self.linear = spectral_norm(_initialized(nn.Linear(width, 1)))

    def forward(self, images: Tensor) -> Tensor:
        features = self.blocks(images).relu().sum(dim=(2, 3))
        scores: Tensor = self.linear(features).squeeze(1)
        return scores


class SNGAN(GenerativeModel):
    """The residual SN-GAN. The default widths are the published ones."""

    name: Literal["sngan"] = "sngan"
    generator_width: int = Field(default=256, ge=1)
    discriminator_width: int = Field(default=128, ge=1)

    def build_generator(self, image_shape: tuple[int, ...]) -> GeneratorNetwork:
        channels, start, blocks = _layout(image_shape)
        return GeneratorNetwork(self.latent_size, self.generator_width, start, blocks, channels)

    def build_discriminator(self, image_shape: tuple[int, ...]) -> DiscriminatorNetwork:
        channels, _, _ = _layout(image_shape)
        return DiscriminatorNetwork(self.discriminator_width, channels)


def _layout(image_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The image channels, the side of the generator's first feature map, and the number of times it is doubled."""
    channels, height, width = image_shape
    start, blocks = height, 0
    while start % 2 == 0 and start > LARGEST_START:
        start, blocks = start // 2, blocks + 1
    if height != width or blocks == 0 or not SMALLEST_START <= start <= LARGEST_START:
        raise BadInput(
            f"model sngan makes square images of {SMALLEST_START} to {LARGEST_START} pixels times a power of two "
            f"(8, 28, 32, 64, ...), not {height}x{width}"
        )
    return channels, start, blocks
