"""Intervals against scipy and against the truth of made-up trials."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.coverage import SHARES, Share, coverage, simulate
from analysis.statistics.intervals import hierarchical_bootstrap, interval
from analysis.statistics.rank_correlation import rank_correlation
from analysis.statistics.sample import Sample, combine, mean

VALUES = np.array([0.71, 0.74, 0.72])


def numbers(*values: float) -> Sample:
    return Sample(tuple(range(len(values))), np.array(values), None)


def test_without_examples_it_is_students_interval() -> None:
    found = interval(numbers(*VALUES))
    expected = stats.ttest_1samp(VALUES, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.estimate == pytest.approx(VALUES.mean()) and found.std == pytest.approx(VALUES.std(ddof=1))
    assert (found.trials, found.examples, found.scope) == (3, None, "trials")
    assert "only 3 trials: half-width at least 4.3" in found.caution


def test_one_trial_speaks_of_its_examples_only() -> None:
    examples = np.random.default_rng(0).random((1, 400))
    found = interval(Sample((0,), examples.mean(axis=1), examples))
    half = stats.norm.ppf(0.975) * examples.std(ddof=1) / 20
    assert (found.low, found.high) == pytest.approx((examples.mean() - half, examples.mean() + half))
    assert math.isnan(found.std) and found.scope == "examples of one trial" and "1 trial" in found.caution


def test_trials_and_examples_add_in_quadrature() -> None:
    generator = np.random.default_rng(1)
    examples = generator.random((4, 200)) + generator.random((4, 1))
    values = examples.mean(axis=1)
    found = interval(Sample((0, 1, 2, 3), values, examples), level=0.9)
    trial = stats.t.ppf(0.95, 3) * values.std(ddof=1) / 2
    example = stats.norm.ppf(0.95) * examples.mean(axis=0).std(ddof=1) / math.sqrt(200)
    assert found.high - found.estimate == pytest.approx(math.hypot(trial, example))
    assert found.scope == "trials and examples" and found.examples == 200
    assert "half-width at least 2.4 standard errors" in found.caution


@pytest.mark.parametrize("share", [0.99, 0.997, 0.9995, 1.0])
def test_a_share_near_its_end_is_no_certainty(share: float) -> None:
    """Few or none of 300 images are wrong, and often the same ones in every trial."""
    generator, held = np.random.default_rng(3), []
    for _ in range(400):
        hard = generator.random(300) < 3 * (1 - share)
        examples = 1.0 - (hard & (generator.random((3, 300)) < 1 / 3)).astype(np.float64)
        found = interval(Sample((0, 1, 2), examples.mean(axis=1), examples))
        held.append(found.low <= share <= found.high)
    assert np.mean(held) > 0.94
    half = 1.96 * math.sqrt(2 * 302 / 304 / 303 / 304)  # two wrong among 304
    assert interval(Sample((0,), np.ones(1), np.ones((1, 300)))).low == pytest.approx(1 - half, rel=1e-4)


def test_one_number_and_none_have_no_interval() -> None:
    one, none = interval(numbers(0.7)), interval(numbers())
    assert one.scope == "one number" and one.estimate == 0.7 and math.isnan(one.low)
    assert none.scope == "nothing" and math.isnan(none.estimate) and none.trials == 0 and none.caution == ""
    assert interval(numbers(*range(5))).caution == ""


def test_differences_pair_by_trial_and_by_example() -> None:
    """What both conditions share, their teacher's luck and the examples' difficulty, cancels."""
    generator = np.random.default_rng(0)
    shared = generator.standard_normal((3, 1)) + generator.standard_normal((1, 500))
    own = 0.01 * generator.standard_normal((2, 3, 500))
    one = Sample((0, 1, 2), (shared + own[0]).mean(axis=1) + 0.5, shared + own[0] + 0.5)
    other = Sample((0, 1, 2), (shared + own[1]).mean(axis=1), shared + own[1])
    alone, paired = interval(one), interval(one - other)
    assert paired.high - paired.low < (alone.high - alone.low) / 100
    assert paired.estimate == pytest.approx(0.5, abs=0.01)


def test_contrasts_keep_the_trials_that_all_have() -> None:
    one, other = Sample((0, 1, 2), VALUES, None, ("a",)), Sample((2, 0), np.array([0.2, 0.1]), None, ("b", "a"))
    difference = one - other
    assert difference.trials == (0, 2) and difference.runs == ("a", "b")
    np.testing.assert_allclose(difference.values, [0.61, 0.52])
    np.testing.assert_allclose((2.0 * one).values, 2 * VALUES)
    np.testing.assert_allclose(mean([one, other]).values, [0.405, 0.46])
    np.testing.assert_allclose((one + other).values, [0.81, 0.92])
    assert len(one - numbers()) == 0
    control = Sample((0, 1, 2), VALUES, None, shown=2 * VALUES)  # what is shown stays that of the same trials
    assert interval(control.of((2, 0))).std == pytest.approx(abs(2 * VALUES[2] - 2 * VALUES[0]) / math.sqrt(2))
    with_examples = [Sample(s.trials, s.values, s.values[:, None] + np.array([0.1, -0.1])) for s in (one, other)]
    examples = (with_examples[0] - with_examples[1]).examples
    assert examples is not None
    np.testing.assert_allclose(examples, [[0.61, 0.61], [0.52, 0.52]])


def test_examples_of_different_test_sets_do_not_mix() -> None:
    one = Sample((0, 1), VALUES[:2], np.tile(VALUES[:2, None], 10))
    other = Sample((0, 1), VALUES[:2], np.tile(VALUES[:2, None], 12))
    assert (one - one).examples is not None and (one - other).examples is None


def test_errors_known_as_numbers_add_up() -> None:
    one, other = Sample((0, 1), VALUES[:2], None, (), 0.3), Sample((0, 1), VALUES[:2], None, (), 0.1)
    assert combine([one, other], [0.5, -0.5]).example_error == pytest.approx(0.2)
    assert combine([one, numbers(1.0, 2.0)], [0.5, -0.5]).example_error is None
    trial = stats.t.ppf(0.975, 1) * VALUES[:2].std(ddof=1) / math.sqrt(2)
    found = interval(one)
    assert found.high - found.estimate == pytest.approx(math.hypot(trial, 0.3 * stats.norm.ppf(0.975)))


def test_the_bootstrap_is_seeded_and_spans_both_errors() -> None:
    sample = simulate(Share("both", 1.0, 1.0, 0.0), 40, np.random.default_rng(0))
    low, high = hierarchical_bootstrap(sample, resamples=2000, seed=1)
    assert (low, high) == hierarchical_bootstrap(sample, resamples=2000, seed=1)
    assert (low, high) != hierarchical_bootstrap(sample, resamples=2000, seed=2)
    # With many trials both methods agree.
    assert high - low == pytest.approx(interval(sample).high - interval(sample).low, rel=0.1)
    with pytest.raises(ValueError, match="examples"):
        hierarchical_bootstrap(numbers(1.0, 2.0), resamples=2, seed=0)


@pytest.mark.parametrize("trials", [2, 3])
def test_with_few_trials_the_interval_holds_95_percent_and_the_bootstrap_does_not(trials: int) -> None:
    ours, bootstrap = coverage(SHARES[0], trials, studies=200, resamples=60)
    assert ours >= 0.93
    assert bootstrap < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("share", SHARES, ids=lambda share: share.name)
@pytest.mark.parametrize("trials", [2, 3, 5, 10])
def test_the_interval_holds_what_it_promises_wherever_the_error_comes_from(share: Share, trials: int) -> None:
    generator = np.random.default_rng(trials)
    found = [interval(simulate(share, trials, generator)) for _ in range(2000)]
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= 0.94


def test_rank_correlation_is_spearmans_in_every_trial() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 6, 3))
    pairs = [
        (Sample((0, 1, 2), a, None, (f"run {condition}",)), numbers(*b))
        for condition, (a, b) in enumerate(zip(first, second, strict=True))
    ]
    found = rank_correlation(pairs)
    assert found.runs == tuple(f"run {condition}" for condition in range(6))
    np.testing.assert_allclose(found.values, [stats.spearmanr(first[:, i], second[:, i]).statistic for i in range(3)])
    assert found.example_error is None
    assert len(rank_correlation(pairs[:3])) == 0 and len(rank_correlation(pairs[:4])) == 3
    lacking = [*pairs[:5], (pairs[5][0], numbers(*second[5][:2]))]
    np.testing.assert_array_equal(rank_correlation(lacking).values, found.values[:2])
    constant = [(numbers(0.5, a[1]), numbers(b[0], b[1])) for a, b in zip(first, second, strict=True)]
    partly = rank_correlation(constant)
    assert partly.trials == (1,) and partly.values == pytest.approx(found.values[1:2])
    assert len(rank_correlation([(one.of((0,)), other.of((0,))) for one, other in constant])) == 0


def test_a_correlation_that_rests_on_few_examples_is_unsure() -> None:
    generator = np.random.default_rng(0)

    def pairs(examples: int) -> list[tuple[Sample, Sample]]:
        made = []
        for height in np.linspace(0.0, 0.2, 6):
            arrays = [height + generator.standard_normal((3, examples)) for _ in range(2)]
            made.append(tuple(Sample((0, 1, 2), array.mean(axis=1), array) for array in arrays))
        return made  # type: ignore[return-value]

    few, many = rank_correlation(pairs(50)), rank_correlation(pairs(20_000))
    assert few.example_error is not None and many.example_error is not None
    assert few.example_error > 3 * many.example_error
    assert interval(many).low > 0.8


def test_the_error_of_a_correlation_is_that_of_other_test_sets() -> None:
    """Difficult examples are so in every condition and trial, which moves no rank; the rest is each network's own."""
    generator = np.random.default_rng(0)

    def on_another_test_set(with_examples: bool) -> Sample:
        difficulty = 5 * generator.standard_normal(100)
        both = np.linspace(0.0, 0.7, 6)[:, None, None] + difficulty + generator.standard_normal((2, 6, 3, 100))
        one, other = ([Sample((0, 1, 2), a.mean(axis=1), a if with_examples else None) for a in side] for side in both)
        return rank_correlation(list(zip(one, other, strict=True)))

    truth = np.std([on_another_test_set(False).values.mean() for _ in range(200)], ddof=1)
    told = np.mean([on_another_test_set(True).example_error for _ in range(6)])
    assert truth < told < 2.2 * truth  # resamples of a test set scatter around what is already by chance
