"""What a data set of one's own may return, and what is said of anything else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_files import TINY, write_images

from repro.data.dataset import LabeledData, Split
from repro.data.digits import Digits
from repro.data.synthetic_texts import SyntheticTexts
from repro.errors import BadInput

IMAGES, LABELS = torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.arange(6)


class Returned(Digits):
    """Returns what it was given."""

    def load(self, directory: Path) -> LabeledData:  # noqa: ARG002
        return self._data

    def returning(self, inputs: Any, labels: Any, part: str) -> "Returned":
        whole, given = Split(IMAGES, LABELS), Split(inputs, labels)
        self._data = LabeledData(given, whole) if part == "train" else LabeledData(whole, given)
        return self


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda x, y: (x / 255, y), "inputs are torch.float32 (6, 1, 8, 8), not torch.uint8 (n, 1, 8, 8)"),
        (lambda x, y: (x[:, 0], y), "inputs are torch.uint8 (6, 8, 8), not torch.uint8 (n, 1, 8, 8)"),
        (lambda x, y: (x.expand(-1, 3, -1, -1), y), "inputs are torch.uint8 (6, 3, 8, 8), not"),
        (lambda x, y: (x.numpy(), y), "inputs are ndarray, not torch.uint8 (n, 1, 8, 8)"),
        (lambda x, y: (x, y.int()), "labels are torch.int32 (6,), not torch.int64 (n,)"),
        (lambda x, y: (x, y[:, None]), "labels are torch.int64 (6, 1), not torch.int64 (n,)"),
        (lambda x, y: (x, y.tolist()), "labels are list, not torch.int64 (n,)"),
        (lambda x, y: (x, y[:5]), "5 {part} labels of 6 inputs"),
        (lambda x, y: (x, y + 5), "labels are 5 to 10, not 0 to 9"),
        (lambda x, y: (x, y - 1), "labels are -1 to 4, not 0 to 9"),
    ],
)
def test_what_is_no_data_set_is_refused_in_a_line(
    part: str, spoil: Callable[[torch.Tensor, torch.Tensor], tuple[Any, Any]], problem: str
) -> None:
    dataset = Returned(image_size=8)
    with pytest.raises(BadInput) as refusal:
        dataset.returning(*spoil(IMAGES, LABELS), part).load_checked(Path())
    message = str(refusal.value)
    assert message.startswith("data set digits: ") and problem.format(part=part) in message and "\n" not in message


def test_images_texts_files_and_empty_splits_are_read(tmp_path: Path) -> None:
    assert len(Returned(image_size=8).returning(IMAGES[:0], LABELS[:0], "test").load_checked(tmp_path).test) == 0
    assert len(SyntheticTexts().load_checked(tmp_path).train) == 200
    assert len(TINY.load_checked(write_images(tmp_path)).train) == 24


class Failing(Digits):
    """Reads a file that is not there, and numbers its data."""

    def load(self, directory: Path) -> LabeledData:
        return torch.load(directory / "my_images.pt")  # type: ignore[no-any-return]

    def fingerprint(self, directory: Path) -> str:
        if directory == Path():
            return 12  # type: ignore[return-value]
        return str(len((directory / "my_images.pt").read_bytes()))


def test_whatever_a_data_set_raises_is_told_in_a_line(tmp_path: Path) -> None:
    dataset = Failing(image_size=8)
    told = r"^data set digits: FileNotFoundError: .*my_images.pt' \(test_dataset.py, line \d+\)$"
    with pytest.raises(BadInput, match=told):
        dataset.load_checked(tmp_path)
    with pytest.raises(BadInput, match=told):
        dataset.fingerprint_checked(tmp_path)
    with pytest.raises(BadInput, match=r"^data set digits: its fingerprint is int, not a text$"):
        dataset.fingerprint_checked(Path())
    torch.save((IMAGES, LABELS), tmp_path / "my_images.pt")
    with pytest.raises(BadInput, match=r"^data set digits: load gives tuple, not LabeledData$"):
        dataset.load_checked(tmp_path)
