"""Calibration: does a network's confidence, the probability of its top class, match its accuracy?"""

import torch
from torch import Tensor

from repro.metrics.inputs import class_indices


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> Tensor:
    """ECE, in [0, 1]: each bin's |accuracy - confidence|, averaged with the bins' shares of the examples.

    Bin i holds confidences in (i / bins, (i + 1) / bins] (Guo et al. 2017, arXiv 1706.04599, section 2); empty bins
    contribute nothing. Logits are (n, num_classes) and finite, labels (n,) integers in [0, num_classes); NaN logits
    give NaN. The result is float64 on the logits' device.
    """
    labels = class_indices(logits, labels)
    confidence = logits.double().softmax(dim=1).amax(dim=1)
    correct = (logits.argmax(dim=1) == labels).double()
    inner_edges = torch.arange(1, bins, dtype=torch.float64, device=logits.device) / bins
    index = torch.bucketize(confidence, inner_edges)
    per_example = torch.stack([confidence, correct], dim=1)
    sums = torch.zeros(bins, 2, dtype=torch.float64, device=logits.device).index_add(0, index, per_example)
    # A bin's size cancels against its share of the examples, so nothing is divided by the size of an empty bin.
    return (sums[:, 1] - sums[:, 0]).abs().sum() / len(confidence)
