"""Reading prepared files: what is accepted, what is refused and how, what a fingerprint depends on."""

import hashlib
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from repro.data.prepared import CIFAR10, CIFAR100, EMNIST, MNIST, SVHN, FashionMNIST, PreparedDataset
from repro.errors import BadInput

Arrays = dict[str, np.ndarray]
EVERY_CLASS: list[type[PreparedDataset]] = [MNIST, FashionMNIST, EMNIST, CIFAR10, CIFAR100, SVHN]
every_dataset = pytest.mark.parametrize("kind", EVERY_CLASS, ids=lambda kind: kind.__name__)


class TwoPixelMNIST(MNIST):
    """MNIST with images so small that every byte of its file can be tried."""

    shape = (1, 1, 2)


def arrays_for(kind: type[PreparedDataset], train: int = 5, test: int = 3) -> Arrays:
    """Arrays as a prepared file of `kind` holds them, random, with the highest label among them."""
    generator = np.random.default_rng(0)
    channels, height, width = kind.shape
    shape = (height, width) if channels == 1 else (height, width, channels)
    arrays = {}
    for part, count in (("train", train), ("test", test)):
        arrays[f"x_{part}"] = generator.integers(0, 256, (count, *shape), np.uint8)
        labels = generator.integers(0, kind.num_classes, count)
        labels[0] = kind.num_classes - 1
        arrays[f"y_{part}"] = labels
    return arrays


def write(directory: Path, kind: type[PreparedDataset], arrays: Arrays) -> Path:
    path = kind.file(directory)
    np.savez(path, allow_pickle=True, **arrays)
    return path


def refusal(kind: type[PreparedDataset], directory: Path) -> str:
    """The message with which loading is refused; it has to name the file and the command that makes it."""
    name = kind.model_fields["name"].default
    with pytest.raises(BadInput) as caught:
        kind(name=name).load(directory)
    message = str(caught.value)
    assert message.startswith(f"{kind.file(directory)}: ")
    assert message.endswith(f"; make it with `repro data prepare {name} --data {directory}`")
    assert "\n" not in message
    return message


@every_dataset
def test_images_and_labels_are_loaded_channels_first(kind: type[PreparedDataset], tmp_path: Path) -> None:
    arrays = arrays_for(kind)
    write(tmp_path, kind, arrays)
    dataset = kind(name=kind.model_fields["name"].default)
    loaded = dataset.load(tmp_path)
    assert dataset.image_shape == kind.shape
    for part, split in (("train", loaded.train), ("test", loaded.test)):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        assert split.images.shape == (len(labels), *kind.shape)
        assert split.images.dtype == torch.uint8
        assert split.images.is_contiguous()
        assert split.labels.tolist() == labels.tolist()
        for index, image in enumerate(images):
            planes = [image] if image.ndim == 2 else [image[:, :, channel] for channel in range(3)]
            for channel, plane in enumerate(planes):
                assert split.images[index, channel].tolist() == plane.tolist()


def test_compressed_files_and_files_with_further_arrays_are_read_too(tmp_path: Path) -> None:
    arrays = arrays_for(MNIST)
    np.savez_compressed(MNIST.file(tmp_path), class_names=np.array(["zero", "one"]), **arrays)
    assert MNIST().load(tmp_path).test.labels.tolist() == arrays["y_test"].tolist()


def test_a_set_without_a_test_split_has_an_empty_test(tmp_path: Path) -> None:
    arrays = arrays_for(EMNIST)
    del arrays["x_test"], arrays["y_test"]
    write(tmp_path, EMNIST, arrays)
    for transposed in (False, True):
        test = EMNIST(transposed=transposed).load(tmp_path).test
        assert len(test) == 0
        assert test.images.shape == (0, 1, 28, 28)
        assert test.images.dtype == torch.uint8
        assert test.labels.shape == (0,)
        assert test.labels.dtype == torch.int64


def test_emnist_is_upright_unless_transposed_is_asked_for(tmp_path: Path) -> None:
    arrays = arrays_for(EMNIST)
    write(tmp_path, EMNIST, arrays)
    upright, transposed = EMNIST().load(tmp_path), EMNIST(transposed=True).load(tmp_path)
    for part in ("train", "test"):
        as_stored, turned = getattr(upright, part), getattr(transposed, part)
        assert as_stored.images[:, 0].tolist() == arrays[f"x_{part}"].tolist()
        assert turned.images[:, 0].tolist() == [
            [list(column) for column in zip(*image, strict=True)] for image in arrays[f"x_{part}"].tolist()
        ]
        assert turned.images.is_contiguous()
        assert torch.equal(as_stored.labels, turned.labels)


