"""Unbiased streaming CKA against its definition as a sum over distinct examples, and its invariances."""

from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from repro.metrics.cka import StreamingCKA


def draw_related(
    examples: int, dimensions: tuple[int, int] = (6, 9), seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of two networks that share some directions: x (examples, d1), y (examples, d2), float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, dimensions[0], generator=generator, dtype=torch.float64)
    mixing = torch.randn(dimensions, generator=generator, dtype=torch.float64)
    noise = torch.randn(examples, dimensions[1], generator=generator, dtype=torch.float64)
    return x, x @ mixing + 2 * noise


def unbiased_cka(features_x: torch.Tensor, features_y: torch.Tensor) -> torch.Tensor:
    """CKA of a single batch."""
    cka = StreamingCKA()
    cka.update(features_x, features_y)
    return cka.value()


def hsic_over_distinct_tuples(k: NDArray[np.float64], l: NDArray[np.float64]) -> float:  # noqa: E741
    """HSIC's U-statistic: the mean of k_ij (l_ij + l_qr - 2 l_iq) over all i, j, q, r that differ."""
    values = [k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in permutations(range(len(k)), 4)]
    return float(np.mean(values))


def hsics_by_definition(x: torch.Tensor, y: torch.Tensor) -> NDArray[np.float64]:
    """HSIC of (x, y), (x, x) and (y, y)."""
    a, b = x.flatten(1).double().numpy(), y.flatten(1).double().numpy()
    k, l = a @ a.T, b @ b.T  # noqa: E741
    return np.array([hsic_over_distinct_tuples(*pair) for pair in ((k, l), (k, k), (l, l))])


def ratio(hsics: NDArray[np.float64]) -> float:
    return float(hsics[0] / np.sqrt(hsics[1] * hsics[2]))


def biased_cka(x: torch.Tensor, y: torch.Tensor) -> float:
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    return float((x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


@pytest.mark.parametrize("examples", [4, 5, 9])
def test_one_batch_matches_the_u_statistic_over_distinct_examples(examples: int) -> None:
    x, y = draw_related(examples)
    expected = ratio(hsics_by_definition(x + 3, y - 1))
    assert unbiased_cka(x + 3, y - 1).item() == pytest.approx(expected, rel=1e-9)


def test_streaming_averages_hsic_before_the_ratio_and_weighs_batches_by_size() -> None:
    x, y = draw_related(20)
    cka, total = StreamingCKA(), np.zeros(3)
    for start, stop in ((0, 8), (8, 16), (16, 20)):
        cka.update(x[start:stop], y[start:stop])
        total += (stop - start) * hsics_by_definition(x[start:stop], y[start:stop])
    assert cka.value().item() == pytest.approx(ratio(total), rel=1e-9)


def test_a_short_last_batch_does_not_count_like_a_full_one() -> None:
    x, y = draw_related(252)
    y[248:] = 3 * torch.randn(4, 9, generator=torch.Generator().manual_seed(1))  # unlike the rest
    full, short = StreamingCKA(), StreamingCKA()
    for batch in (slice(0, 124), slice(124, 248)):
        full.update(x[batch], y[batch])
        short.update(x[batch], y[batch])
    short.update(x[248:], y[248:])
    per_batch = [hsic_from_formula(x[b], y[b]) for b in (slice(0, 124), slice(124, 248), slice(248, 252))]
    by_size = ratio(124 * per_batch[0] + 124 * per_batch[1] + 4 * per_batch[2])
    unweighted = ratio(per_batch[0] + per_batch[1] + per_batch[2])
    assert short.value().item() == pytest.approx(by_size, rel=1e-9)
    assert abs(by_size - full.value().item()) < abs(unweighted - full.value().item()) / 3


def hsic_from_formula(x: torch.Tensor, y: torch.Tensor) -> NDArray[np.float64]:
    """HSIC_1 of (x, y), (x, x) and (y, y) in the three terms of Song et al. 2012."""

    def hsic(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        m = len(a)
        k, l = a @ a.T, b @ b.T  # noqa: E741
        np.fill_diagonal(k, 0)
        np.fill_diagonal(l, 0)
        product = k @ l
        terms = np.trace(product) + k.sum() * l.sum() / ((m - 1) * (m - 2)) - 2 / (m - 2) * product.sum()
        return float(terms / (m * (m - 3)))

    a, b = x.numpy(), y.numpy()
    return np.array([hsic(a, b), hsic(a, a), hsic(b, b)])


def test_one_large_batch_matches_the_three_term_formula() -> None:
    x, y = draw_related(60)
    assert unbiased_cka(x, y).item() == pytest.approx(ratio(hsic_from_formula(x, y)), rel=1e-10)


def test_a_representation_is_identical_to_itself_rotated_scaled_and_shifted() -> None:
    x, _ = draw_related(30)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2)).double())
    for other in (x, x @ rotation, -2.5 * x, x + torch.arange(6), torch.cat([x, 0 * x], dim=1)):
        assert unbiased_cka(x, other).item() == pytest.approx(1, abs=1e-12)


