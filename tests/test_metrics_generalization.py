"""Generalization metrics against scikit-learn, numpy loops and values worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from repro.metrics.calibration import expected_calibration_error
from repro.metrics.generalization import (
    accuracy,
    accuracy_per_example,
    brier_score,
    brier_score_per_example,
    evaluate,
    negative_log_likelihood,
    negative_log_likelihood_per_example,
)

Metric = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
METRICS: tuple[Metric, ...] = (accuracy, negative_log_likelihood, brier_score, expected_calibration_error)
PER_EXAMPLE: tuple[Metric, ...] = (
    accuracy_per_example,
    negative_log_likelihood_per_example,
    brier_score_per_example,
)


def draw(examples: int = 83, classes: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(examples, classes, generator=generator)
    return logits, torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)


def test_hand_computed_values() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]], dtype=torch.float64).log()
    labels = torch.tensor([0, 2])
    assert accuracy_per_example(logits, labels).tolist() == [1.0, 0.0]
    expected_nll = torch.tensor([np.log(2), np.log(8)])
    torch.testing.assert_close(negative_log_likelihood_per_example(logits, labels), expected_nll)
    # (1/2)^2 + (1/4)^2 + (1/4)^2 and (1/8)^2 + (3/4)^2 + (7/8)^2
    expected_brier = torch.tensor([6 / 16, 86 / 64], dtype=torch.float64)
    torch.testing.assert_close(brier_score_per_example(logits, labels), expected_brier)
    assert brier_score(logits, labels).item() == pytest.approx((6 / 16 + 86 / 64) / 2)


def test_accuracy_and_nll_match_scikit_learn() -> None:
    logits, labels = draw()
    probabilities = softmax(logits.double().numpy(), axis=1)
    expected_accuracy = accuracy_score(labels.numpy(), probabilities.argmax(axis=1))
    assert accuracy(logits, labels).item() == pytest.approx(expected_accuracy)
    expected_nll = log_loss(labels.numpy(), probabilities, labels=list(range(6)))
    assert negative_log_likelihood(logits, labels).item() == pytest.approx(expected_nll, rel=1e-12)


def test_brier_is_twice_scikit_learns_one_sided_score_for_two_classes() -> None:
    logits, labels = draw(classes=2)
    one_sided = brier_score_loss(labels.numpy(), softmax(logits.double().numpy(), axis=1)[:, 1])
    assert brier_score(logits, labels).item() == pytest.approx(2 * one_sided, rel=1e-12)


def test_brier_matches_a_loop_over_classes() -> None:
    logits, labels = draw()
    probabilities = softmax(logits.double().numpy(), axis=1)
    expected = [
        sum((p - (k == label)) ** 2 for k, p in enumerate(row))
        for row, label in zip(probabilities, labels.tolist(), strict=True)
    ]
    np.testing.assert_allclose(brier_score_per_example(logits, labels).numpy(), expected, rtol=1e-12)


def test_nll_uses_each_examples_own_label_only() -> None:
    """The original averages over every pair of an example and another example's label."""
    logits, labels = 20 * torch.eye(10), torch.arange(10)
    assert negative_log_likelihood_per_example(logits, labels).shape == (10,)
    assert negative_log_likelihood(logits, labels).item() == pytest.approx(np.log1p(9 * np.exp(-20)), rel=1e-9)
    logits, labels = draw()
    log_probabilities = log_softmax(logits.double().numpy(), axis=1)
    own = np.mean([-log_probabilities[i, label] for i, label in enumerate(labels.tolist())])
    every_pair = np.mean([-log_probabilities[:, label] for label in labels.tolist()])
    assert negative_log_likelihood(logits, labels).item() == pytest.approx(own, rel=1e-12)
    assert abs(own - every_pair) > 0.01  # the two differ here, so the line above decides


def test_nll_is_exact_where_the_probability_underflows() -> None:
    logits = torch.tensor([[0.0, 5000.0], [0.0, 40.0]])
    expected = torch.tensor([5000.0, 40.0], dtype=torch.float64)
    torch.testing.assert_close(negative_log_likelihood_per_example(logits, torch.tensor([0, 0])), expected)


