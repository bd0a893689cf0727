"""Confidence intervals that account for both trials and test examples. See docs/statistics.md.

A quantity is a mean over n trials (new networks, teacher and student) and N test examples, the same in every trial.
Both are samples: other seeds and other test images would give another number. `interval` adds the two errors:

    estimate ± sqrt( (t s_trial / sqrt(n))^2 + (z s_example / sqrt(N))^2 )

s_trial is the standard deviation of the trials' values and t is Student's quantile for n - 1 degrees of freedom, which
keeps the interval honest with 3 trials; s_example is the standard deviation over test examples of their means over
trials and z is the normal quantile. Combining half-widths in quadrature is the MOVER method (Zou and Donner 2008,
doi:10.1002/sim.3095); the interaction of the two errors is counted twice, so it never makes the interval too short.
`hierarchical_bootstrap` is the usual alternative; with few trials it is far too short (`coverage.py`).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from analysis.statistics.sample import Sample
from repro.records.record import Floats

LEVEL = 0.95
Scope = Literal["trials and examples", "trials", "examples of one trial", "one number", "nothing"]


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval.

    std: standard deviation over trials (n - 1 in the denominator), as the paper reports; NaN for fewer than two.
    low, high: NaN where the error of the estimate is not known.
    trials: n. examples: N, or None if their values are not known one by one.
    scope: what the interval accounts for. "examples of one trial" holds for that one pair of networks and says nothing
        about others; "trials" ignores that the test set is a sample.
    """

    estimate: float
    std: float
    low: float
    high: float
    trials: int
    examples: int | None
    level: float
    scope: Scope

    @property
    def caution(self) -> str:
        """A warning for the reader if there are few trials; empty for 5 or more."""
        if self.trials == 1:
            return "1 trial: says nothing about other networks"
        if 1 < self.trials < 5:
            factor = special.stdtrit(self.trials - 1, (1 + self.level) / 2)
            return f"only {self.trials} trials: half-width at least {factor:.1f} standard errors"
        return ""


def interval(sample: Sample, level: float = LEVEL) -> Interval:
    """The interval of the mean over trials and test examples. An empty sample gives NaN and the scope "nothing"."""
    n = len(sample)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, math.nan, 0, None, level, "nothing")
    estimate = float(sample.values.mean())
    shown = sample.values if sample.shown is None else sample.shown
    std = float(shown.std(ddof=1)) if n > 1 else math.nan
    squares = []
    if n > 1:
        squares.append((special.stdtrit(n - 1, (1 + level) / 2) * float(sample.values.std(ddof=1))) ** 2 / n)
    examples, error = None, sample.example_error
    if sample.examples is not None and sample.examples.shape[1] > 1:
        examples = sample.examples.shape[1]
        error = _standard_error(sample.examples)
    if error is not None:
        squares.append((special.ndtri((1 + level) / 2) * error) ** 2)
    half = math.sqrt(sum(squares)) if squares else math.nan
    scope: Scope = "trials" if n > 1 else "one number"
    if error is not None:
        scope = "trials and examples" if n > 1 else "examples of one trial"
    return Interval(estimate, std, estimate - half, estimate + half, n, examples, level, scope)


def _standard_error(examples: Floats) -> float:
    """The standard error of the mean over examples; `examples` is (trials, examples).

    If all values are 0 or 1, it is computed as if there were two more examples of either kind (Agresti and Coull 1998,
    Am. Stat. 52:119): otherwise a share near 0 or 1 would seem more certain than it is, and 100 % of 300 images would
    have no error at all. Where this would make the error smaller, for shares near a half, it is not done.
    """
    means = examples.mean(axis=0)
    counted = [means]
    if np.isin(examples, (0.0, 1.0)).all():
        counted.append(np.append(means, [0.0, 0.0, 1.0, 1.0]))
    return max(float(one.std(ddof=1)) / math.sqrt(len(one)) for one in counted)


def hierarchical_bootstrap(sample: Sample, resamples: int, seed: int) -> tuple[float, float]:
    """The percentile interval under resampling of trials and of test examples (the same examples in every trial).

    For comparison with `interval`: with n trials it captures only (n - 1) / n of their variance, and has normal tails.
    Raises ValueError for a sample without examples.
    """
    if sample.examples is None or len(sample) == 0:
        raise ValueError("the hierarchical bootstrap needs trials with test examples")
    generator = np.random.default_rng(seed)
    trials, examples = sample.examples.shape
    trial_weights = generator.multinomial(trials, np.full(trials, 1 / trials), size=resamples) / trials
    means = np.empty(resamples)
    for index, weights in enumerate(trial_weights):
        counts = np.bincount(generator.integers(examples, size=examples), minlength=examples)
        means[index] = weights @ (sample.examples @ counts) / examples
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