def test_cka_ignores_rotation_scale_and_shift_but_not_unequal_stretching() -> None:
    x, y = draw_related(40)
    expected = unbiased_cka(x, y).item()
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2)).double())
    assert unbiased_cka(7 * x @ rotation - 100, y).item() == pytest.approx(expected, rel=1e-9)
    assert unbiased_cka(y, x).item() == pytest.approx(expected, rel=1e-12)
    stretched = x * torch.tensor([10.0, 1, 1, 1, 1, 1])
    assert abs(unbiased_cka(stretched, y).item() - expected) > 0.05


def test_unrelated_features_average_zero_where_the_biased_estimator_is_far_off() -> None:
    generator = torch.Generator().manual_seed(4)
    x, y = torch.randn(2, 300, 16, 64, generator=generator, dtype=torch.float64)
    values = np.array([unbiased_cka(a, b).item() for a, b in zip(x, y, strict=True)])
    assert abs(values.mean()) < 4 * values.std(ddof=1) / np.sqrt(len(values))
    assert values.min() < 0 < values.max()
    assert min(biased_cka(a, b) for a, b in zip(x, y, strict=True)) > 0.5


def test_streaming_over_a_shuffled_set_approaches_the_value_of_the_whole_set() -> None:
    x, y = draw_related(1500)
    cka = StreamingCKA()
    for start in range(0, 1500, 64):
        cka.update(x[start : start + 64], y[start : start + 64])
    assert cka.value().item() == pytest.approx(unbiased_cka(x, y).item(), abs=0.01)


def test_batches_ordered_by_class_miss_what_tells_classes_apart() -> None:
    """Why `StreamingCKA` asks for shuffled data: here only the class is common to both representations."""
    generator = torch.Generator().manual_seed(5)
    classes = torch.arange(1024) // 64
    class_means = 3 * torch.randn(16, 8, generator=generator)
    x, y = (class_means[classes] + torch.randn(1024, 8, generator=generator) for _ in range(2))

    def stream(order: torch.Tensor) -> float:
        cka = StreamingCKA()
        for batch in order.view(16, 64):
            cka.update(x[batch], y[batch])
        return cka.value().item()

    whole = unbiased_cka(x, y).item()
    assert stream(torch.randperm(1024, generator=generator)) == pytest.approx(whole, abs=0.05)
    assert abs(stream(torch.arange(1024))) < 0.1 and whole > 0.7


def test_every_pixel_of_every_channel_is_its_own_feature() -> None:
    """The original averages over channels and rows, which leaves the columns only."""
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(12, 4, 5, 3, generator=generator)
    y = x.permute(0, 2, 3, 1) + torch.randn(12, 5, 3, 4, generator=generator)
    expected = unbiased_cka(x.reshape(12, 60), y.reshape(12, 60)).item()
    assert unbiased_cka(x, y).item() == expected
    # Rearranging channels, rows and columns of all images alike is a rotation of the feature space.
    assert unbiased_cka(x.permute(0, 3, 1, 2), y).item() == pytest.approx(expected, rel=1e-9)
    columns_only = unbiased_cka(x.mean(dim=(1, 2)), y.mean(dim=(1, 2))).item()
    assert abs(columns_only - expected) > 0.05


def test_float32_features_with_a_large_offset_keep_their_digits() -> None:
    x, y = draw_related(64, (500, 300))
    shifted = (x + 1000).float()
    expected = ratio(hsic_from_formula(shifted.double() - 1000, y.float().double()))
    assert unbiased_cka(shifted, y.float()).item() == pytest.approx(expected, rel=1e-9)


def test_autocast_does_not_lower_the_precision() -> None:
    x, y = (features.float() for features in draw_related(32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = unbiased_cka(x, y)
    assert lowered.dtype == torch.float64 and lowered.item() == unbiased_cka(x, y).item()


def test_features_equal_for_all_examples_have_no_cka() -> None:
    """Also where their mean is not exactly representable: rounding noise is no representation."""
    x, _ = draw_related(37)
    collapsed = torch.full((37, 100), 0.1)
    assert unbiased_cka(x, collapsed).isnan() and unbiased_cka(collapsed, collapsed).isnan()


def test_updates_hold_no_graph_and_leave_the_features_alone() -> None:
    x, y = draw_related(8)
    before = x.clone()
    x.requires_grad_()
    assert not unbiased_cka(x, y).requires_grad
    assert torch.equal(x, before)


def test_batches_that_cannot_be_used_are_refused() -> None:
    cka = StreamingCKA()
    with pytest.raises(ValueError, match="before the first batch"):
        cka.value()
    with pytest.raises(ValueError, match="at least 4 examples in every batch, got 3"):
        cka.update(torch.zeros(3, 5), torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"of 8 examples and of 7"):
        cka.update(torch.zeros(8, 5), torch.zeros(7, 5))


def test_cka_never_waits_for_the_device_nor_leaves_it() -> None:
    """On the meta device there are no values, so any read of one raises."""
    features = torch.empty(8, 3, 2, 2, device="meta")
    assert unbiased_cka(features, features).device.type == "meta"
