"""Study tables against values computed by hand, and against a golden table."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_records import SyntheticRecords, Truth, everywhere

from analysis.changes import UNCHANGED, Changes
from analysis.statistics.control import control_values
from analysis.statistics.intervals import interval
from analysis.statistics.quantities import CONTRIBUTIONS, PerExample, measure
from analysis.statistics.sample import Sample
from analysis.summary import SUMMARIZED, summarize
from analysis.tables import StudyTable, seeds_of, study_table
from repro.errors import BadInput
from repro.launch.sweep import all_sweeps, find_sweep, sweep_studies
from repro.records import open_records, write_export

GOLDEN = Path(__file__).parent / "golden"


def world(sweep: str, settings: object) -> Truth:  # noqa: ARG001
    policy = settings["policy"]  # type: ignore[index]
    return Truth(0.74, 0.80 if policy == "baseline" else 0.85, ece=0.1)


def make_records() -> SyntheticRecords:
    """Two policies, ensembles of 1 and 3, three trials of each but one; the same every time."""
    only = {"policy": ["baseline", "mixup"], "members": [1, 3]}
    missing = {"policy": "mixup", "members": 3, "trial": 2}
    return SyntheticRecords(examples=60).add(
        "augmentation", world, only=only, done=lambda settings: not missing.items() <= settings.items()
    )


@pytest.fixture(scope="module")
def records() -> SyntheticRecords:
    return make_records()


@pytest.fixture(scope="module")
def table(records: SyntheticRecords) -> StudyTable:
    return study_table(records, "augmentation", "short")


def test_a_row_holds_the_student_its_teacher_and_the_mean_of_the_other_trials(
    records: SyntheticRecords, table: StudyTable
) -> None:
    assert len(table.rows) == 11
    for row in table.rows.to_dict("records"):
        same = table.rows[(table.rows["policy"] == row["policy"]) & (table.rows["members"] == row["members"])]
        teacher = records._test_set(row["teacher_key"]).logits.argmax(dim=1).numpy()  # type: ignore[union-attr]
        classes = {r: records.logits[r].argmax(dim=1).numpy() for r in same["run_id"]}
        others = [np.mean(top == teacher) for run_id, top in classes.items() if run_id != row["run_id"]]
        assert row["student_agreement"] == pytest.approx(np.mean(classes[row["run_id"]] == teacher))
        assert row["control_agreement"] == pytest.approx(np.mean(others))
        assert row["specific_agreement"] == pytest.approx(row["student_agreement"] - np.mean(others))
        assert row["teacher_accuracy"] == pytest.approx(np.mean(teacher == records.true_labels))
        assert row["specific_kl"] == pytest.approx(row["control_kl"] - row["student_kl"])
        assert row["train_agreement"] == records.record(row["run_id"]).summary["metrics"]["train/agreement"]


def test_what_is_missing_is_listed_with_the_command_that_makes_it(table: StudyTable) -> None:
    assert table.expected == len(table.rows) + len(table.missing)
    (missing,) = [m for m in table.missing if m.settings["policy"] == "mixup" and m.settings["members"] == 3]
    assert missing.command == "repro run augmentation preset=short trial=2 policy=mixup members=3"


def test_presets_never_share_a_table(records: SyntheticRecords, table: StudyTable) -> None:
    other = study_table(records, "augmentation", "paper")
    assert other.rows.empty and len(other.missing) == other.expected == table.expected
    assert set(table.rows["preset"]) == {"short"}
    assert len(other.sample("student_agreement", policy="mixup", members=1)) == 0
    assert summarize(other).empty


@pytest.mark.parametrize("changes", [UNCHANGED, Changes.parse(["seed=5"])], ids=str)
def test_more_trials_than_the_sweep_asks_for_are_used_whichever_are_missing(changes: Changes) -> None:
    made = SyntheticRecords(examples=20)
    for policy, trials in (("mixup", [0, 1, 2, 4, 60_000]), ("baseline", [3])):
        only = {"policy": [policy], "members": [1], "trial": trials}
        made.add("augmentation", world, only=only, changes=changes)
    rows = study_table(made, "augmentation", "short", changes).rows
    assert {policy: list(own["trial"]) for policy, own in rows.groupby("policy")} == {
        "mixup": [0, 1, 2, 4, 60_000],
        "baseline": [3],
    }


def test_the_seeds_of_every_study_grow_linearly_with_the_trial() -> None:
    """The table of a sweep finds further trials by their seeds."""
    for sweep in (path.stem for path in all_sweeps()):
        point = sweep_studies(find_sweep(sweep), {})[-1]
        seeds = [
            np.array(seeds_of(point.model_copy(update={"trial": trial}).config().model_dump())) for trial in (0, 1, 7)
        ]
        assert (seeds[2] - seeds[0] == 7 * (seeds[1] - seeds[0])).all() and (seeds[1] > seeds[0]).any(), sweep


def test_conditions_come_in_the_order_of_the_sweep() -> None:
    only = {"policy": ["rotation", "color_jitter"], "members": [1, 3]}
    made = SyntheticRecords(examples=20).add("augmentation", world, only=only)
    samples = study_table(made, "augmentation", "short").every_sample(["student_agreement"])
    found = [(condition["policy"], condition["members"]) for condition, _, _ in samples]
    assert found == [("rotation", 1), ("rotation", 3), ("color_jitter", 1), ("color_jitter", 3)]


def test_a_setting_that_is_none_is_part_of_a_condition_like_any_other() -> None:
    only = {"method": ["hint", "soft_labels"], "teacher": ["same"], "trial": [0]}
    made = SyntheticRecords(examples=60).add("methods_digits", everywhere(Truth()), only=only)
    summary = summarize(study_table(made, "methods_digits", "short"), ["student_accuracy"])
    assert set(summary["method"]) == {"hint", "soft_labels"} and summary["tuning"].isna().all()


def test_a_sample_is_one_condition_and_knows_its_examples(records: SyntheticRecords, table: StudyTable) -> None:
    sample = table.sample("student_agreement", policy="mixup", members=3)
    assert sample.trials == (0, 1) and sample.examples is not None
    np.testing.assert_allclose(sample.examples.mean(axis=1), sample.values)
    assert all(records.has(run) for run in sample.runs)
    assert table.sample("train_agreement", policy="mixup", members=3).examples is None
    for settings, message in (({"policy": "mixup"}, "several conditions"), ({"polcy": "mixup"}, "policy")):
        with pytest.raises(BadInput, match=message):
            table.sample("student_agreement", **settings)
    with pytest.raises(BadInput, match="student_agreement"):
        table.sample("student_agrement", policy="mixup", members=3)


def test_a_trial_in_which_a_quantity_is_undefined_is_left_out_of_its_sample(
    records: SyntheticRecords, table: StudyTable
) -> None:
    rows = table.rows[(table.rows["policy"] == "baseline") & (table.rows["members"] == 1)].copy()
    rows["student_ece"] = [math.nan, *rows["student_ece"].iloc[1:]]
    found, others = measure("student_ece", rows, PerExample(records)), rows.iloc[1:]
    assert found.trials == tuple(others["trial"]) and found.runs == tuple(others["run_id"])
    assert found.examples is not None
    np.testing.assert_allclose(found.examples.mean(axis=1), found.values, atol=0.005)


@pytest.mark.parametrize("quantity", CONTRIBUTIONS)
def test_what_examples_contribute_averages_to_the_value(table: StudyTable, quantity: str) -> None:
    sample = table.sample(quantity, policy="baseline", members=3)
    assert sample.examples is not None
    # Values are exact, contributions rounded; 0.005 is what rounding may do to an NLL of about 1.
    np.testing.assert_allclose(sample.examples.mean(axis=1), sample.values, atol=0.005)


@pytest.mark.parametrize("metric", ["agreement", "kl"])
def test_the_control_as_a_sample_has_the_tables_mean(table: StudyTable, metric: str) -> None:
    rows = table.rows[(table.rows["policy"] == "baseline") & (table.rows["members"] == 1)]
    for kind in ("control", "specific"):
        sample = table.sample(f"{kind}_{metric}", policy="baseline", members=1)
        assert sample.trials == (0, 1, 2) and sample.examples is not None
        assert sample.values.mean() == pytest.approx(rows[f"{kind}_{metric}"].mean())
        assert sample.examples.mean() == pytest.approx(rows[f"{kind}_{metric}"].mean(), abs=0.005)
        # The spread that is shown is that of the trials' own controls; the interval's is that of independent trials.
        found = interval(sample)
        assert found.std == pytest.approx(rows[f"{kind}_{metric}"].std(ddof=1))
        assert found.std != pytest.approx(sample.values.std(ddof=1))
        trials_alone = Sample(sample.trials, sample.values, sample.examples)
        assert (found.low, found.high) == (interval(trials_alone).low, interval(trials_alone).high)


def test_a_control_of_which_some_pairs_are_unknown_is_unknown(tmp_path: Path) -> None:
    """As where the trials of a study were exported apart: what is left of the pairs would be another quantity."""

    for number, trials in enumerate(([0, 1], [2])):
        only = {"policy": ["baseline"], "members": [1], "trial": trials}
        made = SyntheticRecords(examples=60).add("augmentation", world, only=only)
        write_export(made, [(run_id, "") for run_id in made.ids()], tmp_path / f"{number}.npz")
    table = study_table(open_records(tmp_path), "augmentation", "short")
    assert list(table.rows["trial"]) == [0, 1, 2]
    assert table.rows["student_agreement"].notna().all()
    for column in ("control_agreement", "control_kl", "specific_agreement"):
        assert table.rows[column].isna().all()
        assert len(table.sample(column, policy="baseline", members=1)) == 0


def test_students_of_one_teacher_are_no_control_of_each_other() -> None:
    changes = Changes.parse(["teachers.seed=4"])
    made = SyntheticRecords(examples=60).add("digits", everywhere(Truth(0.8, 0.9)), changes=changes)
    table = study_table(made, "digits", "short", changes)
    assert table.rows["teacher_key"].nunique() == 1 < table.rows["trial"].nunique()
    for column in ("control_agreement", "specific_kl"):
        assert table.rows[column].isna().all()
        assert len(table.sample(column, images=300)) == 0


def test_control_values_are_the_jackknifes() -> None:
    pairs = np.random.default_rng(0).random((5, 5))

    def mean_of_pairs(kept: list[int]) -> float:
        return float(np.mean([pairs[i, j] for i in kept for j in kept if i != j]))

    everything = list(range(5))
    without = [mean_of_pairs([i for i in everything if i != k]) for k in everything]
    expected = [5 * mean_of_pairs(everything) - 4 * mean for mean in without]
    np.testing.assert_allclose(control_values(pairs), expected)
    assert control_values(pairs).mean() == pytest.approx(mean_of_pairs(everything))


def test_control_values_scatter_like_the_teachers_and_students_luck() -> None:
    """If pair (i, j) is the teacher's luck a_i plus the student's b_j, the values are a_i + b_i, like other trials'."""
    generator = np.random.default_rng(0)
    teachers, students = generator.random(4), generator.random(4)
    np.testing.assert_allclose(control_values(teachers[:, None] + students[None, :]), teachers + students)
    two = np.array([[9.0, 0.5], [0.7, 9.0]])
    np.testing.assert_allclose(control_values(two), [0.5, 0.7])


