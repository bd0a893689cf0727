"""Image data sets that are each read from one prepared file, `<data directory>/<name>.npz`, with its checks.

The file holds the arrays `x_train y_train x_test y_test`: uint8 images (n, height, width) or (n, height, width,
channels) and int64 labels (n,). A data set without a test split (a pool of images) omits the last two.
`repro data prepare NAME` makes the file (`repro.data.prepare`).
"""

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from repro.atomic import DAMAGED_ZIP
from repro.data.dataset import Dataset, LabeledData, Split, as_channels_first
from repro.errors import BadInput

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


class PreparedFile(Dataset):
    """A data set that is read from one file, made by `repro data prepare`."""

    suffix: ClassVar[str]

    published_size: ClassVar[int | None] = None
    """The number of train examples of the published set, though a prepared file may hold fewer. None for a
    user-defined data set, which cannot be downloaded."""

    published_test_size: ClassVar[int | None] = None
    """The number of test examples of the published set."""

    @property
    def train_size(self) -> int | None:
        return self.published_size

    @property
    def test_size(self) -> int | None:
        return self.published_test_size

    @classmethod
    def file(cls, directory: Path) -> Path:
        return directory / f"{cls.model_fields['name'].default}{cls.suffix}"

    def remedy(self, directory: Path) -> str:
        """What to do if the file is missing or damaged."""
        if self.published_size is None:
            return "write it as docs/extending.md says"
        return f"make it with `repro data prepare {self.name} --data {directory}`"


class PreparedDataset(PreparedFile):
    """An image data set read from its prepared file."""

    suffix: ClassVar[str] = ".npz"

    shape: ClassVar[tuple[int, int, int]]
    """(channels, height, width)."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.shape

    def load(self, directory: Path) -> LabeledData:
        path, remedy = self.file(directory), self.remedy(directory)
        arrays = read_arrays(path, remedy)
        try:
            return self.from_arrays(arrays)
        except ValueError as problem:
            raise BadInput(f"{path}: {problem}; {remedy}") from problem

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> LabeledData:
        """The data set from the arrays of a prepared file. Raises ValueError if their names, types, shapes or labels
        are wrong."""
        train = self._split(arrays, "train")
        if "x_test" in arrays or "y_test" in arrays:
            return LabeledData(train, self._split(arrays, "test"))
        return LabeledData(train, Split(train.inputs[:0], train.labels[:0]))

    def fingerprint(self, directory: Path) -> str:
        """The CRC-32 checksums of the arrays, from the archive's directory. No image is read."""
        path, remedy = self.file(directory), self.remedy(directory)
        with _opened(path, remedy) as archive:
            checksums = {entry.filename.removesuffix(".npy"): entry.CRC for entry in archive.infolist()}
        if "x_train" not in checksums:
            raise BadInput(f"{path}: holds no x_train; {remedy}")
        return "-".join(f"{checksums[name]:08x}" for name in ARRAYS if name in checksums)

    def _split(self, arrays: Mapping[str, np.ndarray], part: str) -> Split:
        for name in (f"x_{part}", f"y_{part}"):
            if name not in arrays:
                raise ValueError(f"holds no {name}")
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        channels, *size = self.shape
        shape = (len(labels), *size) if channels == 1 else (len(labels), *size, channels)
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise ValueError(f"y_{part} is {labels.dtype} {labels.shape}, not int64 (n,)")
        if images.dtype != np.uint8 or images.shape != shape:
            raise ValueError(f"x_{part} is {images.dtype} {images.shape}, not uint8 {shape}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise ValueError(f"y_{part} has labels {labels.min()} to {labels.max()}, not 0 to {self.num_classes - 1}")
        return Split(as_channels_first(torch.from_numpy(images)), torch.from_numpy(labels))


def read_arrays(path: Path, remedy: str) -> dict[str, np.ndarray]:
    """The arrays of a prepared file. Raises BadInput, ending in `remedy`, if it is missing or damaged."""
    with _opened(path, remedy) as archive:
        # All checksums first, so that no damaged header is ever parsed.
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} does not fit its checksum")
        return {
            name: np.lib.format.read_array(archive.open(f"{name}.npy"), allow_pickle=False)
            for name in ARRAYS
            if f"{name}.npy" in archive.namelist()
        }


