"""Verdicts on worlds whose truth is known, and no more false ones than promised."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_records import SyntheticRecords, Truth, everywhere
from synthetic_worlds import against_claims, as_claimed, records_of

from analysis.claims import CLAIMS, Evidence, judge, judge_tests, statement
from analysis.claims.catalogue import catalogue
from analysis.claims.evidence import mean_over
from analysis.claims.verdict import Test
from analysis.statistics.sample import Sample
from analysis.tables import StudyTables

NO_RUNS = StudyTables(SyntheticRecords())


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
    empty = Evidence(NO_RUNS, "short")
    for claim, tests in CLAIMS.items():
        assert len(statement(claim)) > 20
        for test in tests(empty):
            assert test.what and test.threshold[0] in "<>-0123456789"
            assert test.low is not None or test.high is not None


Asked = set[tuple[Any, ...]]


def of(sweep: str, quantities: str, **settings: list[Any]) -> Asked:
    """These quantities in every combination of the settings."""
    points = [zip(settings, values, strict=True) for values in product(*settings.values())]
    return {(sweep, quantity, *sorted(point)) for point in map(tuple, points) for quantity in quantities.split()}


POLICIES: list[Any] = ["baseline", "baseline_tau4", "rotation", "vertical_flip", "color_jitter", "combined"]
POLICIES += ["mixup", "mixup_tau4", "gan", "ood", "noise"]
BOTH, AGREEMENT, ON_TRAIN = "student_agreement student_accuracy", "student_agreement", "train_agreement"
ENDS, SIZES, SPLITS = [0, 50_000], [1, 3, 5], ["D0", "D1", "both"]
JUMP = [0.0, 0.25, 0.375]
STARTS = "student_agreement student_kl cka_stage1 cka_stage2 cka_stage3"

CONDITIONS: dict[str, Asked] = {
    "C1": of("lenet_mnist", AGREEMENT, pool=[1.0]),
    "C2": of("ensemble_size", f"{BOTH} teacher_accuracy", members=[1]),
    "C3": of("self_distillation", BOTH, gan_images=ENDS),
    "C4": of("ensemble_distillation", BOTH, gan_images=ENDS, members=[3]),
    "C5": of("augmentation", AGREEMENT, policy=POLICIES, members=[5])
    | of("augmentation", "student_accuracy", policy=["mixup", "mixup_tau4"], members=[5]),
    "C6": of("augmentation", AGREEMENT, policy=["baseline", "baseline_tau4", "mixup_tau4"], members=[5]),
    "C7": of("augmentation", BOTH, policy=["baseline", "ood", "noise"], members=[5]),
    "C8": of("data_recycling", BOTH, split=SPLITS, members=SIZES),
    "C8 ResNet-20": of("data_recycling_resnet20", BOTH, split=SPLITS, members=[1], temperature=[4.0]),
    "C9": of("self_distillation", ON_TRAIN, gan_images=ENDS)
    | of("data_recycling", ON_TRAIN, split=["D0", "both"], members=SIZES)
    | of("augmentation", ON_TRAIN, policy=["baseline", "combined"], members=SIZES),
    "C10": of("optimizer", ON_TRAIN, optimizer=["sgd"], epochs=[300, 5000])
    | of("optimizer", ON_TRAIN, optimizer=["adam"], epochs=[300]),
    "C11": of("init_interpolation", ON_TRAIN, weight=JUMP, learning_rate=["constant"]),
    "C11 scaled": of("init_interpolation", ON_TRAIN, weight=JUMP, learning_rate=["scaled"]),
    "C12": of("shared_init", STARTS, start=["random", "teachers_initial"]),
    "C13": of("ensemble_size", AGREEMENT, members=[1, 12])
    | of("ensemble_size", "student_accuracy", members=[1, 4, 12]),
    "C14": of("capacity_resnet20", AGREEMENT, student_depth=[20, 56], members=SIZES)
    | of("capacity_resnet56", AGREEMENT, student_depth=[56, 110], members=SIZES),
    "C15": of("vgg", AGREEMENT, policy=["baseline", "mixup"])
    | of("text", AGREEMENT, members=[1, 5])
    | of("text", "student_accuracy teacher_accuracy", members=[1])
    | of("imagenet", AGREEMENT, members=[1, 5])
    | of("imagenet", "student_accuracy teacher_accuracy", members=[1]),
    "C16": of("loss_mix", AGREEMENT, alpha=[0.0, 0.1, 0.3, 0.5, 0.7], members=SIZES),
    "C17": of("augmentation", "student_agreement student_ece", policy=POLICIES, members=[3, 5]),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_is_about_these_quantities_in_these_conditions(claim: str) -> None:
    asked: Asked = set()

    class Listening(Evidence):
        def sample(self, sweep: str, quantity: str, **settings: Any) -> Sample:
            asked.add((sweep, quantity, *sorted(settings.items())))
            return super().sample(sweep, quantity, **settings)

    CLAIMS[claim](Listening(NO_RUNS, "paper"))
    assert asked == CONDITIONS[claim]


def test_without_runs_every_claim_is_not_run_and_names_the_commands() -> None:
    judgements = judge(StudyTables(SyntheticRecords()), "short")
    for judgement in judgements:
        assert judgement.verdict == "not run" and judgement.n == 0
        assert judgement.missing and all(command.startswith("repro run ") for command in judgement.missing)
    first = judgements[0]
    assert first.missing[0] == "repro run lenet_mnist preset=short trial=0 pool=1.0"
    assert len(first.missing) == 3
    (c4,) = (judgement.missing for judgement in judgements if judgement.claim == "C4")
    assert len(c4) == 6 and sum("gan_images=50000 members=3" in command for command in c4) == 3
    assert sum("gan_images=0 members=3" in command for command in c4) == 3


def test_behind_a_claim_are_as_many_trials_as_behind_its_weakest_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of lambda = 0 a trial is missing, so that one of the two differences of C11 has two trials, the other three."""
    monkeypatch.setattr("analysis.claims.CLAIMS", {"C11": CLAIMS["C11"]})
    lacking = {"weight": 0.0, "trial": 2}
    records = SyntheticRecords(examples=20).add(
        "init_interpolation",
        everywhere(Truth()),
        only={"weight": JUMP, "learning_rate": ["constant"]},
        done=lambda settings: not lacking.items() <= settings.items(),
    )
    (judgement,) = judge(StudyTables(records), "short")
    assert [part.interval.trials for part in judgement.parts] == [3, 2] and judgement.n == 2