# -- what is refused --------------------------------------------------------------------------------------


@every_dataset
def test_a_missing_file_is_refused(kind: type[PreparedDataset], tmp_path: Path) -> None:
    assert "no such file" in refusal(kind, tmp_path)
    assert "no such file" in refusal(kind, tmp_path / "nor such a directory")
    with pytest.raises(BadInput, match="no such file"):
        kind(name=kind.model_fields["name"].default).fingerprint(tmp_path)


def test_a_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    MNIST.file(tmp_path).mkdir()
    assert "cannot be read (Is a directory)" in refusal(MNIST, tmp_path)


@pytest.mark.parametrize("content", [b"", b"a text\n", b"\x89PNG\r\n\x1a\n" + bytes(1000)])
def test_a_file_that_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    MNIST.file(tmp_path).write_bytes(content)
    assert "truncated, damaged or no .npz archive" in refusal(MNIST, tmp_path)
    with pytest.raises(BadInput, match=r"no \.npz archive"):
        MNIST().fingerprint(tmp_path)


def test_a_file_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, TwoPixelMNIST, arrays_for(TwoPixelMNIST))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert "truncated, damaged or no .npz archive" in refusal(TwoPixelMNIST, tmp_path)


def test_an_array_truncated_within_a_complete_archive_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, MNIST, arrays_for(MNIST))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["x_train.npy"] = members["x_train.npy"][:-1]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert "truncated, damaged" in refusal(MNIST, tmp_path)


def test_a_flipped_byte_in_the_images_is_refused(tmp_path: Path) -> None:
    arrays = arrays_for(CIFAR10)
    path = write(tmp_path, CIFAR10, arrays)
    damaged = bytearray(path.read_bytes())
    start = damaged.index(arrays["x_train"].tobytes())
    damaged[start + 3000] ^= 0x10
    path.write_bytes(damaged)
    assert "x_train.npy does not fit its checksum" in refusal(CIFAR10, tmp_path)


@pytest.mark.parametrize("compress", [False, True])
def test_a_flipped_bit_in_any_member_is_refused_or_changes_nothing(compress: bool, tmp_path: Path) -> None:
    arrays, path = arrays_for(TwoPixelMNIST), TwoPixelMNIST.file(tmp_path)
    (np.savez_compressed if compress else np.savez)(path, **arrays)
    whole = path.read_bytes()
    refused = 0
    for position in range(whole.index(b"PK\x01\x02")):  # up to the archive's directory
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            loaded = TwoPixelMNIST().load(tmp_path)
        except BadInput:
            refused += 1
            continue
        assert loaded.train.images[:, 0].tolist() == arrays["x_train"].tolist()
        assert loaded.test.images[:, 0].tolist() == arrays["x_test"].tolist()
        assert loaded.train.labels.tolist() == arrays["y_train"].tolist()
        assert loaded.test.labels.tolist() == arrays["y_test"].tolist()
    assert refused > sum(array.nbytes for array in arrays.values())


def replaced(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: change(arrays[name])}