@contextlib.contextmanager
def _opened(path: Path, remedy: str) -> Iterator[zipfile.ZipFile]:
    """The open archive `path`. Errors in opening or reading it are raised as BadInput ending in `remedy`."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file; {remedy}") from error
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except DAMAGED_ZIP as error:
        cause = str(error) or type(error).__name__
        raise BadInput(f"{path}: truncated, damaged or not an .npz archive ({cause}); {remedy}") from error


class MNIST(PreparedDataset):
    """Handwritten digits, 60,000 train and 10,000 test (LeCun et al. 1998)."""

    name: Literal["mnist"] = "mnist"
    num_classes: ClassVar[int] = 10
    shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    published_size: ClassVar[int | None] = 60_000
    published_test_size: ClassVar[int | None] = 10_000


class FashionMNIST(PreparedDataset):
    """Zalando's articles, 60,000 train and 10,000 test (Xiao et al. 2017, arXiv 1708.07747)."""

    name: Literal["fashion_mnist"] = "fashion_mnist"
    num_classes: ClassVar[int] = 10
    shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    published_size: ClassVar[int | None] = 60_000
    published_test_size: ClassVar[int | None] = 10_000


DIGITS = 10


class EMNIST(PreparedDataset):
    """Handwritten characters, by-merge split, 697,932 train and 116,323 test (Cohen et al. 2017, arXiv 1702.05373).

    The published files hold each image transposed; the prepared file holds them upright, like MNIST. With
    `transposed`, images are used as published, as the paper's original code does. With `letters`, the digits (classes
    0 to 9) are left out; the other classes keep their numbers.
    """

    later_fields: ClassVar[frozenset[str]] = frozenset({"letters"})

    name: Literal["emnist"] = "emnist"
    transposed: bool = False
    letters: bool = False
    num_classes: ClassVar[int] = 47
    shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    published_size: ClassVar[int | None] = 697_932
    published_test_size: ClassVar[int | None] = 116_323

    def load(self, directory: Path) -> LabeledData:
        upright = super().load(directory)
        return LabeledData(self._chosen(upright.train), self._chosen(upright.test))

    @property
    def train_size(self) -> int | None:
        return None if self.letters else self.published_size

    @property
    def test_size(self) -> int | None:
        return None if self.letters else self.published_test_size

    def _chosen(self, split: Split) -> Split:
        if self.letters:
            split = split.subset((split.labels >= DIGITS).nonzero().squeeze(1))
        return Split(split.inputs.mT.contiguous(), split.labels) if self.transposed else split


class CIFAR10(PreparedDataset):
    """Small natural images of 10 classes, 50,000 train and 10,000 test (Krizhevsky 2009)."""

    name: Literal["cifar10"] = "cifar10"
    num_classes: ClassVar[int] = 10
    shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    published_size: ClassVar[int | None] = 50_000
    published_test_size: ClassVar[int | None] = 10_000


class CIFAR100(PreparedDataset):
    """Small natural images of 100 classes, 50,000 train and 10,000 test (Krizhevsky 2009)."""

    name: Literal["cifar100"] = "cifar100"
    num_classes: ClassVar[int] = 100
    shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    published_size: ClassVar[int | None] = 50_000
    published_test_size: ClassVar[int | None] = 10_000


class SVHN(PreparedDataset):
    """Street-view house numbers, 73,257 train and 26,032 test (Netzer et al. 2011)."""

    name: Literal["svhn"] = "svhn"
    num_classes: ClassVar[int] = 10
    shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    published_size: ClassVar[int | None] = 73_257
    published_test_size: ClassVar[int | None] = 26_032
