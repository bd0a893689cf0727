"""Calibration error against plain Python loops and values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.calibration import calibration_curve

from repro.metrics.calibration import BinScheme, expected_calibration_error, reliability_bins
from repro.metrics.confidence_bins import confidence_bins

SCHEMES: tuple[BinScheme, ...] = ("equal_width", "equal_mass")


def draw(examples: int, classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits with labels that follow them, so that accuracy varies over the bins."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(examples, classes, generator=generator)
    labels = torch.multinomial((0.6 * logits).softmax(dim=1), 1, generator=generator).squeeze(1)
    return logits, labels


def two_class_logits(confidences: list[float]) -> torch.Tensor:
    """Logits whose float64 softmax puts these confidences on class 0."""
    confidence = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([confidence, 1 - confidence], dim=1).log()


def ece_by_loops(bins_of_examples: list[list[tuple[float, bool]]]) -> float:
    total = sum(len(members) for members in bins_of_examples)
    error = 0.0
    for members in bins_of_examples:
        if members:
            mean_confidence = sum(confidence for confidence, _ in members) / len(members)
            share_correct = sum(correct for _, correct in members) / len(members)
            error += len(members) / total * abs(share_correct - mean_confidence)
    return error


def confident_predictions(logits: torch.Tensor, labels: torch.Tensor) -> list[tuple[float, bool]]:
    rows = softmax(logits.double().numpy(), axis=1).tolist()
    return [(max(row), row.index(max(row)) == label) for row, label in zip(rows, labels.tolist(), strict=True)]


@pytest.mark.parametrize("bins", [1, 2, 7, 10, 15, 100, 1000])
def test_equal_width_matches_loops_over_bins(bins: int) -> None:
    logits, labels = draw(400)
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for confidence, correct in confident_predictions(logits, labels):
        members[math.ceil(confidence * bins) - 1].append((confidence, correct))
    result = expected_calibration_error(logits, labels, bins)
    assert result.item() == pytest.approx(ece_by_loops(members), rel=1e-10)
    assert reliability_bins(logits, labels, bins).count.tolist() == [len(m) for m in members]


@pytest.mark.parametrize(("examples", "bins"), [(400, 1), (400, 15), (401, 16), (10, 15), (1, 3)])
def test_equal_mass_matches_loops_over_consecutive_ranks(examples: int, bins: int) -> None:
    logits, labels = draw(examples)
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for rank, example in enumerate(sorted(confident_predictions(logits, labels))):
        members[rank * bins // examples].append(example)
    result = expected_calibration_error(logits, labels, bins, "equal_mass")
    assert result.item() == pytest.approx(ece_by_loops(members), rel=1e-10)
    assert reliability_bins(logits, labels, bins, "equal_mass").count.tolist() == [len(m) for m in members]


def test_hand_computed_ece() -> None:
    logits = two_class_logits([0.75, 0.75, 0.75, 0.625, 1.0])
    labels = torch.tensor([0, 0, 1, 1, 0])
    # Bins of width 1/4: .625, .75, .75, .75 share (.5, .75] with 2 of 4 correct; 1.0 lies in (.75, 1].
    gap = (0.625 + 3 * 0.75) / 4 - 0.5
    assert expected_calibration_error(logits, labels, bins=4).item() == pytest.approx(4 / 5 * gap)
    # One bin: 3 of 5 correct.
    assert expected_calibration_error(logits, labels, bins=1).item() == pytest.approx((3.875 - 3) / 5)


def test_equal_width_bins_are_closed_on_the_right() -> None:
    """A confidence on an edge belongs to the bin below; exactly 1 belongs to the last bin."""
    uniform = torch.zeros(1, 4, dtype=torch.float64)  # confidence exactly 1/4
    assert reliability_bins(uniform, torch.tensor([0]), bins=4).count.tolist() == [1, 0, 0, 0]
    assert reliability_bins(uniform, torch.tensor([0]), bins=8).count.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    half = torch.zeros(1, 2)
    assert reliability_bins(half, torch.tensor([0]), bins=10).count.nonzero().tolist() == [[4]]
    certain = torch.tensor([[1000.0, 0.0]])
    for bins in (1, 10, 15):
        found = reliability_bins(certain, torch.tensor([0]), bins)
        assert found.count.nonzero().tolist() == [[bins - 1]] and found.confidence[-1].item() == 1.0


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_arrays_and_tensors_have_the_same_bins(bins: int) -> None:
    confidences = [0.5, 1.0, 1 / bins, *np.random.default_rng(0).uniform(0.5, 1.0, 200).tolist()]
    labels = torch.zeros(len(confidences), dtype=torch.long)
    found = np.bincount(confidence_bins(np.maximum(confidences, 1 - np.array(confidences)), bins), minlength=bins)
    assert found.tolist() == reliability_bins(two_class_logits(confidences), labels, bins).count.tolist()


def test_confident_answers_cost_exactly_their_errors() -> None:
    logits = torch.tensor([[1000.0, 0.0]]).expand(8, 2)
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    for scheme in SCHEMES:
        assert expected_calibration_error(logits, labels, scheme=scheme).item() == 3 / 8


def test_reliability_bins_hold_mean_confidence_accuracy_and_count() -> None:
    logits = two_class_logits([0.5625, 0.6875, 0.875, 0.875])
    found = reliability_bins(logits, torch.tensor([0, 1, 0, 0]), bins=4)
    assert found.count.tolist() == [0, 0, 2, 2]
    np.testing.assert_allclose(found.confidence.numpy(), [np.nan, np.nan, 0.625, 0.875], rtol=1e-12)
    np.testing.assert_allclose(found.accuracy.numpy(), [np.nan, np.nan, 0.5, 1.0], rtol=1e-12)


def test_equal_mass_diagram_matches_scikit_learns_quantile_curve() -> None:
    logits, labels = draw(600)
    confidence, correct = zip(*confident_predictions(logits, labels), strict=True)
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=12, strategy="quantile")
    found = reliability_bins(logits, labels, 12, "equal_mass")
    np.testing.assert_allclose(found.accuracy.numpy(), accuracy, rtol=1e-10)
    np.testing.assert_allclose(found.confidence.numpy(), mean_confidence, rtol=1e-10)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ece_is_what_the_reliability_diagram_shows(scheme: BinScheme) -> None:
    logits, labels = draw(300)
    found = reliability_bins(logits, labels, 15, scheme)
    gaps = (found.accuracy - found.confidence).abs().nan_to_num() * found.count / 300
    assert expected_calibration_error(logits, labels, 15, scheme).item() == pytest.approx(gaps.sum().item())


@pytest.mark.parametrize("examples", [15, 100, 151])
def test_equal_mass_bins_differ_by_at_most_one_example(examples: int) -> None:
    count = reliability_bins(*draw(examples), 15, "equal_mass").count
    assert count.sum().item() == examples and (count.max() - count.min()).item() <= 1


def test_equal_confidences_share_an_equal_mass_bin_whatever_their_order() -> None:
    """Split by position instead, a test set sorted by correctness would look badly calibrated."""
    logits = two_class_logits([0.75] * 8 + [0.875] * 8)
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1])
    assert reliability_bins(logits, labels, 4, "equal_mass").count.tolist() == [8, 0, 8, 0]
    assert expected_calibration_error(logits, labels, 4, "equal_mass").item() == pytest.approx(0, abs=1e-12)
    for seed in range(5):
        order = torch.randperm(16, generator=torch.Generator().manual_seed(seed))
        shuffled = expected_calibration_error(logits[order], labels[order], 4, "equal_mass")
        assert shuffled.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_predictions_that_labels_follow_are_calibrated_and_sharper_ones_are_not(
    scheme: BinScheme,
) -> None:
    logits, labels = draw(20_000)
    assert expected_calibration_error(0.6 * logits, labels, scheme=scheme).item() < 0.015
    assert expected_calibration_error(2 * logits, labels, scheme=scheme).item() > 0.1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_diverged_network_has_no_calibration_rather_than_a_number(scheme: BinScheme) -> None:
    logits, labels = draw(50)
    logits[7] = torch.nan
    assert expected_calibration_error(logits, labels, 10, scheme).isnan()
    assert reliability_bins(logits, labels, 10, scheme).count.sum().item() == 50


def test_impossible_bins_and_unknown_schemes_are_refused() -> None:
    logits, labels = draw(5)
    with pytest.raises(ValueError, match="at least one bin, got 0"):
        expected_calibration_error(logits, labels, bins=0)
    with pytest.raises(ValueError, match=r"'quantile'.*equal_width, equal_mass"):
        expected_calibration_error(logits, labels, scheme="quantile")  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_calibration_never_waits_for_the_device_nor_leaves_it(scheme: BinScheme) -> None:
    """On the meta device there are no values, so any read of one raises."""
    logits, labels = torch.empty(8, 3, device="meta"), torch.empty(8, dtype=torch.long, device="meta")
    assert expected_calibration_error(logits, labels, 15, scheme).device.type == "meta"
    assert reliability_bins(logits, labels, 15, scheme).count.shape == (15,)