def without(*names: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {name: array for name, array in arrays.items() if name not in names}


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        (
            MNIST,
            replaced("x_train", lambda x: x.astype(np.float32)),
            "x_train is float32 (5, 28, 28), not uint8",
        ),
        (MNIST, replaced("x_test", lambda x: x.astype(np.int8)), "x_test is int8 (3, 28, 28), not uint8"),
        (MNIST, replaced("y_train", lambda y: y.astype(np.int32)), "y_train is int32 (5,), not int64 (n,)"),
        (MNIST, replaced("y_test", lambda y: y.astype(">i8")), "y_test is >i8 (3,), not int64 (n,)"),
        (
            MNIST,
            replaced("x_train", lambda x: x[:, :27]),
            "x_train is uint8 (5, 27, 28), not uint8 (5, 28, 28)",
        ),
        (MNIST, replaced("x_train", lambda x: x[..., None]), "(5, 28, 28, 1), not uint8 (5, 28, 28)"),
        (MNIST, replaced("x_test", lambda x: x.reshape(3, -1)), "(3, 784), not uint8 (3, 28, 28)"),
        (CIFAR10, replaced("x_train", lambda x: x[..., 0]), "(5, 32, 32), not uint8 (5, 32, 32, 3)"),
        (
            SVHN,
            replaced("x_train", lambda x: np.moveaxis(x, 3, 1)),
            "(5, 3, 32, 32), not uint8 (5, 32, 32, 3)",
        ),
        (MNIST, replaced("x_train", lambda x: x[:4]), "x_train is uint8 (4, 28, 28), not uint8 (5, 28, 28)"),
        (MNIST, replaced("y_test", lambda y: y[:2]), "x_test is uint8 (3, 28, 28), not uint8 (2, 28, 28)"),
        (MNIST, replaced("y_train", lambda y: y[:, None]), "y_train is int64 (5, 1), not int64 (n,)"),
        (MNIST, replaced("y_train", lambda y: y + 1), "labels 1 to 10, not 0 to 9"),
        (MNIST, replaced("y_test", lambda y: y - 10), "not 0 to 9"),
        (CIFAR100, replaced("y_train", lambda y: y * 0 + 100), "labels 100 to 100, not 0 to 99"),
        (MNIST, without("x_train"), "holds no x_train"),
        (MNIST, without("y_train"), "holds no y_train"),
        (MNIST, without("x_test"), "holds no x_test"),
        (MNIST, without("y_test"), "holds no y_test"),
        (MNIST, without("x_train", "y_train", "x_test", "y_test"), "holds no x_train"),
        (MNIST, replaced("y_train", lambda y: y.astype(object)), "damaged"),  # would be unpickled
    ],
)
def test_arrays_of_another_kind_are_refused(
    kind: type[PreparedDataset], change: Callable[[Arrays], Arrays], problem: str, tmp_path: Path
) -> None:
    arrays = arrays_for(kind)
    arrays["y_train"][1] = 0
    write(tmp_path, kind, {"unrelated": np.zeros(1), **change(arrays)})
    assert problem in refusal(kind, tmp_path)


# -- fingerprints -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_the_fingerprint_changes_with_any_array(name: str, tmp_path: Path) -> None:
    arrays = arrays_for(MNIST)
    write(tmp_path, MNIST, arrays)
    before = MNIST().fingerprint(tmp_path)
    arrays[name].flat[-1] ^= 1
    write(tmp_path, MNIST, arrays)
    assert MNIST().fingerprint(tmp_path) != before


def test_the_fingerprint_changes_if_the_test_split_is_dropped(tmp_path: Path) -> None:
    arrays = arrays_for(MNIST)
    write(tmp_path, MNIST, arrays)
    before = MNIST().fingerprint(tmp_path)
    write(tmp_path, MNIST, without("x_test", "y_test")(arrays))
    assert MNIST().fingerprint(tmp_path) != before


def test_the_fingerprint_depends_on_nothing_else(tmp_path: Path) -> None:
    arrays = arrays_for(MNIST)
    write(tmp_path, MNIST, arrays)
    fingerprint = MNIST().fingerprint(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){3}", fingerprint)
    reordered = {name: arrays[name] for name in sorted(arrays)}
    np.savez_compressed(MNIST.file(tmp_path), class_names=np.array(["zero"]), **reordered)
    assert MNIST().fingerprint(tmp_path) == fingerprint


def test_the_fingerprint_is_taken_without_reading_the_images(tmp_path: Path) -> None:
    path = write(tmp_path, CIFAR10, arrays_for(CIFAR10))
    before = CIFAR10().fingerprint(tmp_path)
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    path.write_bytes(bytes(directory) + content[directory:])  # all arrays overwritten
    assert CIFAR10().fingerprint(tmp_path) == before
    assert "truncated, damaged" in refusal(CIFAR10, tmp_path)


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
    assert sha256(mnist.train.images) == "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"
    assert sha256(mnist.test.images) == "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"
    assert sha256(cifar100.train.images) == "4e457917601a66aed021f5fa37957b56c6319557c0a8ed5484de3c390af45430"
    assert mnist.train.labels.bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949
    ]  # fmt: skip
    assert mnist.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert cifar100.train.labels.bincount().tolist() == [500] * 100
    assert cifar100.test.labels.bincount().tolist() == [100] * 100
