"""A quantity measured in several trials, and contrasts of such quantities."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from repro.records.record import Floats


@dataclass(frozen=True)
class Sample:
    """A quantity in n trials, each on the same N test examples.

    values: (n,), one for each of `trials`; their mean is the estimate.
    examples: (n, N), what each test example contributes in each trial; their mean is the estimate too (up to
        rounding). None if the quantity is not a mean over test examples, or their values are not known.
    runs: the ids of the runs behind it.
    example_error: without `examples`, the standard error of the estimate that is due to the test set being a sample, if
        it is known in another way.
    shown: (n,), what a table shows for each trial, if `values` were constructed for the estimate's error (the control's
        pseudo-values). Its spread is reported as the standard deviation over trials. None: the same as `values`.

    `a - b`, `a + b` and `2.0 * a` work trial by trial and keep the trials that both have. Conditions that share a
    teacher share it trial by trial, so the teacher's luck cancels in the difference.
    """

    trials: tuple[int, ...]
    values: Floats
    examples: Floats | None
    runs: tuple[str, ...] = ()
    example_error: float | None = None
    shown: Floats | None = None

    def __len__(self) -> int:
        return len(self.trials)

    def __add__(self, other: Self) -> "Sample":
        return combine([self, other], [1.0, 1.0])

    def __sub__(self, other: Self) -> "Sample":
        return combine([self, other], [1.0, -1.0])

    def __rmul__(self, factor: float) -> "Sample":
        return combine([self], [factor])

    def of(self, trials: tuple[int, ...]) -> "Sample":
        """Only these trials, in this order."""
        rows = [self.trials.index(trial) for trial in trials]
        examples = None if self.examples is None else self.examples[rows]
        shown = None if self.shown is None else self.shown[rows]
        return Sample(trials, self.values[rows], examples, self.runs, self.example_error, shown)


def mean(samples: list[Sample]) -> Sample:
    """The mean of several quantities, trial by trial."""
    return combine(samples, [1.0 / len(samples)] * len(samples))


def combine(samples: list[Sample], weights: list[float]) -> Sample:
    """The weighted sum of several quantities over the trials that all of them have.

    The result has `examples` only if all samples have them, on the same test set. Otherwise, if every sample has an
    `example_error`, these are added up, as if they always fell on the same side.
    """
    shared = tuple(trial for trial in samples[0].trials if all(trial in sample.trials for sample in samples))
    chosen = [sample.of(shared) for sample in samples]
    values = np.zeros(len(shared))
    for weight, sample in zip(weights, chosen, strict=True):
        values = values + weight * sample.values
    runs = tuple(dict.fromkeys(run for sample in samples for run in sample.runs))
    arrays = [sample.examples for sample in chosen if sample.examples is not None]
    if len(arrays) < len(chosen) or len({array.shape for array in arrays}) > 1:
        return Sample(shared, values, None, runs, _summed_error(chosen, weights))
    examples = np.zeros_like(arrays[0])
    for weight, array in zip(weights, arrays, strict=True):
        examples += weight * array
    return Sample(shared, values, examples, runs)


def _summed_error(samples: list[Sample], weights: list[float]) -> float | None:
    errors = [sample.example_error for sample in samples if sample.example_error is not None]
    if len(errors) < len(samples):
        return None
    return sum(abs(weight) * error for weight, error in zip(weights, errors, strict=True))
