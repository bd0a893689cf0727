"""Do the intervals contain the truth as often as they claim? `python -m analysis.statistics.coverage` simulates trials.

Values are y[i, e] = a[i] + b[e] + c[i, e]: the luck of trial i, the difficulty of test example e, and their
interaction, all normal with mean zero. An interval is right if it contains zero.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from tabulate import tabulate

from analysis.statistics.intervals import hierarchical_bootstrap, interval
from analysis.statistics.sample import Sample

EXAMPLES = 300


class Share(NamedTuple):
    """The standard deviations that trials, examples and interaction contribute to the mean, relative to each other."""

    name: str
    trial: float
    example: float
    interaction: float


SHARES = (
    Share("trials", 1.0, 0.1, 0.1),
    Share("both", 1.0, 1.0, 1.0),
    Share("examples", 0.1, 1.0, 0.1),
    Share("interaction", 0.1, 0.1, 1.0),
)
TRIALS = (2, 3, 5, 10)


def simulate(share: Share, trials: int, generator: Generator) -> Sample:
    """One study in which the truth is zero; the parts contribute the given standard deviations to its mean."""
    luck = share.trial * np.sqrt(trials) * generator.standard_normal((trials, 1))
    difficulty = share.example * np.sqrt(EXAMPLES) * generator.standard_normal((1, EXAMPLES))
    interaction = share.interaction * np.sqrt(trials * EXAMPLES) * generator.standard_normal((trials, EXAMPLES))
    examples = luck + difficulty + interaction
    return Sample(tuple(range(trials)), examples.mean(axis=1), examples)


def coverage(share: Share, trials: int, studies: int, resamples: int) -> tuple[float, float]:
    """How often `interval` and `hierarchical_bootstrap`, both at 95 %, contain the truth."""
    generator = np.random.default_rng(0)
    ours = bootstrap = 0
    for study in range(studies):
        sample = simulate(share, trials, generator)
        found = interval(sample)
        ours += found.low <= 0.0 <= found.high
        low, high = hierarchical_bootstrap(sample, resamples=resamples, seed=study)
        bootstrap += low <= 0.0 <= high
    return ours / studies, bootstrap / studies


def rows(studies: int, resamples: int) -> Iterator[list[str]]:
    for share in SHARES:
        for trials in TRIALS:
            ours, bootstrap = coverage(share, trials, studies, resamples)
            yield [share.name, str(trials), f"{ours:.1%}", f"{bootstrap:.1%}"]


if __name__ == "__main__":
    headers = ["error comes from", "trials", "interval", "hierarchical bootstrap"]
    print(tabulate(list(rows(studies=2000, resamples=300)), headers=headers, tablefmt="github", disable_numparse=True))
