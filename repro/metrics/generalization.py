"""Generalization: how well a network predicts unseen labels.

Logits are (n, num_classes) and finite, labels (n,) integers in [0, num_classes); NaN logits give NaN, never
a number. Results are float64 on the logits' device. Average a metric over per-example values of the whole set,
never over means of batches: a short last batch would be given too much weight.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from repro.metrics.calibration import expected_calibration_error
from repro.metrics.inputs import class_indices


def accuracy_per_example(logits: Tensor, labels: Tensor) -> Tensor:
    """1 where the most probable class is the label, else 0; shape (n,)."""
    labels = class_indices(logits, labels)
    correct = (logits.argmax(dim=1) == labels).double()
    # argmax treats NaN as the largest entry: a diverged network would seem to predict.
    return correct.masked_fill(logits.isnan().any(dim=1), torch.nan)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Top-1 accuracy, in [0, 1]."""
    return accuracy_per_example(logits, labels).mean()


def negative_log_likelihood_per_example(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p(label) in nats; shape (n,)."""
    labels = class_indices(logits, labels)
    log_probs = logits.double().log_softmax(dim=1)
    return -log_probs.gather(1, labels.unsqueeze(1)).squeeze(1)


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean -log p(label) in nats."""
    return negative_log_likelihood_per_example(logits, labels).mean()


def brier_score_per_example(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared distance between the class probabilities and the one-hot label, in [0, 2]; shape (n,)."""
    labels = class_indices(logits, labels)
    one_hot = F.one_hot(labels, num_classes=logits.shape[1])
    return (logits.double().softmax(dim=1) - one_hot).square().sum(dim=1)


def brier_score(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean multi-class Brier score, in [0, 2]: summed over classes (Brier 1950), not averaged over them."""
    return brier_score_per_example(logits, labels).mean()


def evaluate(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """`accuracy`, `nll`, `brier` and `ece` (15 equal-width bins) as 0-dim tensors."""
    return {
        "accuracy": accuracy(logits, labels),
        "nll": negative_log_likelihood(logits, labels),
        "brier": brier_score(logits, labels),
        "ece": expected_calibration_error(logits, labels),
    }
