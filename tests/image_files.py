"""A folder of made-up photographs for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from repro.data.image_folder import ImageFolder

CLASSES = ("apple", "bear", "cup")
TINY = ImageFolder(folder="tiny", classes=3, image_size=16, resize=20)
"""24 train and 12 test images of 3 classes, written by `write_images`."""


def write_images(directory: Path) -> Path:
    """The files of `TINY` below the data directory; each class has a colour, every image its own size and noise."""
    random = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4)):
        for label, name in enumerate(CLASSES):
            folder = directory / TINY.folder / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = random.integers(24, 40, 2)
                pixels = random.integers(0, 150, (height, width, 3))
                pixels[..., label] += 100
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)
    return directory
