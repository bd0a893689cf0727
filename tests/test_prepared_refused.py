"""What is refused when a prepared file is read, and how."""

import contextlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prepared_arrays import Arrays, arrays_for, replaced, without, write

from repro.data.prepared import ARRAYS, CIFAR10, CIFAR100, EMNIST, MNIST, SVHN, PreparedDataset
from repro.errors import BadInput


class TwoPixelMNIST(MNIST):
    """MNIST with images so small that every byte of its file can be tried."""

    shape = (1, 1, 2)


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


@pytest.mark.parametrize("kind", [MNIST, EMNIST, CIFAR100])
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
    assert "truncated, damaged or not an .npz archive" in refusal(MNIST, tmp_path)
    with pytest.raises(BadInput, match=r"not an \.npz archive"):
        MNIST().fingerprint(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, TwoPixelMNIST, arrays_for(TwoPixelMNIST))
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        assert "truncated, damaged or not an .npz archive" in refusal(TwoPixelMNIST, tmp_path)


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
    arrays = arrays_for(TwoPixelMNIST)
    path = write(tmp_path, TwoPixelMNIST, arrays, compress)
    whole = path.read_bytes()
    refused = 0
    for position in range(0, whole.index(b"PK\x01\x02"), 3):  # up to the archive's directory
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8  # 3 and 8 share no factor: every bit has its turn
        path.write_bytes(damaged)
        try:
            loaded = TwoPixelMNIST().load(tmp_path)
        except BadInput:
            refused += 1
            continue
        assert loaded.train.inputs[:, 0].tolist() == arrays["x_train"].tolist()
        assert loaded.test.inputs[:, 0].tolist() == arrays["x_test"].tolist()
        assert loaded.train.labels.tolist() == arrays["y_train"].tolist()
        assert loaded.test.labels.tolist() == arrays["y_test"].tolist()
    assert refused > sum(array.nbytes for array in arrays.values()) / 3


def test_damage_to_the_archives_directory_never_crashes(tmp_path: Path) -> None:
    path = write(tmp_path, TwoPixelMNIST, arrays_for(TwoPixelMNIST))
    whole = path.read_bytes()
    for flipped in (0x01, 0xFF):
        for position in range(whole.index(b"PK\x01\x02"), len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= flipped
            path.write_bytes(damaged)
            for read in (TwoPixelMNIST().load, TwoPixelMNIST().fingerprint):
                with contextlib.suppress(BadInput):
                    read(tmp_path)


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        (MNIST, replaced("x_train", lambda x: x.astype(np.float32)), "float32 (5, 28, 28), not uint8"),
        (MNIST, replaced("x_test", lambda x: x.astype(np.int8)), "x_test is int8 (3, 28, 28), not uint8"),
        (MNIST, replaced("y_train", lambda y: y.astype(np.int32)), "y_train is int32 (5,), not int64 (n,)"),
        (MNIST, replaced("y_test", lambda y: y.astype(">i8")), "y_test is >i8 (3,), not int64 (n,)"),
        (MNIST, replaced("x_train", lambda x: x[:, :27]), "uint8 (5, 27, 28), not uint8 (5, 28, 28)"),
        (MNIST, replaced("x_train", lambda x: x[..., None]), "(5, 28, 28, 1), not uint8 (5, 28, 28)"),
        (MNIST, replaced("x_test", lambda x: x.reshape(3, -1)), "(3, 784), not uint8 (3, 28, 28)"),
        (CIFAR10, replaced("x_train", lambda x: x[..., 0]), "(5, 32, 32), not uint8 (5, 32, 32, 3)"),
        (SVHN, replaced("x_train", lambda x: np.moveaxis(x, 3, 1)), "(5, 3, 32, 32), not uint8"),
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
        (MNIST, without(*ARRAYS), "holds no x_train"),
        (MNIST, replaced("y_train", lambda y: y.astype(object)), "damaged"),  # would be unpickled
    ],
)
def test_arrays_of_another_kind_are_refused(
    kind: type[PreparedDataset], change: Callable[[Arrays], Arrays], problem: str, tmp_path: Path
) -> None:
    arrays = arrays_for(kind)
    write(tmp_path, kind, {"unrelated": np.zeros(1), **change(arrays)})
    assert problem in refusal(kind, tmp_path)
