"""How every bench measures: contenders take turns, and what counts is their ratio within one run.

A machine's speed drifts (clock rates, other jobs), so contenders are never timed one after the other: each
round gives each of them one slice, and a ratio is taken from slices of the same round.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Work: TypeAlias = Callable[[float], int]
"""Works for about the given seconds and returns how many images it did; all of them are done on return."""

WARM_UP = 0.2
"""Each slice begins with this share of its seconds uncounted: caches and prefetch queues fill again."""


class Spread(NamedTuple):
    """A measured number: the median over the rounds and its range."""

    median: float
    low: float
    high: float

    def text(self, digits: int, unit: str = "") -> str:
        """`3.1x (2.9-3.3)`, here with one digit and the unit x."""
        return f"{self.median:,.{digits}f}{unit} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"


@dataclass(frozen=True)
class Report:
    """What one bench found: a text for people, and every number in it as JSON-like data."""

    text: str
    numbers: dict[str, Any]


def repeat(step: Callable[[], int], clock: Callable[[], float] = time.perf_counter) -> Work:
    """Work that calls `step`, which returns how many images it did, until the seconds are over."""

    def work(seconds: float) -> int:
        end = clock() + seconds
        images = step()
        while clock() < end:
            images += step()
        return images

    return work


def interleave(
    contenders: Mapping[str, Work], rounds: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Images/s of every contender in each round, from one slice of about `seconds` per contender and round."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            work(WARM_UP * seconds)
            start = clock()
            images = work(seconds)
            speeds[name].append(images / (clock() - start))
    return speeds


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest of `values`."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """The ratio of the medians, and the range of the ratios round by round (which contains it).

    Both hold one positive number per round, of the same rounds.
    """
    by_round = [above / below for above, below in zip(numerator, denominator, strict=True)]
    return Spread(statistics.median(numerator) / statistics.median(denominator), min(by_round), max(by_round))


class PairedRatio(NamedTuple):
    """The median of the ratios pair by pair, and an interval for that median with its confidence."""

    median: float
    low: float
    high: float
    confidence: float

    def text(self, digits: int, unit: str = "") -> str:
        """`3.1x (2.9-3.3)`, here with one digit and the unit x."""
        return Spread(self.median, self.low, self.high).text(digits, unit)


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> PairedRatio:
    """The ratio within pairs of slices that followed one another: a speed that drifts over minutes cancels.

    The interval is that of the sign test, the narrowest between two of the sorted ratios, as far from either end, that
    holds the median with at least 95 % confidence, whatever the ratios' distribution; of fewer than 6 pairs,
    their whole range, with the confidence that it has.
    """
    ratios = sorted(above / below for above, below in zip(numerator, denominator, strict=True))
    pairs = len(ratios)

    def misses(cut: int) -> float:
        """How often the median lies outside, where `cut` ratios are left out at either end."""
        return 2 * sum(math.comb(pairs, below) for below in range(cut + 1)) / float(2**pairs)

    cut = max((one for one in range((pairs - 1) // 2 + 1) if misses(one) <= 1 - 0.95), default=0)
    return PairedRatio(statistics.median(ratios), ratios[cut], ratios[pairs - 1 - cut], 1 - min(1.0, misses(cut)))
