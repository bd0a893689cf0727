"""Calibration: does a network's confidence, the probability of its top class, match its accuracy?

Logits are (n, num_classes) and finite, labels (n,) integers in [0, num_classes); NaN logits give NaN.
Results are float64 on the logits' device.

Two ways to bin n examples by confidence into `bins` bins:

- `equal_width`: bin i holds confidences in (i / bins, (i + 1) / bins] (Guo et al. 2017, arXiv 1706.04599).
- `equal_mass`: quantile bins by rank (Nguyen & O'Connor 2015, arXiv 1508.05154). Bin i holds the examples
  for which floor(rank * bins / n) = i, where the rank of an example is the number of examples with strictly smaller
  confidence. Bin sizes differ by at most one, except that examples of equal confidence share a bin, so that the
  result does not depend on the order of the examples.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.metrics.inputs import class_indices

BinScheme = Literal["equal_width", "equal_mass"]


@dataclass(frozen=True)
class ReliabilityBins:
    """The data of a reliability diagram: one entry per bin, least confident first; float64, shape (bins,)."""

    confidence: Tensor
    """Mean confidence of the bin's examples; NaN in an empty bin."""
    accuracy: Tensor
    """Accuracy on the bin's examples; NaN in an empty bin."""
    count: Tensor
    """Number of the bin's examples."""


def reliability_bins(
    logits: Tensor, labels: Tensor, bins: int = 15, scheme: BinScheme = "equal_width"
) -> ReliabilityBins:
    """Mean confidence, accuracy and number of examples in each confidence bin.

    Raises ValueError for fewer than one bin or an unknown scheme.
    """
    confidence, correct, count = _bin_sums(logits, labels, bins, scheme)
    return ReliabilityBins(confidence / count, correct / count, count)


def expected_calibration_error(
    logits: Tensor, labels: Tensor, bins: int = 15, scheme: BinScheme = "equal_width"
) -> Tensor:
    """ECE, in [0, 1]: the mean of |accuracy - confidence| over bins, weighted by the bins' shares of the examples.

    Source: Guo et al. 2017, section 2. Empty bins contribute nothing.
    Raises ValueError for fewer than one bin or an unknown scheme.
    """
    confidence, correct, count = _bin_sums(logits, labels, bins, scheme)
    # A bin's count cancels against its share count / n, so nothing is divided by the count of an empty bin.
    return (correct - confidence).abs().sum() / count.sum()


def _bin_sums(logits: Tensor, labels: Tensor, bins: int, scheme: BinScheme) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of confidences, number of correct examples and number of all examples in each bin; each (bins,)."""
    if bins < 1:
        raise ValueError(f"calibration needs at least one bin, got {bins}")
    labels = class_indices(logits, labels)
    confidence = logits.double().softmax(dim=1).amax(dim=1)
    correct = (logits.argmax(dim=1) == labels).double()
    if scheme == "equal_width":
        inner_edges = torch.arange(1, bins, dtype=torch.float64, device=logits.device) / bins
        index = torch.bucketize(confidence, inner_edges)
    elif scheme == "equal_mass":
        rank = torch.searchsorted(confidence.sort().values, confidence)
        # NaN confidences may rank past the last example, but must still reach a bin, so that the result is NaN.
        index = (rank * bins // len(confidence)).clamp(max=bins - 1)
    else:
        raise ValueError(f"unknown bin scheme {scheme!r}; valid: equal_width, equal_mass")
    per_example = torch.stack([confidence, correct, torch.ones_like(confidence)], dim=1)
    # A product, because index_add adds in a varying order on a GPU.
    confidence_sum, correct_sum, count = F.one_hot(index, bins).double().T.matmul(per_example).unbind(dim=1)
    return confidence_sum, correct_sum, count
