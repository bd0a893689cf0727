"""Images replaced by noise."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from repro.data.augmentation import Augmentation, draw_events, per_image


class UniformNoise(Augmentation):
    """Replace whole images by noise: every channel of every pixel is drawn independently from U[0, 1]."""

    name: Literal["uniform_noise"] = "uniform_noise"
    p: float = Field(default=0.2, ge=0, le=1)
    """Probability that an image is replaced."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        replaced = draw_events(len(images), self.p, generator)
        noise = torch.rand(images.shape, generator=generator, device=generator.device)
        return torch.where(per_image(replaced), noise, images)
