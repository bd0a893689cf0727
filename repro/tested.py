"""What a run was tested on, and whether that is the same for two runs. Needs no torch, as W&B's mirror loads none."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tested(NamedTuple):
    """The labels (n,) of a run's test set, and the `test_set` of its summary, which earlier records lack."""

    labels: NDArray[np.int64]
    test_set: str | None

    def same_as(self, other: "Tested") -> bool:
        # Other images may have the same labels: in folders sorted by class, or in a variant of a data set. And some
        # test sets of different data sets are equally long, as CIFAR-100's and MNIST's.
        known = self.test_set is not None and other.test_set is not None
        return np.array_equal(self.labels, other.labels) and (not known or self.test_set == other.test_set)