def test_a_single_trial_has_no_control() -> None:
    made = SyntheticRecords(examples=20).add("augmentation", world, only={"policy": ["mixup"], "trial": [0]})
    table = study_table(made, "augmentation", "short")
    assert table.rows["control_agreement"].isna().all()
    summary = summarize(table).set_index("quantity")
    assert "control_agreement" not in summary.index
    agreement = summary.loc["student_agreement"].iloc[0]
    assert agreement["scope"] == "examples of one trial" and "1 trial" in agreement["caution"]
    assert math.isnan(agreement["std"]) and agreement["low"] < agreement["mean"] < agreement["high"]


def test_runs_that_are_no_students_have_a_table_too() -> None:
    made = SyntheticRecords(examples=20).add("teacher_distributions", lambda sweep, settings: Truth())  # noqa: ARG005
    table = study_table(made, "teacher_distributions", "short")
    assert len(table.rows) == table.expected and table.rows["teacher_accuracy"].notna().all()
    assert "student_accuracy" not in table.rows
    assert len(table.sample("teacher_accuracy", depth=20, member=0)) == 1


def test_an_interval_ends_where_the_quantity_does() -> None:
    """Two trials have half-widths of 12.7 standard errors, far past 100 %."""
    only = {"policy": ["mixup"], "members": [1], "trial": [0, 1]}
    made = SyntheticRecords(examples=40, trial_std=0.02).add("augmentation", world, only=only)
    table = study_table(made, "augmentation", "short")
    # A student that agrees on nothing and one that agrees on everything: the interval alone would end at -6.
    table = replace(
        table, rows=table.rows.assign(student_agreement=[0.0, 1.0], student_ece=[0.0, 1.0], cka_stage1=[0.8, 0.99])
    )
    summary = summarize(table, [*SUMMARIZED, "cka_stage1"]).set_index("quantity")
    whole = {quantity: interval(table.sample(quantity, policy="mixup", members=1)) for quantity in summary.index}
    for quantity in ("student_accuracy", "student_agreement", "student_ece", "train_agreement", "cka_stage1"):
        assert summary.loc[quantity, "high"] == min(whole[quantity].high, 1.0)
        assert summary.loc[quantity, "low"] == max(whole[quantity].low, 0.0)
    assert whole["cka_stage1"].high > 1.0 and whole["student_agreement"].low < -1.0
    specific = whole["specific_agreement"]
    assert specific.low < -1.0 < 1.0 < specific.high
    assert tuple(summary.loc["specific_agreement", ["low", "high"]]) == (-1.0, 1.0)
    assert summary.loc["specific_kl", "low"] == whole["specific_kl"].low < 0.0


