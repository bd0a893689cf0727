"""From an interval to a verdict, the same way for every claim.

A claim is a conjunction of tests, each of which asks whether a quantity lies above, below or within fixed bounds.

- A test is *supported* if its 95 % interval lies inside, *contradicted* if it lies outside, else *inconclusive*; with
  fewer than 2 trials it is inconclusive whatever the numbers; without any it is *not run*.
- A claim is supported if all its tests are: then each at 95 % is enough, since the chance that all pass while one is
  false is at most the chance that this one passes (intersection-union test; Berger 1982,
  Technometrics 24:295).
- It is contradicted if one of its tests is. With k tests there are k chances for that by luck, so contradiction is
  judged at 1 - 0.05 / k (Bonferroni).
- Otherwise it is inconclusive, or not run if none of its tests was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.statistics.intervals import LEVEL, Interval, interval
from analysis.statistics.sample import Sample

Verdict = Literal["supported", "contradicted", "inconclusive", "not run"]
FEWEST_TRIALS = 2


@dataclass(frozen=True)
class Test:
    """A quantity and where the claim says it lies: above `low`, below `high`, or between the two."""

    __test__ = False  # pytest: not a test case

    what: str
    sample: Sample
    low: float | None = None
    high: float | None = None

    @property
    def threshold(self) -> str:
        """`> 0.99`, `< 0.8`, `0 to 0.05`."""
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        return f"> {self.low:g}" if self.low is not None else f"< {self.high:g}"

    def verdict(self, level_to_contradict: float) -> Verdict:
        if len(self.sample) == 0:
            return "not run"
        if len(self.sample) < FEWEST_TRIALS:
            return "inconclusive"
        found = interval(self.sample)
        above = self.low is None or found.low > self.low
        if above and (self.high is None or found.high < self.high):
            return "supported"
        wide = interval(self.sample, level_to_contradict)
        if (self.low is not None and wide.high < self.low) or (self.high is not None and wide.low > self.high):
            return "contradicted"
        return "inconclusive"


@dataclass(frozen=True)
class Part:
    """One test of a claim with its outcome; the interval is the one of 95 %. `runs` are the ids behind it."""

    what: str
    threshold: str
    interval: Interval
    verdict: Verdict
    runs: tuple[str, ...]


def judge_tests(tests: Sequence[Test]) -> tuple[Verdict, tuple[Part, ...]]:
    """The verdict on the conjunction of the tests, and each test's own."""
    level = 1.0 - (1.0 - LEVEL) / len(tests)
    parts = tuple(
        Part(test.what, test.threshold, interval(test.sample), test.verdict(level), test.sample.runs) for test in tests
    )
    verdicts = {part.verdict for part in parts}
    if "contradicted" in verdicts:
        return "contradicted", parts
    if verdicts == {"supported"}:
        return "supported", parts
    return ("not run" if verdicts == {"not run"} else "inconclusive"), parts
