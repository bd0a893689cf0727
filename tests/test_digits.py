"""The embedded digits: sizes, the fixed split, enlargement."""

from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits

from repro.data.dataset import LabeledData
from repro.data.digits import Digits

NOWHERE = Path("no/such/directory")


def load(image_size: int) -> LabeledData:
    return Digits(image_size=image_size).load(NOWHERE)


def grey_levels() -> tuple[np.ndarray, np.ndarray]:
    bunch = load_digits()
    return bunch.images, bunch.target


def images_and_labels(loaded: LabeledData) -> list[tuple[bytes, int]]:
    return [
        (image.numpy().tobytes(), int(label))
        for split in (loaded.train, loaded.test)
        for image, label in zip(split.inputs, split.labels, strict=True)
    ]


@pytest.mark.parametrize("image_size", [8, 28, 32])
def test_there_are_1200_train_and_597_test_images_of_the_size_asked_for(image_size: int) -> None:
    dataset, loaded = Digits(image_size=image_size), load(image_size)
    assert dataset.input_shape == (1, image_size, image_size)
    for split, count in ((loaded.train, 1200), (loaded.test, 597)):
        assert split.inputs.shape == (count, 1, image_size, image_size)
        assert split.inputs.dtype == torch.uint8
        assert split.inputs.is_contiguous()
        assert split.labels.shape == (count,)
        assert split.labels.dtype == torch.int64


def test_at_8_pixels_the_images_are_the_grey_levels_and_every_one_is_in_one_split() -> None:
    grey, labels = grey_levels()
    expected = ((grey.astype(np.int64) * 255 * 2 + 16) // 32).astype(np.uint8)  # grey * 255 / 16, rounded
    published = [(image.tobytes(), int(label)) for image, label in zip(expected, labels, strict=True)]
    assert sorted(images_and_labels(load(8))) == sorted(published)


def test_train_and_test_images_are_disjoint() -> None:
    train, test = ({image.numpy().tobytes() for image in split.inputs} for split in (load(8).train, load(8).test))
    assert not train & test  # no two of the 1,797 images are equal


def test_both_splits_are_stratified() -> None:
    everything = np.bincount(grey_levels()[1])
    loaded = load(8)
    for split in (loaded.train, loaded.test):
        shares = everything * len(split) / 1797
        assert np.abs(split.labels.bincount().numpy() - shares).max() < 1


def test_enlarged_images_are_the_bilinear_interpolation_of_the_small_ones() -> None:
    # Pixel centres of the large image in the coordinates of the small one, clipped at its outermost centres.
    centres = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    rows, columns = np.meshgrid(centres, centres, indexing="ij")
    grey = np.round(load(8).train.inputs[:50, 0].numpy().astype(np.float64) * 16 / 255)
    expected = [scipy.ndimage.map_coordinates(image * 255 / 16, [rows, columns], order=1) for image in grey]
    enlarged = load(28).train.inputs[:50, 0].numpy()
    assert np.abs(enlarged - np.stack(expected)).max() <= 0.5 + 1e-3  # rounded once


def test_every_size_has_the_same_split() -> None:
    assert torch.equal(load(8).train.labels, load(28).train.labels)
    assert torch.equal(load(8).test.labels, load(28).test.labels)


def test_loading_twice_gives_the_same_images() -> None:
    assert images_and_labels(load(28)) == images_and_labels(load(28))


def test_the_fingerprint_is_that_of_the_published_images() -> None:
    assert Digits().fingerprint(NOWHERE) == "faf2d98f61250c1c"
    assert Digits(image_size=8).fingerprint(NOWHERE) == "faf2d98f61250c1c"


@pytest.mark.parametrize("image_size", [7, 65, 28.0, "28"])
def test_sizes_out_of_range_or_of_another_type_are_refused(image_size: object) -> None:
    with pytest.raises(ValidationError, match="image_size"):
        Digits.model_validate({"name": "digits", "image_size": image_size})
