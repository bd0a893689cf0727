"""Synthetic images, for smoke tests and benches of studies whose real data are large."""

import hashlib
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field

from repro.data.dataset import Dataset, LabeledData, Split


class Synthetic(Dataset):
    """Ten classes, each a fixed random colour pattern; an image is its class's pattern plus noise.

    There are `images` train images and half as many test images, balanced over classes and drawn from `seed`.
    """

    name: Literal["synthetic"] = "synthetic"
    images: int = Field(default=200, ge=20)
    image_size: int = Field(default=32, ge=8, le=64)
    seed: int = Field(default=0, ge=0, lt=2**63)
    num_classes: ClassVar[int] = 10

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (3, self.image_size, self.image_size)

    @property
    def train_size(self) -> int:
        return self.images

    @property
    def test_size(self) -> int:
        return self.images // 2

    def load(self, directory: Path) -> LabeledData:  # noqa: ARG002  (synthetic: needs no file)
        generator = torch.Generator().manual_seed(self.seed)
        patterns = torch.rand(self.num_classes, *self.input_shape, generator=generator)

        def draw(count: int) -> Split:
            labels = torch.arange(count) % self.num_classes
            noise = torch.rand(count, *self.input_shape, generator=generator)
            return Split(((patterns[labels] + 2.0 * noise) * 85.0).to(torch.uint8), labels)

        return LabeledData(train=draw(self.images), test=draw(self.test_size))

    def fingerprint(self, directory: Path) -> str:
        split = self.load(directory).train
        return hashlib.sha256(split.inputs.numpy().tobytes()).hexdigest()[:16]