def test_the_summary_is_the_golden_one(table: StudyTable) -> None:
    """Written by `python tests/golden/write.py`; look at the difference before you write it again."""
    found = summarize(table).drop(columns=["runs", "caution"])
    golden = pd.read_csv(GOLDEN / "summary.csv")
    assert list(found.columns) == list(golden.columns)
    assert set(found["quantity"]) == set(SUMMARIZED)
    pd.testing.assert_frame_equal(found.reset_index(drop=True), golden, check_dtype=False, rtol=1e-4, atol=1e-6)


def test_the_golden_numbers_follow_from_the_rows(table: StudyTable) -> None:
    """The golden mean, standard deviation and trial part of the interval, from the rows by pandas alone."""
    golden = pd.read_csv(GOLDEN / "summary.csv").set_index(["quantity", "policy", "members"])
    rows = table.rows[(table.rows["policy"] == "baseline") & (table.rows["members"] == 1)]
    line = golden.xs(("train_agreement", "baseline", 1))
    assert line["mean"] == pytest.approx(rows["train_agreement"].mean(), rel=1e-4)
    assert line["std"] == pytest.approx(rows["train_agreement"].std(ddof=1), rel=1e-3)
    half = 4.302653 * rows["train_agreement"].std(ddof=1) / math.sqrt(3)
    assert line["high"] - line["mean"] == pytest.approx(half, rel=1e-3)


def test_per_example_values_are_unknown_without_predictions(records: SyntheticRecords) -> None:
    assert PerExample(records).correct("0" * 12, "0" * 12) is None
    assert PerExample(records).agreement("0" * 12, "1" * 12) is None