def test_a_mean_over_ensemble_sizes_takes_those_with_two_trials_or_else_what_there_is() -> None:
    two, one, none = sample_of([0.2, 0.4]), sample_of([0.9]), sample_of([])
    found, sizes = mean_over({1: two, 3: one, 5: none})
    assert (list(found.values), sizes) == ([0.2, 0.4], "mean over m = 1")
    found, sizes = mean_over({1: one, 3: none})
    assert (list(found.values), sizes) == ([0.9], "mean over m = 1")


def test_saturation_compares_gains_for_each_further_member() -> None:
    """From 1 to 4 members 6 points, 2 for each; from 4 to 12 another 4, half a point for each: 0.5 less than 1."""

    class Accuracies(Evidence):
        def sample(self, sweep: str, quantity: str, **settings: Any) -> Sample:  # noqa: ARG002
            return sample_of([{1: 0.80, 4: 0.86, 12: 0.90}[settings["members"]]] * 2)

    gain = CLAIMS["C13"](Accuracies(NO_RUNS, "paper"))[2].sample
    assert list(gain.values) == pytest.approx([0.005 - 0.5 * 0.02] * 2)


def test_most_of_the_gain_is_more_than_half_and_similarity_is_that_of_all_stages() -> None:
    """Temperature gains 6 of 10 points: 1 more than half. CKA rises by 1, 2 and 6 points: by 3 in the mean."""

    class Known(Evidence):
        def sample(self, sweep: str, quantity: str, **settings: Any) -> Sample:
            policies = {"baseline": 0.70, "baseline_tau4": 0.76, "mixup_tau4": 0.80}
            rises = {"cka_stage1": 0.01, "cka_stage2": 0.02, "cka_stage3": 0.06}
            if sweep == "augmentation":
                return sample_of([policies[settings["policy"]]] * 2)
            return sample_of([rises.get(quantity, 0.0) * (settings["start"] == "teachers_initial")] * 2)

    assert list(CLAIMS["C6"](Known(NO_RUNS, "paper"))[1].sample.values) == pytest.approx([0.01] * 2)
    assert list(CLAIMS["C12"](Known(NO_RUNS, "paper"))[0].sample.values) == pytest.approx([0.03] * 2)


def test_a_difference_that_a_claim_bounds_away_from_zero_has_the_sign_that_its_words_say() -> None:
    """5,000 epochs gain 4 points on 300; up to lambda = 0.25 it is 3 points; students are 1 point below the teacher."""

    class Known(Evidence):
        def sample(self, sweep: str, quantity: str, **settings: Any) -> Sample:
            if sweep == "optimizer":
                return sample_of([0.83 if settings["epochs"] == 5000 else 0.79] * 2)
            if sweep == "init_interpolation":
                return sample_of([{0.0: 0.80, 0.25: 0.83, 0.375: 0.99}[settings["weight"]]] * 2)
            return sample_of([0.75 if quantity == "teacher_accuracy" else 0.74] * 2)

    differences = {
        test.what: test.sample for claim in ("C10", "C11", "C15") for test in CLAIMS[claim](Known(NO_RUNS, "paper"))
    }
    for what, difference in (
        ("train agreement, 5,000 minus 300 epochs (sgd)", 0.04),
        ("train agreement, lambda 0.25 minus 0", 0.03),
        ("IMDB: student's minus teacher's test accuracy (m = 1)", -0.01),
        ("ImageNet: student's minus teacher's test accuracy (m = 1)", -0.01),
    ):
        assert list(differences[what].values) == pytest.approx([difference] * 2), what


@pytest.mark.slow
@pytest.mark.parametrize(("world", "verdict"), [(as_claimed, "supported"), (against_claims, "contradicted")])
def test_verdicts_are_right_on_records_whose_truth_is_known(world: Any, verdict: str) -> None:
    records = records_of(world)
    tables = StudyTables(records)
    found = {judgement.claim: judgement for judgement in judge(tables, "short")}
    assert {claim: judged.verdict for claim, judged in found.items()} == dict.fromkeys(CLAIMS, verdict)
    for claim, judged in found.items():
        assert judged.n == (10 if claim == "C12" else 3)
        assert judged.preset == "short"
        assert all(records.has(run) for part in judged.parts for run in part.runs)
    assert {judgement.verdict for judgement in judge(tables, "paper")} == {"not run"}


@pytest.mark.slow
def test_one_trial_supports_and_contradicts_nothing() -> None:
    for world in (as_claimed, against_claims):
        tables = StudyTables(records_of(world, trial=[0]))
        verdicts = {judgement.verdict for judgement in judge(tables, "short")}
        assert verdicts <= {"inconclusive", "not run"}


def test_the_page_of_claims_is_what_the_code_says() -> None:
    assert (Path(__file__).parents[1] / "docs" / "claims.md").read_text() == catalogue()
