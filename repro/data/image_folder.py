"""Data sets that are folders of image files, ImageNet among them. The images stay on disk."""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from repro.data.dataset import Dataset, LabeledData, Split
from repro.errors import BadInput, RunFailed

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
LAYOUT = "expected: train/<class>/*.jpg and val/<class>/*.jpg (docs/imagenet.md)"


class ImageFiles(Dataset):
    """Images in `<data directory>/<folder>/train/<class>/` and `.../val/<class>/`; val is the test set.

    Classes are numbered in the order of their folders' names. The views are torchvision's standard ones:

    - test, and training with `train_view` center: the shorter side resized to `resize`, then a center crop of
      `image_size`;
    - training with `train_view` random: a RandomResizedCrop (8 to 100 % of the area, aspect 3/4 to 4/3) to
      `image_size`, and a horizontal flip with p = 0.5.
    """

    stays_in_files: ClassVar[bool] = True

    classes: int = Field(ge=2)
    image_size: int = Field(default=224, ge=8)
    resize: int = Field(default=256, ge=8)
    train_view: Literal["random", "center"] = "random"

    @model_validator(mode="after")
    def _center_fits(self) -> Self:
        if self.resize < self.image_size:
            raise ValueError(f"resize {self.resize} is below image_size {self.image_size}: the center would not fit")
        return self

    @abstractmethod
    def root(self, directory: Path) -> Path:
        """The folder that holds train and val."""

    @abstractmethod
    def choose_classes(self, found: list[str], folder: Path) -> list[str]:
        """The class folders to use, of those `found` in `folder`, in the same order.

        Raises BadInput if there are too few or too many.
        """

    @property
    def num_classes(self) -> int:
        return self.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (3, self.image_size, self.image_size)

    def load(self, directory: Path) -> LabeledData:
        root = self.root(directory)
        names: list[bytes] = []
        splits: list[Split] = []
        for part, files in self._parts(root):
            numbers = torch.arange(len(names), len(names) + len(files))
            names += [os.fsencode(f"{part}/{file.path}") for file in files]
            splits.append(Split(numbers, torch.tensor([file.label for file in files], dtype=torch.int64)))
        # One array, not a list: worker processes would copy the memory of every Python string that they access.
        reader = ImageReader(root, np.array(names), self.image_size, self.resize, self.train_view == "random")
        return LabeledData(train=splits[0], test=splits[1], reader=reader)

    def fingerprint(self, directory: Path) -> str:
        """A digest of every image's class, name and size in bytes. No image is opened."""
        root, digest = self.root(directory), hashlib.sha256()
        for part, files in self._parts(root):
            for file in files:
                try:
                    size = (root / part / file.path).stat().st_size
                except OSError as error:
                    raise BadInput(f"{root / part / file.path}: cannot be read ({error.strerror})") from error
                digest.update(os.fsencode(f"{part}/{file.path}:{size}\n"))
        return digest.hexdigest()[:16]

    def _parts(self, root: Path) -> Iterator[tuple[str, list["_File"]]]:
        """The names train and val, each with its files."""
        classes = self.choose_classes(_class_folders(root / "train"), root / "train")
        for part in ("train", "val"):
            unequal = set(classes) ^ set(self.choose_classes(_class_folders(root / part), root / part))
            if unequal:
                raise BadInput(f"{root}: the class {min(unequal)} is in only one of train and val; {LAYOUT}")
            files = [file for label, name in enumerate(classes) for file in _image_files(root / part, name, label)]
            yield part, files


class ImageFolder(ImageFiles):
    """User-supplied images: a folder in the data directory, with `classes` class folders in both train and val."""

    name: Literal["image_folder"] = "image_folder"
    folder: str = Field(min_length=1)

    def root(self, directory: Path) -> Path:
        return directory / self.folder

    def choose_classes(self, found: list[str], folder: Path) -> list[str]:
        if len(found) != self.classes:
            raise BadInput(f"{folder}: has {len(found)} class folders, but `classes` is {self.classes}")
        return found


class ImageNet(ImageFiles):
    """ILSVRC 2012: 1,281,167 train images, and its 50,000 validation images as the test set (arXiv 1409.0575).

    With `classes` below 1,000, only the first classes by WordNet id are used.
    """

    name: Literal["imagenet"] = "imagenet"
    classes: int = Field(default=1000, ge=2, le=1000)

    def root(self, directory: Path) -> Path:
        return directory / "imagenet"

    @property
    def train_size(self) -> int | None:
        return 1_281_167 if self.classes == 1000 else None

    @property
    def test_size(self) -> int | None:
        return 50_000 if self.classes == 1000 else None

    def choose_classes(self, found: list[str], folder: Path) -> list[str]:
        if len(found) < self.classes:
            raise BadInput(f"{folder}: has {len(found)} class folders, ImageNet needs {self.classes}; {LAYOUT}")
        return found[: self.classes]


class ImageReader:
    """Reads image files as the views of `ImageFiles`. It is sent to worker processes."""

    def __init__(self, root: Path, names: np.ndarray, image_size: int, resize: int, random_view: bool) -> None:
        self.root = os.fsencode(root)
        self.names = names
        self.image_size = image_size
        self.resize = resize
        self.random_view = random_view

    def read(self, number: int, seed: int | None) -> Tensor:
        from PIL import Image
        from torchvision.transforms import v2  # imported here: it takes seconds, and no other data set needs it

        path = os.path.join(self.root, self.names[number])  # noqa: PTH118  (bytes, which pathlib does not take)
        try:
            with Image.open(path) as file:
                if file.mode.startswith(("I", "F")):  # `convert` would clip these at 255
                    raise ValueError("its pixels have more than 8 bits a channel: scale them to 8")
                image = file.convert("RGB")
        # PIL raises SyntaxError for some broken PNGs, DecompressionBombError for an implausible image size.
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise RunFailed(f"{os.fsdecode(path)}: cannot be read as an image ({error})") from error
        if seed is None or not self.random_view:
            view = v2.Compose([v2.Resize(self.resize), v2.CenterCrop(self.image_size)])
            return _as_tensor(view(image))
        view = v2.Compose([v2.RandomResizedCrop(self.image_size), v2.RandomHorizontalFlip()])
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.default_generator.manual_seed(seed)
            return _as_tensor(view(image))


class _File(NamedTuple):
    path: str
    """Class folder and file name, relative to train or val."""
    label: int


def _as_tensor(image: object) -> Tensor:
    from torchvision.transforms.v2 import functional

    tensor: Tensor = functional.pil_to_tensor(image)
    return tensor


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder, without the hidden ones that file managers and notebooks leave there."""
    return (entry for entry in os.scandir(folder) if not entry.name.startswith("."))


def _class_folders(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in _visible(folder) if entry.is_dir())
    except OSError as error:
        raise BadInput(f"{folder}: no such folder of images ({error.strerror}); {LAYOUT}") from error


def _image_files(folder: Path, name: str, label: int) -> list[_File]:
    try:
        names = sorted(entry.name for entry in _visible(folder / name))
    except OSError as error:
        raise BadInput(f"{folder / name}: cannot be read ({error.strerror})") from error
    if not names:
        raise BadInput(f"{folder / name}: holds no image")
    for file in names:
        if not file.lower().endswith(SUFFIXES):
            raise BadInput(f"{folder / name / file}: is not an image file; valid endings: {' '.join(SUFFIXES)}")
    return [_File(f"{name}/{file}", label) for file in names]
