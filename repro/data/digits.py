"""scikit-learn's handwritten digits: a data set that needs neither a download nor a data folder."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from repro.data.dataset import Dataset, LabeledData, Split
from repro.data.selection import stratified_order
from repro.seeds import stream_seed

TEST_IMAGES = 597


class Digits(Dataset):
    """1,797 images of digits, 8x8 pixels with 17 grey levels, enlarged bilinearly to `image_size`.

    Source: UCI "Optical Recognition of Handwritten Digits" (the part that scikit-learn ships). It has no test split,
    so a fixed set of 597 images, stratified by class, is held out for testing; the other 1,200 are for training.
    """

    name: Literal["digits"] = "digits"
    image_size: int = Field(default=28, ge=8, le=64)
    num_classes: ClassVar[int] = 10

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1, self.image_size, self.image_size)

    @property
    def train_size(self) -> int:
        return 1797 - TEST_IMAGES

    @property
    def test_size(self) -> int:
        return TEST_IMAGES

    def load(self, directory: Path) -> LabeledData:  # noqa: ARG002  (embedded: needs no file)
        grey, labels = _grey_levels()
        images = torch.from_numpy(grey).unsqueeze(1) / 16.0
        enlarged = torch.nn.functional.interpolate(images, size=self.input_shape[1:], mode="bilinear")
        everything = Split((enlarged * 255.0).round().to(torch.uint8), torch.from_numpy(labels))
        order = stratified_order(everything.labels, stream_seed(0, "digits", "test"))
        return LabeledData(
            train=everything.subset(order[TEST_IMAGES:].sort().values),
            test=everything.subset(order[:TEST_IMAGES].sort().values),
        )

    def fingerprint(self, directory: Path) -> str:  # noqa: ARG002
        grey, labels = _grey_levels()
        return hashlib.sha256(grey.tobytes() + labels.tobytes()).hexdigest()[:16]


def _grey_levels() -> tuple[np.ndarray, np.ndarray]:
    """Grey levels float32 (1797, 8, 8) in [0, 16], and labels int64 (1797,).

    Read from scikit-learn's own file, as `load_digits` does: importing scikit-learn would cost every process of a
    sweep a second.
    """
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None
    rows = np.loadtxt(Path(package.origin).parent / "datasets/data/digits.csv.gz", dtype=np.float32, delimiter=",")
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
