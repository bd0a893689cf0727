"""`repro data prepare NAME`: download a data set and write its prepared file."""

import contextlib
import hashlib
import http.client
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import repro.data
from repro.component import discover
from repro.data.dataset import Dataset
from repro.data.prepare_texts import prepare_texts
from repro.data.prepared import PreparedDataset, PreparedFile
from repro.data.texts import PreparedTexts
from repro.errors import BadInput, RunFailed, did_you_mean
from repro.lock import try_lock


@dataclass(frozen=True)
class Download:
    """How to get a data set from torchvision and convert it to a prepared file."""

    torchvision_class: str
    train: Mapping[str, Any]
    """Arguments of the class for the train split; `test` holds those for the test split."""
    test: Mapping[str, Any]
    axes: tuple[int, ...]
    """The permutation of torchvision's axes that gives (n, height, width) or (n, height, width, channels)."""
    labels: str = "targets"
    """The attribute that holds the labels."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Checksums of prepared image arrays, where known. torchvision itself checks the MD5 of every archive."""


TRAIN, TEST = {"train": True}, {"train": False}
GRAY, COLOR = (0, 1, 2), (0, 1, 2, 3)
DOWNLOADS = {
    "mnist": Download(
        "MNIST",
        TRAIN,
        TEST,
        GRAY,
        sha256={
            "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        },
    ),
    "fashion_mnist": Download("FashionMNIST", TRAIN, TEST, GRAY),
    # Published transposed: swapping height and width makes the images upright, like MNIST's.
    "emnist": Download("EMNIST", {"split": "bymerge", **TRAIN}, {"split": "bymerge", **TEST}, (0, 2, 1)),
    "cifar10": Download("CIFAR10", TRAIN, TEST, COLOR),
    "cifar100": Download(
        "CIFAR100",
        TRAIN,
        TEST,
        COLOR,
        sha256={"x_train": "4e457917601a66aed021f5fa37957b56c6319557c0a8ed5484de3c390af45430"},
    ),
    "svhn": Download("SVHN", {"split": "train"}, {"split": "test"}, (0, 2, 3, 1), labels="labels"),
}


def prepared_datasets() -> dict[str, type[PreparedFile]]:
    """Every data set that is read from a prepared file, by name."""
    discover(repro.data)
    return {name: kind for name, kind in Dataset.registry.items() if issubclass(kind, PreparedFile)}


def prepare(name: str, directory: Path, say: Callable[[str], None]) -> Path:
    """Make the prepared file of data set `name` in `directory` unless a valid one exists, and return its path.

    A damaged file is replaced, except for a user-defined data set, which cannot be downloaded. Raises BadInput for an
    unknown name, a missing or damaged file of a user-defined data set, an unreadable file or a directory that cannot
    be written to; RunFailed if the data cannot be obtained. On an error, no new file is left behind.
    """
    known = prepared_datasets()
    if name not in known:
        if name in Dataset.registry and Dataset.registry[name].stays_in_files:
            raise BadInput(f"the data set '{name}' cannot be downloaded: lay out its files as docs/imagenet.md says")
        if name in Dataset.registry:
            raise BadInput(f"the data set '{name}' has no prepared file: its class alone says where its data are")
        raise BadInput(f"no data set is called '{name}'{did_you_mean(name, known)}")
    dataset = known[name](name=name)
    path = dataset.file(directory)
    if path.exists() and not (path.is_file() and os.access(path, os.R_OK)):
        raise BadInput(f"{path}: exists but cannot be read; remove it, or see --data")
    if path.exists() or dataset.published_size is None:
        try:
            dataset.load(directory)
        except BadInput as error:
            if dataset.published_size is None:
                raise
            say(f"{error} (doing that now)")
        else:
            say(f"{path}: already there, fingerprint {dataset.fingerprint(directory)}")
            return path
    with _workspace(directory, name) as folder:
        say(f"{name}: downloading")
        try:
            # Downloads draw progress bars on stderr, terminal or not.
            with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO()):
                counts = _make(dataset, folder, path)
        # RuntimeError is how torchvision reports a wrong checksum, and that no mirror answers.
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
            cause = " ".join(str(error).split()) or type(error).__name__
            raise RunFailed(
                f"{name} could not be prepared: {cause}; its prepared file can be copied to {path} instead"
            ) from error
    say(f"{path}: {counts}, fingerprint {dataset.fingerprint(directory)}")
    return path


@contextlib.contextmanager
def _workspace(directory: Path, name: str) -> Iterator[Path]:
    """A hidden folder in `directory` to download into, removed at the end. Raises BadInput if it cannot be made.

    Folders that killed processes left behind are removed first; they are recognised by their free locks. Where the
    file system has no locks, they stay.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob(f".{name}-*/lock"):
            if _is_free(old):
                shutil.rmtree(old.parent, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=directory))
        lock = (folder / "new lock").open("wb")
    except OSError as error:
        raise BadInput(f"{directory}: cannot write data there ({error.strerror}); see --data") from error
    try:
        with lock:
            with contextlib.suppress(BadInput):
                try_lock(lock)
                (folder / "new lock").rename(folder / "lock")  # other processes only ever find it locked
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_free(lock: Path) -> bool:
    with contextlib.suppress(FileNotFoundError, BadInput), lock.open("rb+") as file:
        return try_lock(file)
    return False


def _make(dataset: PreparedFile, folder: Path, path: Path) -> str:
    """Download into `folder`, then write `path`. Returns its counts in words."""
    if isinstance(dataset, PreparedTexts) and dataset.archive is not None:
        return prepare_texts(dataset, dataset.archive, folder, path)
    if isinstance(dataset, PreparedDataset) and dataset.name in DOWNLOADS:
        download = DOWNLOADS[dataset.name]
        arrays = _download(download, folder)
        _check(arrays, dataset, download.sha256)
        _write(arrays, folder / "complete.npz", path)
        return f"{len(arrays['x_train'])} train and {len(arrays['x_test'])} test images"
    raise ValueError("no download of it is known")


def _download(source: Download, folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the prepared file, from torchvision's download into `folder`."""
    import torchvision

    load = getattr(torchvision.datasets, source.torchvision_class)
    splits = {
        part: load(folder, download=True, **arguments)
        for part, arguments in (("train", source.train), ("test", source.test))
    }
    arrays = {}
    for part, split in splits.items():
        arrays[f"x_{part}"] = np.ascontiguousarray(np.asarray(split.data).transpose(source.axes))
        arrays[f"y_{part}"] = np.asarray(getattr(split, source.labels), dtype=np.int64)
    return arrays


def _check(arrays: Mapping[str, np.ndarray], dataset: PreparedDataset, sha256: Mapping[str, str]) -> None:
    """Raise ValueError unless the download is what `dataset` expects and has the known checksums."""
    dataset.from_arrays(arrays)
    for name, expected in sha256.items():
        actual = hashlib.sha256(arrays[name].data).hexdigest()
        if actual != expected:
            raise ValueError(f"{name} are not the published images (SHA-256 {actual}, not {expected})")


def _write(arrays: Mapping[str, np.ndarray], partial: Path, path: Path) -> None:
    """Write the arrays so that `path` appears whole or not at all; `partial` is on the same file system."""
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
