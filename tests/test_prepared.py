"""Reading prepared files: the images and labels loaded, what a fingerprint depends on."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared_arrays import Arrays, arrays_for, replaced, without, write

from repro.data.prepare import DOWNLOADS
from repro.data.prepared import ARRAYS, CIFAR10, CIFAR100, EMNIST, MNIST, SVHN, FashionMNIST, PreparedDataset
from repro.errors import BadInput

EVERY_CLASS: list[type[PreparedDataset]] = [MNIST, FashionMNIST, EMNIST, CIFAR10, CIFAR100, SVHN]


@pytest.mark.parametrize("kind", EVERY_CLASS)
def test_images_and_labels_are_loaded_channels_first(kind: type[PreparedDataset], tmp_path: Path) -> None:
    arrays = arrays_for(kind)
    write(tmp_path, kind, arrays)
    dataset = kind(name=kind.model_fields["name"].default)
    loaded = dataset.load(tmp_path)
    assert dataset.input_shape == kind.shape
    for part, split in (("train", loaded.train), ("test", loaded.test)):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        assert split.inputs.shape == (len(labels), *kind.shape)
        assert split.inputs.dtype == torch.uint8
        assert split.inputs.is_contiguous()
        assert split.labels.tolist() == labels.tolist()
        for index, image in enumerate(images):
            planes = [image] if image.ndim == 2 else [image[:, :, channel] for channel in range(3)]
            for channel, plane in enumerate(planes):
                assert split.inputs[index, channel].tolist() == plane.tolist()


def test_compressed_files_and_files_with_further_arrays_are_read_too(tmp_path: Path) -> None:
    arrays = arrays_for(MNIST)
    write(tmp_path, MNIST, {"class_names": np.array(["zero", "one"]), **arrays}, compress=True)
    assert MNIST().load(tmp_path).test.labels.tolist() == arrays["y_test"].tolist()


def test_a_set_without_a_test_split_has_an_empty_test(tmp_path: Path) -> None:
    arrays = arrays_for(EMNIST)
    del arrays["x_test"], arrays["y_test"]
    write(tmp_path, EMNIST, arrays)
    for transposed in (False, True):
        test = EMNIST(transposed=transposed).load(tmp_path).test
        assert len(test) == 0
        assert test.inputs.shape == (0, 1, 28, 28)
        assert test.inputs.dtype == torch.uint8
        assert test.labels.shape == (0,)
        assert test.labels.dtype == torch.int64


def test_emnist_is_upright_unless_transposed_is_asked_for(tmp_path: Path) -> None:
    arrays = arrays_for(EMNIST)
    write(tmp_path, EMNIST, arrays)
    upright, transposed = EMNIST().load(tmp_path), EMNIST(transposed=True).load(tmp_path)
    for part in ("train", "test"):
        as_stored, turned = getattr(upright, part), getattr(transposed, part)
        assert as_stored.inputs[:, 0].tolist() == arrays[f"x_{part}"].tolist()
        assert turned.inputs[:, 0].tolist() == [
            [list(column) for column in zip(*image, strict=True)] for image in arrays[f"x_{part}"].tolist()
        ]
        assert turned.inputs.is_contiguous()
        assert torch.equal(as_stored.labels, turned.labels)


def test_emnists_letters_are_its_images_without_the_digits(tmp_path: Path) -> None:
    arrays = arrays_for(EMNIST)
    write(tmp_path, EMNIST, arrays)
    letters = EMNIST(letters=True).load(tmp_path)
    for part in ("train", "test"):
        kept = arrays[f"y_{part}"] >= 10
        assert 0 < kept.sum() < len(kept)
        assert getattr(letters, part).inputs[:, 0].tolist() == arrays[f"x_{part}"][kept].tolist()
        assert getattr(letters, part).labels.tolist() == arrays[f"y_{part}"][kept].tolist()
    turned = EMNIST(letters=True, transposed=True).load(tmp_path)
    assert torch.equal(turned.train.inputs, letters.train.inputs.mT)


# -- fingerprints -----------------------------------------------------------------------------------------


def flip_last(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.flat[-1] ^= 1
    return changed


@pytest.mark.parametrize("change", [*(replaced(name, flip_last) for name in ARRAYS), without("x_test", "y_test")])
def test_the_fingerprint_changes_with_any_array(change: Callable[[Arrays], Arrays], tmp_path: Path) -> None:
    arrays = arrays_for(MNIST)
    write(tmp_path, MNIST, arrays)
    before = MNIST().fingerprint(tmp_path)
    write(tmp_path, MNIST, change(arrays))
    assert MNIST().fingerprint(tmp_path) != before


def test_the_fingerprint_depends_on_nothing_else(tmp_path: Path) -> None:
    arrays = arrays_for(MNIST)
    write(tmp_path, MNIST, arrays)
    fingerprint = MNIST().fingerprint(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){3}", fingerprint)
    reordered = {name: arrays[name] for name in sorted(arrays)}
    write(tmp_path, MNIST, {"class_names": np.array(["zero"]), **reordered}, compress=True)
    assert MNIST().fingerprint(tmp_path) == fingerprint


def test_the_fingerprint_is_taken_without_reading_the_images(tmp_path: Path) -> None:
    path = write(tmp_path, CIFAR10, arrays_for(CIFAR10))
    before = CIFAR10().fingerprint(tmp_path)
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    path.write_bytes(bytes(directory) + content[directory:])  # all arrays overwritten
    assert CIFAR10().fingerprint(tmp_path) == before
    with pytest.raises(BadInput, match="damaged"):
        CIFAR10().load(tmp_path)


def test_an_archive_without_training_images_has_no_fingerprint(tmp_path: Path) -> None:
    write(tmp_path, MNIST, {"unrelated": np.zeros(1)})
    with pytest.raises(BadInput, match=r"mnist\.npz: holds no x_train; make it with"):
        MNIST().fingerprint(tmp_path)


# -- real data --------------------------------------------------------------------------------------------


@pytest.fixture
def real_data() -> Path:
    """The directory of prepared real data sets; without it, or the files needed here, the test is skipped."""
    if "REPRO_DATA" not in os.environ:
        pytest.skip("REPRO_DATA is not set")
    directory = Path(os.environ["REPRO_DATA"])
    for kind in (MNIST, CIFAR100):
        if not kind.file(directory).exists():
            pytest.skip(f"{kind.file(directory)} is not there")
    return directory


@pytest.mark.realdata
def test_the_real_mnist_and_cifar100_are_the_published_images(real_data: Path) -> None:
    def sha256(images: torch.Tensor) -> str:
        """Of the images as published: channels last, or without channels if grey."""
        return hashlib.sha256(images.permute(0, 2, 3, 1).contiguous().numpy().data).hexdigest()

    mnist, cifar100 = MNIST().load(real_data), CIFAR100().load(real_data)
    assert sha256(mnist.train.inputs) == DOWNLOADS["mnist"].sha256["x_train"]
    assert sha256(mnist.test.inputs) == DOWNLOADS["mnist"].sha256["x_test"]
    assert sha256(cifar100.train.inputs) == DOWNLOADS["cifar100"].sha256["x_train"]
    assert mnist.train.labels.bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
    assert mnist.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert cifar100.train.labels.bincount().tolist() == [500] * 100
    assert cifar100.test.labels.bincount().tolist() == [100] * 100
