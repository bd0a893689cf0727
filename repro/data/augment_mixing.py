"""MixUp of images (Zhang et al. 2018, arXiv 1710.09412). In distillation the teacher labels the mixed images."""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from repro.data.augmentation import Augmentation


def draw_symmetric_beta(count: int, alpha: float, generator: torch.Generator) -> Tensor:
    """`count` independent numbers from Beta(alpha, alpha): float32 (count,) on the generator's device.

    torch's own Beta takes no generator. With U, V ~ U[0, 1], t = sqrt(U**(-1/alpha) - 1) * cos(2 pi V) is Student's t
    with 2 alpha degrees of freedom, divided by sqrt(2 alpha) (Bailey 1994, DOI 10.2307/2153537), and
    (1 + t / sqrt(1 + t**2)) / 2 is Beta(alpha, alpha). This is exact for every alpha > 0 and takes two draws per
    number.
    """
    uniform, turns = torch.rand(2, count, generator=generator, device=generator.device)
    cosine = torch.cos(2 * math.pi * turns)
    t_squared = torch.expm1(torch.log1p(-uniform) / -alpha) * cosine.square()
    # |t| / sqrt(1 + t**2), in a form that also holds where t**2 is 0 or infinite
    return 0.5 + 0.5 * cosine.sign() * torch.rsqrt(1 + 1 / t_squared)


def mix(images: Tensor, partners: Tensor, weight: Tensor) -> Tensor:
    """weight * image i + (1 - weight) * image partners[i].

    `partners`: int64 (batch,); `weight`: float32 (1,), in [0, 1].
    """
    return torch.lerp(images[partners], images, weight)


class MixUp(Augmentation):
    """Blend each image with an image of its batch: one weight ~ Beta(alpha, alpha) and one permutation per batch.

    alpha = 1 is the paper's weight ~ U[0, 1]. An image may be its own partner.
    """

    name: Literal["mixup"] = "mixup"
    mixes_images: ClassVar[bool] = True
    alpha: float = Field(default=1.0, gt=0)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        weight = draw_symmetric_beta(1, self.alpha, generator)
        partners = torch.randperm(len(images), generator=generator, device=generator.device)
        return mix(images, partners, weight)
