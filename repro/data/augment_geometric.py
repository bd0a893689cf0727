"""Augmentations that move pixels: crop, flips, rotation."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from repro.data.augmentation import Augmentation, draw_events, draw_uniform, per_image


def crop(images: Tensor, top: Tensor, left: Tensor, padding: int) -> Tensor:
    """Pad `images` with `padding` black pixels on each side, then cut out windows of the original size.

    `top`, `left`: int64 (batch,), the top left corner of each window in the padded image, in [0, 2 * padding];
    (padding, padding) returns an image unchanged.
    """
    batch, _, height, width = images.shape
    windows = F.pad(images, [padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(batch, device=images.device), :, top, left]


def flip(images: Tensor, flipped: Tensor, dim: int) -> Tensor:
    """Mirror the images that are `flipped` (bool (batch,)) along `dim` (2: rows, 3: columns)."""
    return torch.where(per_image(flipped), images.flip(dim), images)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate `images` counter-clockwise about their centre by `degrees` (float (batch,)).

    Each pixel takes the value of the nearest source pixel, or black where that lies outside the image. Source
    positions are rounded as in torchvision's `rotate` of a tensor, so the pixels are the same. Unlike there, they are
    not computed as a matrix product, which TF32 or autocast would compute with too few digits.
    """
    height, width = images.shape[2:]
    radians = degrees.double().deg2rad()
    cosine, sine = (wave.float().view(-1, 1, 1) for wave in (radians.cos(), radians.sin()))
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = (torch.arange(height, device=images.device) - (height - 1) / 2).unsqueeze(1)
    source_x = cosine / (width / 2) * x - sine / (width / 2) * y
    source_y = sine / (height / 2) * x + cosine / (height / 2) * y
    grid = torch.stack((source_x, source_y), dim=-1)  # -1 and 1 are the outer edges of the image
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


class RandomCrop(Augmentation):
    """Zero-pad, then cut out a window of the original size at a uniformly random position."""

    name: Literal["random_crop"] = "random_crop"
    padding: int = Field(default=4, ge=1)
    """Black pixels added on each side."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        places = 2 * self.padding + 1
        top, left = torch.randint(places, (2, len(images)), generator=generator, device=generator.device)
        return crop(images, top, left, self.padding)


class HorizontalFlip(Augmentation):
    """Mirror left and right."""

    name: Literal["horizontal_flip"] = "horizontal_flip"
    p: float = Field(default=0.5, ge=0, le=1)
    """Probability that an image is mirrored."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return flip(images, draw_events(len(images), self.p, generator), dim=3)


class VerticalFlip(Augmentation):
    """Mirror top and bottom."""

    name: Literal["vertical_flip"] = "vertical_flip"
    p: float = Field(default=0.5, ge=0, le=1)
    """Probability that an image is mirrored."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return flip(images, draw_events(len(images), self.p, generator), dim=2)


class Rotation(Augmentation):
    """Rotate about the centre by an angle from U[-degrees, degrees]: nearest neighbour, black outside the image."""

    name: Literal["rotation"] = "rotation"
    degrees: float = Field(default=20.0, ge=0, le=180)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return rotate(images, draw_uniform(len(images), -self.degrees, self.degrees, generator))
