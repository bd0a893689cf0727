"""The interface of a data set: labelled examples in memory, in the format in which they are stored."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from repro.component import Component
from repro.errors import BadInput, blamed_on


@dataclass(frozen=True)
class Split:
    """Inputs as they are stored, (n, ...), and labels int64 (n,). Images are uint8 (n, channels, height, width)."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def subset(self, indices: Tensor) -> "Split":
        """The examples at `indices` (int64), in that order."""
        return Split(self.inputs[indices], self.labels[indices])


class Reader(Protocol):
    """Reads examples of a data set that does not fit in memory. Works in any process."""

    def read(self, number: int, seed: int | None) -> Tensor:
        """Example `number` as a `Split` would store it: an image as uint8 (channels, height, width).

        The random view of a training image depends on `seed` alone. Without a seed, the view is the one used for the
        test set. Raises RunFailed if the example cannot be read.
        """


@dataclass(frozen=True)
class LabeledData:
    """A data set in memory. `test` is empty (n = 0) for sets that only serve as a pool of inputs.

    A data set that does not fit in memory has a `reader`. Its inputs are then the example numbers, int64 (n,), that
    the reader takes.
    """

    train: Split
    test: Split
    reader: Reader | None = None


class Dataset(Component):
    """A data set, chosen by name. Subclasses define its classes and input shape, and load it."""

    name: str
    class_names: ClassVar[tuple[str, ...]] = ()
    input_kind: ClassVar[Literal["images", "texts"]] = "images"
    """The kind of its inputs. Every model and augmentation is made for one kind."""
    stays_in_files: ClassVar[bool] = False
    """Whether `load` returns a `reader`."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """The number of classes. Subclasses may make it a plain class attribute."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, for which networks are built; for images (channels, height, width)."""

    def mismatch(self, other: "Dataset") -> str | None:
        """Why inputs of `other` do not fit a network made for this data set, or None if they do."""
        if other.input_shape == self.input_shape:
            return None
        return f"{other.name} has {other.input_kind} {other.input_shape}, {self.name} has {self.input_shape}"

    @property
    def train_size(self) -> int | None:
        """The number of train examples if it is known without reading them, else None. Used to estimate costs."""
        return None

    @property
    def test_size(self) -> int | None:
        """The number of test examples if it is known without reading them, else None."""
        return None

    @abstractmethod
    def load(self, directory: Path) -> LabeledData:
        """Read the data set, from `directory` if it needs files. Raises BadInput if they are missing or invalid."""

    def load_checked(self, directory: Path) -> LabeledData:
        """`load`, then check the result, since a user-defined class may return anything.

        Raises BadInput as `load` does or instead of any other error, or if types, shapes or labels are wrong.
        """
        with blamed_on(f"data set {self.name}"):
            data = self.load(directory)
        if not isinstance(data, LabeledData):
            raise BadInput(f"data set {self.name}: load gives {type(data).__name__}, not LabeledData")
        dtype, shape = torch.uint8, self.input_shape
        if data.reader is not None:
            dtype, shape = torch.int64, ()
        elif self.input_kind == "texts":
            dtype, shape = torch.int32, self.input_shape[:1]
        for part, split in (("train", data.train), ("test", data.test)):
            self._check(f"{part} labels", split.labels, torch.int64, ())
            self._check(f"{part} inputs", split.inputs, dtype, shape)
            if len(split.inputs) != len(split.labels):
                raise BadInput(f"data set {self.name}: {len(split.labels)} {part} labels of {len(split.inputs)} inputs")
            if len(split.labels) and not 0 <= int(split.labels.min()) <= int(split.labels.max()) < self.num_classes:
                found = f"{int(split.labels.min())} to {int(split.labels.max())}"
                raise BadInput(f"data set {self.name}: {part} labels are {found}, not 0 to {self.num_classes - 1}")
        return data

    def _check(self, what: str, found: object, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        if isinstance(found, Tensor) and found.ndim > 0 and (found.dtype, tuple(found.shape[1:])) == (dtype, shape):
            return
        name = type(found).__name__
        if isinstance(found, Tensor):
            name = f"{found.dtype} {tuple(found.shape)}"
        wanted = ", ".join(map(str, ("n", *shape))) + ("" if shape else ",")
        raise BadInput(f"data set {self.name}: {what} are {name}, not {dtype} ({wanted})")

    @abstractmethod
    def fingerprint(self, directory: Path) -> str:
        """A short digest of the stored images and labels that `load` starts from, cheap to compute.

        Every run's record keeps it, so that a run is never resumed, reused or compared on other data. It does not
        cover what the options make of the stored images: that follows from the config. Raises BadInput as `load`
        does, except that only `load` notices damage inside an array.
        """

    def fingerprint_checked(self, directory: Path) -> str:
        """`fingerprint`, which may be the user's own. Raises BadInput as it does, instead of any other error, or if it
        is not a text."""
        with blamed_on(f"data set {self.name}"):
            fingerprint = self.fingerprint(directory)
        if not isinstance(fingerprint, str):
            raise BadInput(f"data set {self.name}: its fingerprint is {type(fingerprint).__name__}, not a text")
        return fingerprint


def as_channels_first(images: Tensor) -> Tensor:
    """Convert uint8 (n, height, width) or (n, height, width, channels) to contiguous (n, channels, height, width)."""
    if images.ndim == 3:
        return images.unsqueeze(1).contiguous()
    return images.permute(0, 3, 1, 2).contiguous()


def as_input(inputs: Tensor) -> Tensor:
    """Convert stored inputs to the inputs of a network.

    Images, uint8 or float32 in [0, 1], become float32 in [-1, 1] (the paper's "unitcube" scaling, Appendix A), channels
    last. Tokens (other integers) are returned unchanged.
    """
    if inputs.dtype != torch.uint8 and not inputs.is_floating_point():
        return inputs
    unit = to_unit_interval(inputs) if inputs.dtype == torch.uint8 else inputs
    return (unit * 2.0 - 1.0).contiguous(memory_format=torch.channels_last)


def to_unit_interval(images: Tensor) -> Tensor:
    """Convert uint8 images to float32 in [0, 1]."""
    return images.to(torch.float32).div_(255.0)
