"""Calibration error against a plain Python loop and values worked out by hand."""

import math

import pytest
import torch
from scipy.special import softmax

from repro.metrics.calibration import expected_calibration_error


def draw(examples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits of 5 classes with labels that follow them, so that accuracy varies over the bins."""
    generator = torch.Generator().manual_seed(0)
    logits = 1.5 * torch.randn(examples, 5, generator=generator)
    labels = torch.multinomial((0.6 * logits).softmax(dim=1), 1, generator=generator).squeeze(1)
    return logits, labels


def two_class_logits(confidences: list[float]) -> torch.Tensor:
    """Logits whose float64 softmax puts these confidences on class 0."""
    confidence = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([confidence, 1 - confidence], dim=1).log()


@pytest.mark.parametrize("bins", [1, 2, 7, 10, 15, 100, 1000])
def test_it_matches_a_loop_over_bins(bins: int) -> None:
    logits, labels = draw(400)
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, label in zip(softmax(logits.double().numpy(), axis=1).tolist(), labels.tolist(), strict=True):
        members[math.ceil(max(row) * bins) - 1].append((max(row), row.index(max(row)) == label))
    expected = 0.0
    for inside in filter(None, members):
        mean_confidence = sum(confidence for confidence, _ in inside) / len(inside)
        share_correct = sum(correct for _, correct in inside) / len(inside)
        expected += len(inside) / 400 * abs(share_correct - mean_confidence)
    assert expected_calibration_error(logits, labels, bins).item() == pytest.approx(expected, rel=1e-10)


def test_hand_computed_ece() -> None:
    logits = two_class_logits([0.75, 0.75, 0.75, 0.625, 1.0])
    labels = torch.tensor([0, 0, 1, 1, 0])
    # Bins of width 1/4: .625, .75, .75, .75 share (.5, .75] with 2 of 4 correct; 1.0 lies in (.75, 1].
    gap = (0.625 + 3 * 0.75) / 4 - 0.5
    assert expected_calibration_error(logits, labels, bins=4).item() == pytest.approx(4 / 5 * gap)
    # One bin: 3 of 5 correct.
    assert expected_calibration_error(logits, labels, bins=1).item() == pytest.approx((3.875 - 3) / 5)


def test_bins_are_closed_on_the_right() -> None:
    """A confidence on an edge belongs to the bin below; exactly 1 belongs to the last bin."""
    right_below_wrong_above = torch.tensor([0, 1])
    for edge, bins in ((0.75, 4), (0.625, 8)):
        logits = two_class_logits([edge, edge + 0.01])
        apart = ((1 - edge) + (edge + 0.01)) / 2
        assert expected_calibration_error(logits, right_below_wrong_above, bins).item() == pytest.approx(apart)
    certain_and_nearly = two_class_logits([1.0, 0.99])
    assert expected_calibration_error(certain_and_nearly, right_below_wrong_above, 10).item() == pytest.approx(0.495)


def test_confident_answers_cost_exactly_their_errors() -> None:
    logits = torch.tensor([[1000.0, 0.0]]).expand(8, 2)
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    assert expected_calibration_error(logits, labels).item() == 3 / 8


def test_predictions_that_labels_follow_are_calibrated_and_sharper_ones_are_not() -> None:
    logits, labels = draw(20_000)
    assert expected_calibration_error(0.6 * logits, labels).item() < 0.015
    assert expected_calibration_error(2 * logits, labels).item() > 0.1


def test_a_diverged_network_has_no_calibration_rather_than_a_number() -> None:
    logits, labels = draw(50)
    logits[7] = torch.nan
    assert expected_calibration_error(logits, labels).isnan()


def test_calibration_never_waits_for_the_device_nor_leaves_it() -> None:
    """On the meta device there are no values, so any read of one raises."""
    logits, labels = torch.empty(8, 3, device="meta"), torch.empty(8, dtype=torch.long, device="meta")
    assert expected_calibration_error(logits, labels).device.type == "meta"
