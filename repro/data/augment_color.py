"""Random brightness, contrast, saturation and hue, as torchvision defines them for floating point images."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from repro.data.augmentation import Augmentation, draw_uniform, per_image
from repro.errors import BadInput

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def grayscale(images: Tensor) -> Tensor:
    """The luma of `images` (ITU-R BT.601, with torchvision's rounded weights): (batch, 1, height, width).

    Raises BadInput unless the images have one channel (grey, returned unchanged) or three (RGB).
    """
    channels = images.shape[1]
    if channels == 1:
        return images
    if channels != 3:
        raise BadInput(f"color_jitter needs images of 1 or 3 channels, not {channels}")
    red, green, blue = images.chunk(3, dim=1)
    return (0.2989 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def blend(images: Tensor, operations: Tensor, factors: Tensor) -> Tensor:
    """Scale the brightness, contrast or saturation (`operations[i]`) of each image i by `factors[i]`.

    Computes factor * image + (1 - factor) * other, clipped to [0, 1], where other is black for BRIGHTNESS, the
    image's mean grey for CONTRAST and its grey version for SATURATION. A factor of 1 changes nothing.
    `operations`: int64 (batch,); `factors`: float32 (batch,), at least 0.
    """
    gray = grayscale(images)
    mean_or_black = gray.mean(dim=(1, 2, 3), keepdim=True) * per_image(operations == CONTRAST)
    others = torch.where(per_image(operations == SATURATION), gray, mean_or_black)
    return torch.lerp(others, images, per_image(factors)).clamp_(0, 1)


def adjust_hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Rotate the hues of RGB `images` by `shifts` (float32 (batch,), in turns of the colour circle).

    The brightest channel (HSV's value) and the chroma (value * saturation) do not change. Images of one channel
    are returned unchanged.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.chunk(3, dim=1)
    brightest = images.amax(dim=1, keepdim=True)
    chroma = brightest - images.amin(dim=1, keepdim=True)
    divisor = chroma.clamp_min(torch.finfo(images.dtype).tiny)  # a grey pixel has chroma 0, and any hue
    hue = torch.where(  # in sixths of a turn: red lies at 0, green at 2, blue at 4
        brightest == red,
        (green - blue).div_(divisor),
        torch.where(brightest == green, (blue - red).div_(divisor).add_(2), (red - green).div_(divisor).add_(4)),
    )
    hue += 6 * per_image(shifts)
    # A channel is the brightest within a sixth of a turn of its own hue, the darkest beyond two, linear in between.
    offset = hue - torch.arange(0, 6, 2, device=images.device).view(1, 3, 1, 1)
    distance = (offset - (offset / 6).round_().mul_(6)).abs_()
    return torch.addcmul(brightest, chroma, distance.sub_(1).clamp_(0, 1), value=-1)


def jitter(images: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """Apply all four operations to `images`, each image with its own order and strengths.

    `order`: int64 (batch, 4), each row a permutation of BRIGHTNESS, CONTRAST, SATURATION, HUE: the order of
    application.
    `factors`: float32 (batch, 4), one column per operation in that numbering: the factors of `blend` and the shifts
    of `adjust_hue`.
    """
    factor_in_turn = factors.gather(1, order)
    turn_of_hue = order.argsort(dim=1)[:, HUE]
    # The costly hue shift is done once for the whole batch, after the blends that precede it in an image's order and
    # before those that follow it. A blend that is not due is one with factor 1.
    for turn in (0, 1, 2):
        images = blend(images, order[:, turn], factor_in_turn[:, turn].masked_fill(turn >= turn_of_hue, 1.0))
    images = adjust_hue(images, factors[:, HUE])
    for turn in (1, 2, 3):
        images = blend(images, order[:, turn], factor_in_turn[:, turn].masked_fill(turn <= turn_of_hue, 1.0))
    return images


class ColorJitter(Augmentation):
    """Change brightness, contrast, saturation and hue in random order, as torchvision.transforms.ColorJitter does.

    Each factor is drawn from U[max(0, 1 - strength), 1 + strength], the hue shift from U[-hue, hue].
    Saturation and hue have no effect on images of one channel.
    """

    name: Literal["color_jitter"] = "color_jitter"
    brightness: float = Field(default=0.2, ge=0)
    contrast: float = Field(default=0.2, ge=0)
    saturation: float = Field(default=0.2, ge=0)
    hue: float = Field(default=0.2, ge=0, le=0.5)
    """In turns of the colour circle."""

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`order` and `factors` of `jitter` for `count` images."""
        order = torch.rand(count, 4, generator=generator, device=generator.device).argsort(dim=1)
        factors = [
            draw_uniform(count, max(0.0, 1 - strength), 1 + strength, generator)
            for strength in (self.brightness, self.contrast, self.saturation)
        ]
        factors.append(draw_uniform(count, -self.hue, self.hue, generator))
        return order, torch.stack(factors, dim=1)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return jitter(images, *self.draw(len(images), generator))
