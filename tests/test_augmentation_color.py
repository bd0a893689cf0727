"""Colour jitter against torchvision, image by image, against colorsys, and the distribution of its draws."""

import colorsys
from itertools import permutations

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision.transforms.functional as TF
from draws import IMPLAUSIBLE, seeded
from torch import Tensor

from repro.data.augment_color import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    ColorJitter,
    adjust_hue,
    blend,
    jitter,
)
from repro.errors import BadInput

TORCHVISION = {
    BRIGHTNESS: TF.adjust_brightness,
    CONTRAST: TF.adjust_contrast,
    SATURATION: TF.adjust_saturation,
    HUE: TF.adjust_hue,
}


def colorful_images(batch: int, channels: int = 3) -> Tensor:
    """Random images, some of which have pure colours, ties between channels, grey, black and white."""
    images = torch.rand(batch, channels, 8, 9, generator=seeded(1))
    images[::4] = images[::4].round()
    images[1::4] = (images[1::4] * 4).round() / 4
    images[2] = 0.3
    return images


def one_by_one(images: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    outputs = []
    for image, operations, own in zip(images, order.tolist(), factors.tolist(), strict=True):
        for operation in operations:
            image = TORCHVISION[operation](image, own[operation])
        outputs.append(image)
    return torch.stack(outputs)


def random_settings(batch: int) -> tuple[Tensor, Tensor]:
    """All 24 orders in turn, factors in [0, 2] and shifts in [-0.5, 0.5]."""
    orders = torch.tensor(list(permutations(range(4))))
    factors = torch.rand(batch, 4, generator=seeded(2)) * 2
    factors[:, HUE] = factors[:, HUE] / 2 - 0.5
    return orders[torch.arange(batch) % 24], factors


@pytest.mark.parametrize("channels", [1, 3])
def test_blend_equals_torchvision_s_brightness_contrast_and_saturation(channels: int) -> None:
    images = colorful_images(60, channels)
    operations = torch.arange(60) % 3
    factors = torch.rand(60, generator=seeded(3)) * 3
    factors[:9] = torch.tensor([0.0, 0, 0, 1, 1, 1, 2, 2, 2])
    expected = one_by_one(images, operations.unsqueeze(1), factors.unsqueeze(1).expand(-1, 4))
    torch.testing.assert_close(blend(images, operations, factors), expected, rtol=0, atol=1e-6)


def test_blend_with_factor_one_changes_no_bit() -> None:
    images = colorful_images(30)
    assert torch.equal(blend(images, torch.arange(30) % 3, torch.ones(30)), images)


def test_brightness_contrast_and_saturation_of_a_worked_example() -> None:
    """Two pixels, (1, 0, 0) and (0, 0.5, 0), whose luma is 0.2989 and 0.2935, and 0.2962 on average."""
    image = torch.tensor([[[1.0, 0.0]], [[0.0, 0.5]], [[0.0, 0.0]]])
    half = blend(image.expand(3, -1, -1, -1), torch.tensor([BRIGHTNESS, CONTRAST, SATURATION]), torch.full((3,), 0.5))
    expected = torch.tensor(
        [
            [[[0.5, 0.0]], [[0.0, 0.25]], [[0.0, 0.0]]],
            [[[0.6481, 0.1481]], [[0.1481, 0.3981]], [[0.1481, 0.1481]]],
            [[[0.64945, 0.14675]], [[0.14945, 0.39675]], [[0.14945, 0.14675]]],
        ]
    )
    torch.testing.assert_close(half, expected, rtol=0, atol=1e-6)


def test_hue_equals_torchvision_s() -> None:
    images, shifts = colorful_images(60), torch.rand(60, generator=seeded(4)) - 0.5
    shifts[:5] = torch.tensor([-0.5, 0.0, 0.5, 1 / 3, -1 / 6])
    expected = one_by_one(images, torch.full((60, 1), HUE), shifts.unsqueeze(1).expand(-1, 4))
    torch.testing.assert_close(adjust_hue(images, shifts), expected, rtol=0, atol=5e-6)


def test_hue_equals_colorsys_in_double_precision() -> None:
    images, shifts = colorful_images(8), torch.tensor([-0.5, -0.2, -0.05, 0.0, 0.1, 0.2, 0.4, 0.5])
    output = adjust_hue(images, shifts)
    for image, shifted, shift in zip(images.double(), output.double(), shifts.tolist(), strict=True):
        for pixel, got in zip(image.flatten(1).T.tolist(), shifted.flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            assert got == pytest.approx(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value), abs=5e-6)


def test_a_third_of_a_turn_takes_red_to_green_to_blue() -> None:
    primaries = torch.eye(3).view(3, 3, 1, 1)
    torch.testing.assert_close(adjust_hue(primaries, torch.full((3,), 1 / 3)), primaries.roll(-1, 0))


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_equals_torchvision_s_operations_in_each_image_s_own_order(channels: int) -> None:
    images = colorful_images(240, channels)
    order, factors = random_settings(240)
    expected = one_by_one(images, order, factors)
    torch.testing.assert_close(jitter(images, order, factors), expected, rtol=0, atol=1e-5)


def test_the_component_applies_what_it_draws() -> None:
    images, component = (
        colorful_images(48),
        ColorJitter(brightness=0.4, contrast=0.3, saturation=0.5, hue=0.1),
    )
    expected = one_by_one(images, *component.draw(48, seeded(5)))
    torch.testing.assert_close(component(images, seeded(5)), expected, rtol=0, atol=1e-5)


def test_saturation_and_hue_leave_grayscale_images_bit_for_bit() -> None:
    images = colorful_images(24, channels=1)
    component = ColorJitter(brightness=0, contrast=0, saturation=1.0, hue=0.5)
    assert torch.equal(component(images, seeded(0)), images)


def test_saturation_and_hue_keep_gray_pixels_of_rgb_images_gray() -> None:
    images = colorful_images(24, channels=1).expand(-1, 3, -1, -1)
    component = ColorJitter(brightness=0, contrast=0, saturation=1.0, hue=0.5)
    torch.testing.assert_close(
        component(images, seeded(0)), images, rtol=0, atol=2e-4
    )  # the luma weights sum to 0.9999


def test_strengths_of_zero_change_nothing() -> None:
    images = colorful_images(24)
    output = ColorJitter(brightness=0, contrast=0, saturation=0, hue=0)(images, seeded(0))
    torch.testing.assert_close(output, images, rtol=0, atol=1e-6)


def test_images_of_two_channels_are_refused() -> None:
    with pytest.raises(BadInput, match="1 or 3 channels, not 2"):
        ColorJitter()(torch.rand(4, 2, 8, 8), seeded(0))


def test_orders_are_uniform_over_all_24_permutations() -> None:
    order, _ = ColorJitter().draw(24_000, seeded(6))
    seen, counts = np.unique(order.numpy(), axis=0, return_counts=True)
    assert sorted(map(tuple, seen.tolist())) == sorted(permutations(range(4)))
    assert scipy.stats.chisquare(counts).pvalue > IMPLAUSIBLE


def test_factors_are_uniform_and_independent_and_never_negative() -> None:
    _, factors = ColorJitter(brightness=0.2, contrast=0.7, saturation=1.5, hue=0.3).draw(5000, seeded(7))
    bounds = {BRIGHTNESS: (0.8, 1.2), CONTRAST: (0.3, 1.7), SATURATION: (0.0, 2.5), HUE: (-0.3, 0.3)}
    columns = factors.double().numpy()
    for operation, (low, high) in bounds.items():
        own = columns[:, operation]
        assert low - 1e-6 <= own.min() and own.max() <= high + 1e-6
        assert scipy.stats.kstest(own, scipy.stats.uniform(low, high - low).cdf).pvalue > IMPLAUSIBLE
        assert scipy.stats.pearsonr(own[:-1], own[1:]).pvalue > IMPLAUSIBLE
        for other in range(operation):
            assert scipy.stats.pearsonr(own, columns[:, other]).pvalue > IMPLAUSIBLE
