"""The independent-student control as independent trials."""

import numpy as np

from repro.records.record import Floats


def control_values(pairs: Floats) -> Floats:
    """One value for each of n >= 2 trials; their mean is the control, and their spread gives its error.

    pairs: (n, n), how well the student of trial j (column) matches the teacher of trial i (row).

    The control is the mean U of the n (n - 1) off-diagonal pairs. Row means are not independent trials: each student
    is part of n - 1 of them, so their spread hides how much students differ. For n >= 3 the values are the jackknife's
    pseudo-values, n U - (n - 1) U_i with U_i the mean without trial i (Arvesen 1969, Ann. Math. Statist. 40:2076),
    which have the spread of independent trials. With two trials no trial can be left out, so they are the row means.
    """
    n = len(pairs)
    away = pairs.copy()
    np.fill_diagonal(away, 0.0)
    if n == 2:
        return np.asarray(away.sum(axis=1))
    total = away.sum()
    without = (total - away.sum(axis=0) - away.sum(axis=1)) / ((n - 1) * (n - 2))
    values: Floats = n * total / (n * (n - 1)) - (n - 1) * without
    return values
