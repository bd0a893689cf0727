"""Crop, flips and rotation against torchvision, image by image, and the distribution of their draws."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision.transforms.functional as TF
from draws import IMPLAUSIBLE, seeded
from PIL.Image import Image
from torch import Tensor

from repro.data.augment_geometric import (
    HorizontalFlip,
    RandomCrop,
    Rotation,
    VerticalFlip,
    crop,
    flip,
    rotate,
)

SIZES = [(32, 32), (28, 28), (20, 33)]


def byte_images(batch: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (batch, 3, height, width), generator=seeded(1), dtype=torch.uint8)


def through_pillow(image: Tensor, transform: Callable[..., Image], *arguments: object) -> Tensor:
    """A torchvision transform of a byte image done by Pillow, in [0, 1]."""
    output: Tensor = TF.pil_to_tensor(transform(TF.to_pil_image(image), *arguments))
    return output / 255


def between_two_pixels(angles: Tensor, height: int, width: int) -> Tensor:
    """Where the exact source position is halfway between two pixels, bool (batch, height, width).

    There the last bit of a float32 decides which of them is nearest, and processors round it differently.
    """
    x = torch.arange(width).double() - (width - 1) / 2
    y = (torch.arange(height).double() - (height - 1) / 2).unsqueeze(1)
    cosine, sine = (wave.view(-1, 1, 1) for wave in (angles.double().deg2rad().cos(), angles.double().deg2rad().sin()))
    source_x, source_y = cosine * x - sine * y + (width - 1) / 2, sine * x + cosine * y + (height - 1) / 2
    halfway = [(position - position.floor() - 0.5).abs() < 1e-4 for position in (source_x, source_y)]
    return halfway[0] | halfway[1]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("padding", [1, 4])
def test_crop_equals_torchvision_s_pad_and_crop_at_every_offset(height: int, width: int, padding: int) -> None:
    offsets = list(product(range(2 * padding + 1), repeat=2))
    images = byte_images(len(offsets), height, width)
    top, left = torch.tensor(offsets).T
    ours = crop(images / 255, top, left, padding)
    for image, output, (row, column) in zip(images, ours, offsets, strict=True):
        expected = TF.crop(TF.pad(image / 255, [padding]), row, column, height, width)
        assert torch.equal(output, expected)
        padded = TF.to_pil_image(image)
        pillow = TF.pil_to_tensor(TF.crop(TF.pad(padded, [padding]), row, column, height, width))
        assert torch.equal(output, pillow / 255)


@pytest.mark.parametrize(("dim", "transform"), [(3, TF.hflip), (2, TF.vflip)])
def test_flip_mirrors_exactly_the_images_asked_for(dim: int, transform: Callable[..., Image]) -> None:
    images = byte_images(4, 20, 33)
    output = flip(images / 255, torch.tensor([True, False, False, True]), dim)
    for index, flipped in enumerate([True, False, False, True]):
        expected = through_pillow(images[index], transform) if flipped else images[index] / 255
        assert torch.equal(output[index], expected)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_rotation_equals_torchvision_s_pixel_for_pixel(height: int, width: int) -> None:
    ties = [0.0, 1e-6, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 135, 180, -10, -20, -45, -90, -180]
    angles = torch.cat([torch.tensor(ties), torch.rand(100, generator=seeded(2)) * 360 - 180])
    images = torch.rand(len(angles), 3, height, width, generator=seeded(3))
    expected = [TF.rotate(image, angle) for image, angle in zip(images, angles.tolist(), strict=True)]
    differing = (rotate(images, angles) != torch.stack(expected)).any(dim=1)
    halfway = between_two_pixels(angles, height, width)
    assert halfway.float().mean() < 0.02
    assert not (differing & ~halfway).any()


def test_rotation_agrees_with_pillow_on_all_but_one_pixel_in_a_thousand() -> None:
    images, angles = byte_images(200, 32, 32), torch.rand(200, generator=seeded(4)) * 40 - 20
    expected = [through_pillow(image, TF.rotate, angle) for image, angle in zip(images, angles.tolist(), strict=True)]
    differing = (rotate(images / 255, angles) != torch.stack(expected)).any(dim=1)
    assert differing.float().mean() < 1e-3


def test_rotation_by_a_quarter_turn_is_counter_clockwise() -> None:
    images = torch.rand(2, 3, 9, 9, generator=seeded(5))
    assert torch.equal(rotate(images, torch.tensor([90.0, -90.0]))[0], torch.rot90(images[0], 1, (1, 2)))
    assert torch.equal(rotate(images, torch.tensor([90.0, -90.0]))[1], torch.rot90(images[1], -1, (1, 2)))


def test_rotation_is_exact_under_autocast() -> None:
    images, angles = torch.rand(8, 3, 32, 32, generator=seeded(6)), torch.linspace(-20, 20, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = rotate(images, angles)
    assert torch.equal(output, rotate(images, angles))


def test_crop_offsets_are_uniform_over_all_positions() -> None:
    """The crop's middle pixel tells the offset: every pixel of the image has its own value."""
    places, batch = 9 * 9, 8100
    image = torch.arange(18 * 18).view(1, 1, 18, 18) / (18 * 18)
    middle = RandomCrop(padding=4)(image.expand(batch, -1, -1, -1), seeded(0))[:, 0, 9, 9]
    row, column = np.divmod(np.rint(middle.numpy() * 18 * 18).astype(int), 18)
    position = (row - 5) * 9 + (column - 5)
    counts = np.bincount(position, minlength=places)
    assert len(counts) == places and counts.min() > 0  # all, the four corners among them, and no other
    assert scipy.stats.chisquare(counts).pvalue > IMPLAUSIBLE
    pairs = np.bincount(3 * (row[:-1] // 3 % 3) + row[1:] // 3 % 3, minlength=9).reshape(3, 3)
    assert scipy.stats.chi2_contingency(pairs).pvalue > IMPLAUSIBLE  # an image's says nothing of the next one's


@pytest.mark.parametrize("kind", [HorizontalFlip, VerticalFlip])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_flips_are_independent_events_of_the_given_probability(
    kind: type[HorizontalFlip] | type[VerticalFlip], p: float
) -> None:
    image = torch.tensor([[0.1, 0.2], [0.3, 0.4]]).expand(5000, 1, 2, 2)
    output = kind(p=p)(image, seeded(1))
    mirrored = torch.tensor([[0.2, 0.1], [0.4, 0.3]] if kind is HorizontalFlip else [[0.3, 0.4], [0.1, 0.2]])
    flipped = (output == mirrored).all(dim=3).all(dim=2).squeeze(1)
    unchanged = (output == image).all(dim=3).all(dim=2).squeeze(1)
    assert (flipped ^ unchanged).all()
    assert scipy.stats.binomtest(int(flipped.sum()), 5000, p).pvalue > IMPLAUSIBLE
    both = int((flipped[::2] & flipped[1::2]).sum())
    assert scipy.stats.binomtest(both, 2500, p * p).pvalue > IMPLAUSIBLE


@pytest.mark.parametrize("degrees", [20.0, 180.0])
def test_rotation_angles_are_uniform_and_independent(degrees: float) -> None:
    """The angle is read off the output: the input's channels are each pixel's own x and y, and 1.

    101 pixels show an angle to about half a degree.
    """
    batch, size = 1000, 101
    axis = torch.arange(size) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    image = torch.stack((x / size + 0.5, y / size + 0.5, torch.ones(size, size)))
    output = Rotation(degrees=degrees)(image.expand(batch, -1, -1, -1), seeded(2))
    inside = output[:, 2]
    source_x, source_y = ((output[:, channel] - 0.5) * size * inside for channel in (0, 1))
    sine = (source_y * x - source_x * y).sum(dim=(1, 2))
    cosine = (source_x * x + source_y * y).sum(dim=(1, 2))
    angles = torch.atan2(sine, cosine).rad2deg().numpy()
    assert np.abs(angles).max() <= degrees + 0.6
    assert scipy.stats.kstest(angles, scipy.stats.uniform(-degrees, 2 * degrees).cdf).pvalue > IMPLAUSIBLE
    assert scipy.stats.pearsonr(angles[:-1], angles[1:]).pvalue > IMPLAUSIBLE