def test_nll_of_a_confident_correct_prediction_keeps_its_digits() -> None:
    """In float32, log_softmax rounds these to 0."""
    logits = torch.tensor([[20.0, 0.0], [30.0, 0.0]])
    result = negative_log_likelihood_per_example(logits, torch.tensor([0, 0]))
    np.testing.assert_allclose(result.numpy(), np.log1p(np.exp([-20.0, -30.0])), rtol=1e-2)
    assert (result > 0).all()


@pytest.mark.parametrize("metric", range(3))
def test_means_weigh_every_example_equally_however_the_set_is_split(metric: int) -> None:
    """Means of batch means let each image of a short last batch count many times."""
    logits, labels = draw(examples=129)
    logits[128], labels[128] = torch.eye(6)[0] * 30, 1  # a bad miss, alone in the last batch
    per_example, mean = PER_EXAMPLE[metric], METRICS[metric]
    values = torch.cat([per_example(logits[i : i + 128], labels[i : i + 128]) for i in (0, 128)])
    assert mean(logits, labels).item() == pytest.approx(values.numpy().sum() / 129, rel=1e-12)


def test_evaluate_reports_the_four_metrics() -> None:
    logits, labels = draw()
    result = evaluate(logits, labels)
    assert list(result) == ["accuracy", "nll", "brier", "ece"]
    for value, metric in zip(result.values(), METRICS, strict=True):
        assert value.shape == () and value.item() == metric(logits, labels).item()
    assert result["ece"].item() == expected_calibration_error(logits, labels, 15, "equal_width").item()
    assert result["ece"].item() != expected_calibration_error(logits, labels, 10, "equal_width").item()


def test_evaluate_does_not_depend_on_the_order_of_examples_or_the_offset_of_logits() -> None:
    logits, labels = draw()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    for name, value in evaluate(logits, labels).items():
        assert evaluate(logits[order], labels[order])[name].item() == pytest.approx(value.item(), rel=1e-12)
        assert evaluate(logits.double() + 5, labels)[name].item() == pytest.approx(value.item(), rel=1e-9)


def test_half_precision_logits_are_evaluated_in_full() -> None:
    logits, labels = draw()
    rounded = logits.bfloat16()
    for name, value in evaluate(rounded, labels).items():
        assert value.item() == evaluate(rounded.double(), labels)[name].item()


def test_a_diverged_network_has_no_metrics_rather_than_numbers() -> None:
    logits, labels = draw()
    logits[4, 1] = torch.nan
    for per_example in PER_EXAMPLE:
        assert per_example(logits, labels).isnan().nonzero().tolist() == [[4]]
    assert all(value.isnan() for value in evaluate(logits, labels).values())


@pytest.mark.parametrize("metric", METRICS)
def test_unknown_labels_are_refused(metric: Metric) -> None:
    """Also -100, which torch's cross-entropy would leave out of the average without a word."""
    for label in (3, -1, -100):
        with pytest.raises(RuntimeError, match="out of bounds"):
            metric(torch.zeros(2, 3), torch.tensor([0, label]))


@pytest.mark.parametrize("metric", METRICS)
def test_unfit_shapes_and_types_are_refused(metric: Metric) -> None:
    with pytest.raises(ValueError, match=r"\(3,\).*\(2, 3\)"):
        metric(torch.zeros(2, 3), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 3\)"):
        metric(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="float32"):
        metric(torch.zeros(2, 3), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"\(0, 3\)"):
        metric(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))


def test_evaluate_never_waits_for_the_device_nor_leaves_it() -> None:
    """On the meta device there are no values, so any read of one raises."""
    logits, labels = torch.empty(8, 3, device="meta"), torch.empty(8, dtype=torch.long, device="meta")
    for result in evaluate(logits, labels).values():
        assert result.device.type == "meta" and result.shape == ()
