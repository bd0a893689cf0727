"""Random arrays in the form of prepared files, and ways to spoil them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from repro.data.prepared import PreparedFile

Arrays = dict[str, np.ndarray]


def arrays_for(kind: type[PreparedFile], train: int = 5, test: int = 3) -> Arrays:
    """Random arrays as a prepared file of `kind` holds them, among them the lowest and the highest label."""
    generator = np.random.default_rng(0)
    dataset = kind.model_validate({})
    channels, height, width = dataset.input_shape
    shape = (height, width) if channels == 1 else (height, width, channels)
    arrays = {}
    for part, count in (("train", train), ("test", test)):
        arrays[f"x_{part}"] = generator.integers(0, 256, (count, *shape), np.uint8)
        labels = generator.integers(0, dataset.num_classes, count)
        labels[:2] = dataset.num_classes - 1, 0
        arrays[f"y_{part}"] = labels
    return arrays


def write(directory: Path, kind: type[PreparedFile], arrays: Arrays, compress: bool = False) -> Path:
    """Write `arrays` as the prepared file of `kind`."""
    path = kind.file(directory)
    (np.savez_compressed if compress else np.savez)(path, allow_pickle=True, **arrays)
    return path


def replaced(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: change(arrays[name])}


def without(*names: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {name: array for name, array in arrays.items() if name not in names}
