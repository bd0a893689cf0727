"""No more false support than promised: every bound of every claim, in studies where the truth lies exactly on it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from synthetic_records import SyntheticRecords

from analysis.claims import CLAIMS, Evidence, judge_tests
from analysis.claims.verdict import Test
from analysis.statistics.intervals import interval
from analysis.statistics.sample import Sample
from analysis.tables import StudyTables

STUDIES = 200
NO_RUNS = StudyTables(SyntheticRecords())


class NullStudy(Evidence):
    """Evidence in which every quantity is zero in truth: trials, test examples and their interaction scatter."""

    def __init__(self, seed: int, trials: int = 3, examples: int = 150) -> None:
        super().__init__(NO_RUNS, "paper")
        self.seed, self.trials, self.examples = seed, trials, examples
        self.difficulty = np.random.default_rng(seed).standard_normal(examples)
        self.drawn: dict[int, Sample] = {}

    def sample(self, sweep: str, quantity: str, **settings: Any) -> Sample:
        name = crc32(repr((sweep, quantity, sorted(settings.items()))).encode())
        if name not in self.drawn:
            self.drawn[name] = self._draw(name, by_example=not quantity.startswith(("train", "cka")))
        return self.drawn[name]

    def _draw(self, name: int, by_example: bool) -> Sample:
        generator = np.random.default_rng([self.seed, name])
        luck = 0.02 * generator.standard_normal((self.trials, 1))
        if not by_example:
            return Sample(tuple(range(self.trials)), luck[:, 0], None)
        difficulty = 0.3 * self.difficulty + 0.2 * generator.standard_normal(self.examples)
        examples = luck + difficulty + 0.2 * generator.standard_normal((self.trials, self.examples))
        return Sample(tuple(range(self.trials)), examples.mean(axis=1), examples)

    def choices(self, sweep: str, setting: str) -> Sequence[Any]:
        key = (sweep, setting)
        if key not in CHOICES:
            CHOICES[key] = super().choices(sweep, setting)
        return CHOICES[key]


CHOICES: dict[tuple[str, str], Sequence[Any]] = {}


def at_bound(test: Test, bound: float) -> Test:
    """The same test of a quantity that in truth is `bound`: what claims ask for is linear, or a correlation with 0."""
    examples = None if test.sample.examples is None else test.sample.examples + bound
    return replace(test, sample=replace(test.sample, values=test.sample.values + bound, examples=examples))


def false_support(trials: int) -> Counter[tuple[str, str, float]]:
    """How many of the studies call a test supported whose quantity lies on a bound: (claim, what, bound) -> count."""
    counts: Counter[tuple[str, str, float]] = Counter()
    for seed in range(STUDIES):
        study = NullStudy(seed, trials)
        for claim, tests in CLAIMS.items():
            for test in tests(study):
                for bound in (test.low, test.high):
                    if bound is not None:
                        counts[claim, test.what, bound] += judge_tests([at_bound(test, bound)])[0] == "supported"
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("trials", [2, 3])
def test_of_200_studies_on_a_bound_at_most_5_percent_support_the_claim(trials: int) -> None:
    """A claim is supported only if each of its tests is, so that this bounds the claim's false support too."""
    counts = false_support(trials)
    assert {claim for claim, _, _ in counts} == set(CLAIMS) and len(counts) > 55
    assert {key: count for key, count in counts.items() if count > STUDIES // 20} == {}
    assert counts.total() > 0  # the bounds are not out of reach


def test_the_nulls_would_notice_a_test_that_forgets_the_examples() -> None:
    """60 studies, judged by trials alone: the difference of the test set's luck passes for an effect."""
    supported = 0
    for seed in range(60):
        study = NullStudy(seed, trials=10)
        difference = study.sample("a", "student_accuracy", x=1) - study.sample("a", "student_accuracy", x=0)
        alone = Sample(difference.trials, difference.values, None)
        supported += judge_tests([Test("", alone, low=0.0)])[0] == "supported"
        assert math.isfinite(interval(difference).low)
    assert supported > 6
