"""Verdicts on worlds whose truth is known, and no more false ones than promised."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from synthetic_records import SyntheticRecords
from synthetic_worlds import against_claims, as_claimed, records_of

from analysis.claims import CLAIMS, Tables, judge, judge_tests, statement
from analysis.claims.catalogue import catalogue
from analysis.claims.verdict import Test
from analysis.intervals import interval
from analysis.sample import Sample
from repro.launch.sweep import find_sweep, sweep_studies

IN_THE_SUITE = [
    claim
    for claim, sweeps in {
        **dict.fromkeys(CLAIMS, ()),
        "C3": ("self_distillation",),
        "C4": ("ensemble_distillation",),
        "C9": ("self_distillation",),
        "C15": ("text", "imagenet"),
    }.items()
    if all(find_sweep(sweep).exists() for sweep in sweeps)
]


def sample_of(values: Sequence[float], examples: float = 0.0) -> Sample:
    """Trials with these values, and test examples that scatter symmetrically by `examples`."""
    scatter = examples * np.array([1.0, -1.0] * 50)
    return Sample(tuple(range(len(values))), np.array(values), np.array(values)[:, None] + scatter)


@pytest.mark.parametrize(
    ("values", "low", "high", "verdict"),
    [
        ([0.30, 0.31, 0.32], 0.2, None, "supported"),
        ([0.30, 0.31, 0.32], 0.4, None, "contradicted"),
        ([0.30, 0.31, 0.32], 0.3, None, "inconclusive"),
        ([0.30, 0.31, 0.32], None, 0.4, "supported"),
        ([0.30, 0.31, 0.32], None, 0.2, "contradicted"),
        ([0.30, 0.31, 0.32], 0.2, 0.4, "supported"),
        ([0.30, 0.31, 0.32], 0.0, 0.1, "contradicted"),
        ([0.30, 0.31, 0.32], 0.2, 0.33, "inconclusive"),
        ([0.31], 0.2, None, "inconclusive"),
        ([0.31], 0.4, None, "inconclusive"),
        ([], 0.2, None, "not run"),
    ],
)
def test_a_verdict_follows_from_the_interval_and_needs_two_trials(
    values: list[float], low: float | None, high: float | None, verdict: str
) -> None:
    # t (2 degrees of freedom) * 0.01 / sqrt(3) = 0.0248 around 0.31.
    assert judge_tests([Test("", sample_of(values), low, high)])[0] == verdict


def test_a_claim_is_the_conjunction_of_its_tests() -> None:
    yes, no = Test("", sample_of([0.3, 0.31]), low=0.0), Test("", sample_of([0.3, 0.31]), high=0.0)
    unclear, empty = Test("", sample_of([0.1, -0.1]), low=0.0), Test("", sample_of([]), low=0.0)
    assert judge_tests([yes, yes])[0] == "supported"
    assert judge_tests([yes, no])[0] == "contradicted"
    assert judge_tests([unclear, no])[0] == "contradicted"
    assert judge_tests([yes, unclear])[0] == "inconclusive"
    assert judge_tests([yes, empty])[0] == "inconclusive"
    assert judge_tests([empty, empty])[0] == "not run"


def test_with_many_tests_contradiction_takes_more() -> None:
    # Contradicted at 95 %, not at the 99.5 % of ten tests: half-widths 0.0248 and 0.0813.
    weak = Test("", sample_of([0.30, 0.31, 0.32]), high=0.27)
    assert judge_tests([weak])[0] == "contradicted"
    fine = Test("", sample_of([0.30, 0.31, 0.32]), low=0.0)
    assert judge_tests([weak, *[fine] * 9])[0] == "inconclusive"


def test_every_claim_says_what_it_is_and_lists_its_thresholds() -> None:
    assert [claim for claim in CLAIMS if " " not in claim] == [f"C{number}" for number in range(1, 18)]
    empty = Tables(SyntheticRecords(), "short")
    for claim, tests in CLAIMS.items():
        assert len(statement(claim)) > 20
        for test in tests(empty):
            assert test.what and test.threshold[0] in "<>-0123456789"
            assert test.low is not None or test.high is not None


def test_without_runs_every_claim_is_not_run_and_names_the_commands() -> None:
    judgements = judge(SyntheticRecords(), "short")
    for judgement in judgements:
        assert judgement.verdict == "not run" and judgement.n == 0
        assert judgement.missing or judgement.claim not in IN_THE_SUITE
        assert all(command.startswith("repro run ") for command in judgement.missing)
    first = judgements[0]
    assert first.missing[0] == "repro run lenet_mnist preset=short trial=0 pool=1.0"
    assert len(first.missing) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("world", "verdict"), [(as_claimed, "supported"), (against_claims, "contradicted")])
def test_verdicts_are_right_on_records_whose_truth_is_known(world: Any, verdict: str) -> None:
    records = records_of(world)
    found = {judgement.claim: judgement for judgement in judge(records, "short")}
    assert {claim: found[claim].verdict for claim in IN_THE_SUITE} == dict.fromkeys(IN_THE_SUITE, verdict)
    for claim in IN_THE_SUITE:
        assert found[claim].n == (10 if claim == "C12" else 3)
        assert found[claim].preset == "short"
        assert all(records.has(run) for part in found[claim].parts for run in part.runs)
    assert {judgement.verdict for judgement in judge(records, "paper")} == {"not run"}


@pytest.mark.slow
def test_one_trial_supports_and_contradicts_nothing() -> None:
    for world in (as_claimed, against_claims):
        verdicts = {judgement.verdict for judgement in judge(records_of(world, trial=[0]), "short")}
        assert verdicts <= {"inconclusive", "not run"}


# -- true nulls ------------------------------------------------------------------------------------------------------

Means = Callable[[str, str, dict[str, Any]], float]


@functools.cache
def choices_of(sweep: str, setting: str) -> Sequence[Any]:
    return list(dict.fromkeys(point.settings()[setting] for point in sweep_studies(find_sweep(sweep), {})))


class NullStudy:
    """Evidence drawn anew from known means: trials, test examples and their interaction scatter as in real runs."""

    def __init__(self, means: Means, seed: int, trials: int = 3, examples: int = 150) -> None:
        self.means, self.trials, self.examples = means, trials, examples
        self.seed = seed
        self.difficulty = np.random.default_rng(seed).standard_normal(examples)

    def sample(self, sweep: str, quantity: str, **settings: Any) -> Sample:
        name = crc32(repr((sweep, quantity, sorted(settings.items()))).encode())
        generator = np.random.default_rng([self.seed, name])
        mean = self.means(sweep, quantity, settings)
        luck = 0.02 * generator.standard_normal((self.trials, 1))
        if quantity.startswith(("train", "cka")):
            return Sample(tuple(range(self.trials)), mean + luck[:, 0], None)
        difficulty = 0.3 * self.difficulty + 0.2 * generator.standard_normal(self.examples)
        examples = mean + luck + difficulty + 0.2 * generator.standard_normal((self.trials, self.examples))
        return Sample(tuple(range(self.trials)), examples.mean(axis=1), examples)

    def choices(self, sweep: str, setting: str) -> Sequence[Any]:
        return choices_of(sweep, setting)


def just_false(claim: str) -> Means:
    """Means at which one test of the claim is exactly at its bound, and all others hold with much room."""

    def mean(sweep: str, quantity: str, settings: dict[str, Any]) -> float:
        agreement = quantity == "student_agreement"
        match claim, settings:
            case "C1", _:
                return 0.99
            case "C2", _:
                return 0.3 if agreement else 0.7
            case "C3", {"gan_images": images}:
                return 0.7 if agreement else 0.7 - (images > 0)
            case "C4", {"gan_images": images}:
                return 0.7 if agreement else 0.7 + (images > 0)
            case "C5", {"policy": policy}:
                return (0.87 if policy == "mixup_tau4" else -1.0) if agreement else float(policy == "mixup")
            case "C6", {"policy": policy}:
                return {"baseline": 0.0, "baseline_tau4": 1.0, "mixup_tau4": 2.0}[policy]
            case "C7", {"policy": policy}:
                return 0.0 if agreement or policy == "baseline" else -1.0
            case "C8", {"split": split}:
                return ({"D0": 0, "D1": 0, "both": 1} if agreement else {"D0": 1, "D1": 0, "both": 2})[split]
            case "C9", _:
                return -float(settings.get("split") == "both" or settings.get("policy") == "combined")
            case "C10", {"epochs": epochs}:
                return -float(epochs == 5000)
            case (("C11" | "C11 scaled"), {"weight": weight}):
                return 0.10 if weight == 0.375 else float(weight == 0.0)
            case "C12", {"start": start}:
                return 0.9 if quantity.startswith("cka") else 0.005 * (start != "random" and agreement)
            case "C13", {"members": members}:
                return 0.0 if agreement else {1: 0.0, 4: 3.0, 12: 3.0}[members]
            case "C14", {"student_depth": depth}:
                return {20: 0.0, 56: 0.05 if sweep == "capacity_resnet20" else 0.0, 110: 0.025}[depth]
            case "C15", _:
                return 0.95 if settings.get("policy") == "baseline" else 2.0 if "policy" in settings else 0.0
            case "C16", {"alpha": alpha}:
                return 0.005 if alpha == 0.7 else 0.0 if alpha == 0.0 else -1.0
            case "C17", {"policy": policy}:
                return crc32(policy.encode()) % 97 / 97 if agreement else 0.1
        raise ValueError(f"{claim} does not ask for {settings}")

    return mean


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS)
def test_of_200_studies_of_a_false_claim_at_most_5_percent_support_it(claim: str) -> None:
    supported = sum(
        judge_tests(CLAIMS[claim](NullStudy(just_false(claim), seed)))[0] == "supported" for seed in range(200)
    )
    assert supported <= 10


@pytest.mark.parametrize("claim", ["C2", "C16"])
def test_of_60_studies_of_a_false_claim_few_support_it(claim: str) -> None:
    verdicts = [judge_tests(CLAIMS[claim](NullStudy(just_false(claim), seed)))[0] for seed in range(60)]
    assert verdicts.count("supported") <= 4
    assert "inconclusive" in verdicts


def test_the_nulls_would_notice_a_test_that_forgets_the_examples() -> None:
    """The same 60 studies, judged by trials alone: the difference of the test set's luck passes for an effect."""
    supported = 0
    for seed in range(60):
        study = NullStudy(lambda sweep, quantity, settings: 0.0, seed, trials=10)  # noqa: ARG005
        difference = study.sample("a", "student_accuracy", x=1) - study.sample("a", "student_accuracy", x=0)
        alone = Sample(difference.trials, difference.values, None)
        supported += judge_tests([Test("", alone, low=0.0)])[0] == "supported"
        assert math.isfinite(interval(difference).low)
    assert supported > 6


def test_the_page_of_claims_is_what_the_code_says() -> None:
    assert (Path(__file__).parents[1] / "docs" / "claims.md").read_text() == catalogue()
