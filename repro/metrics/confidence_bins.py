"""Bins of confidence for code that has predictions as arrays, and no torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def confidence_bins(confidence: NDArray[np.floating[Any]], bins: int) -> NDArray[np.intp]:
    """The bin of each confidence, of any shape, in (0, 1]: bin i holds (i / bins, (i + 1) / bins], as in
    `repro.metrics.calibration`."""
    number: NDArray[np.intp] = np.ceil(confidence * bins).astype(np.intp)
    return number - 1
