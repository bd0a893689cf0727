"""Random augmentation of a batch of images, and helpers to draw per-image parameters.

Every augmentation is split in two: `__call__` draws the random parameters, one set per image, and a pure function of
the same module applies given parameters to a whole batch. Nothing loops over images, waits for the device or makes a
shape depend on the data. All randomness comes from the generator that is passed in, and the number of draws depends
only on the shape of the batch.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from repro.component import Component


class Augmentation(Component):
    """A random change of images. Subclasses add its strength as fields."""

    name: str
    mixes_images: ClassVar[bool] = False
    """Whether an output image blends several input images, so that it no longer has a true label."""

    @abstractmethod
    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """An augmented copy of `images`. Both are float32 (batch, channels, height, width) in [0, 1].

        `generator` must be on the device of `images`.
        """


def augment(images: Tensor, augmentations: Sequence[Augmentation], generator: torch.Generator) -> Tensor:
    """Apply all `augmentations` to `images`, in the order given."""
    for augmentation in augmentations:
        images = augmentation(images, generator)
    return images


def draw_uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """`count` independent numbers from U[low, high]: float32 (count,) on the generator's device."""
    return torch.rand(count, generator=generator, device=generator.device).mul_(high - low).add_(low)


def draw_events(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """`count` independent events, each true with `probability`: bool (count,) on the generator's device."""
    return torch.rand(count, generator=generator, device=generator.device) < probability


def per_image(values: Tensor) -> Tensor:
    """`values` (batch,) as (batch, 1, 1, 1), which broadcasts against a batch of images."""
    return values.view(-1, 1, 1, 1)
