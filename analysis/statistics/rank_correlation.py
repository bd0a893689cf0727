"""Do two quantities vary together over conditions? Spearman's rank correlation, with its error from the test set.

Both quantities are measured on the same test examples in every trial, so chance in these examples recurs in every trial
and can make a correlation look stable. The standard error that they cause is estimated by a bootstrap over examples.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from analysis.statistics.sample import Sample
from repro.records.record import Floats

FEWEST_CONDITIONS = 4
RESAMPLES = 200


def rank_correlation(pairs: Sequence[tuple[Sample, Sample]]) -> Sample:
    """Spearman's correlation of the two quantities over the conditions, in each trial that has them all.

    pairs: the two quantities of every condition. With fewer than FEWEST_CONDITIONS the sample is empty; trials in which
    one of the quantities is the same in all conditions are left out.
    """
    empty = Sample((), np.zeros(0), None)
    if len(pairs) < FEWEST_CONDITIONS:
        return empty
    shared = [trial for trial in pairs[0][0].trials if all(trial in one.trials for pair in pairs for one in pair)]
    sides = [[pair[side].of(tuple(shared)) for pair in pairs] for side in (0, 1)]
    first, second = (np.stack([sample.values for sample in side]) for side in sides)
    values = _spearman(first, second)
    known = np.isfinite(values)
    if not known.any():
        return empty
    trials = tuple(trial for trial, is_known in zip(shared, known, strict=True) if is_known)
    runs = tuple(dict.fromkeys(run for pair in pairs for run in pair[0].runs))
    return Sample(trials, values[known], None, runs, _example_error(sides, known))


def _example_error(sides: list[list[Sample]], known: NDArray[np.bool_]) -> float | None:
    """Standard deviation of the mean correlation over resamples of the test examples; None if not all are known."""
    arrays = [sample.examples for side in sides for sample in side if sample.examples is not None]
    if len(arrays) < 2 * len(sides[0]) or len({array.shape for array in arrays}) > 1:
        return None
    stacked = np.stack(arrays)[:, known]  # (2 * conditions, trials, examples)
    generator, examples = np.random.default_rng(0), stacked.shape[-1]
    means = np.empty((RESAMPLES, *stacked.shape[:2]))
    for resample in means:
        weights = np.bincount(generator.integers(examples, size=examples), minlength=examples) / examples
        resample[...] = stacked @ weights
    first, second = np.split(means, 2, axis=1)
    correlations = _spearman(np.moveaxis(first, 1, 0), np.moveaxis(second, 1, 0))
    return float(np.nanmean(correlations, axis=-1).std(ddof=1))


def _spearman(first: Floats, second: Floats) -> Floats:
    """Spearman's correlation along the first axis; NaN where a side is constant."""
    ranks = [rankdata(side, axis=0) - (len(side) + 1) / 2 for side in (first, second)]
    norms = np.sqrt((ranks[0] ** 2).sum(axis=0) * (ranks[1] ** 2).sum(axis=0))
    with np.errstate(invalid="ignore"):
        result: Floats = (ranks[0] * ranks[1]).sum(axis=0) / norms
    return result
