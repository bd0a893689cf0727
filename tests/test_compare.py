"""`repro compare`."""

from dataclasses import replace
from pathlib import Path

import pytest
from runs import runner, small_student, small_teacher
from synthetic_records import SyntheticRecords, Truth, everywhere

from analysis.compare import compare_runs, flatten
from repro.cli import main
from repro.config import DataConfig, RunConfig, Selection
from repro.data.synthetic import Synthetic
from repro.errors import BadInput
from repro.records import open_records, write_export
from repro.records.record import Labels


def test_flatten_gives_dotted_keys() -> None:
    nested = {"model": {"depth": 20}, "teachers": [{"seed": 0}, {"seed": 1}], "epochs": 3}
    assert flatten(nested) == {"model.depth": 20, "teachers.0.seed": 0, "teachers.1.seed": 1, "epochs": 3}


def test_two_runs_are_told_apart_by_setting_metric_and_prediction() -> None:
    records = SyntheticRecords(examples=200).add("digits", everywhere(Truth()), only={"images": [100, 300], "trial": 0})
    students = [run_id for run_id in records.ids() if records.record(run_id).teachers]
    text = compare_runs(records, *students)
    settings = [line.split() for line in text.split("\n\n")[0].splitlines()[2:]]
    assert ["data.train.size", "100", "300"] in settings
    assert {row[0] for row in settings} == {"data.train.size", "epochs", "evaluate_every"}
    first, second = (records.record(run_id).summary["metrics"]["test/accuracy"] for run_id in students)
    assert f"{second - first:+.4f}" in text
    one, other = (records.predictions(run_id) for run_id in students)
    assert one is not None and other is not None
    assert f"agree on {(one.top_class == other.top_class).mean():.2%}" in text
    labels = records.labels(students[0])
    differ = one.top_class != other.top_class
    counts = [(differ & (predicted.top_class == labels)).sum() for predicted in (one, other)]
    neither = (differ & (one.top_class != labels) & (other.top_class != labels)).sum()
    assert min(*counts, neither) > 0
    right = f"{students[0]} is right {counts[0]} times, {students[1]} {counts[1]} times, neither {neither} times."
    assert text.endswith(right)


def test_a_setting_that_only_one_run_has_is_listed_even_if_its_value_is_none() -> None:
    records = SyntheticRecords(examples=50).add("digits", everywhere(Truth()), only={"images": 100, "trial": [0, 1]})
    one, other = (run_id for run_id, record in records.made.items() if record.teachers)
    kept = records.made[other]
    records.made[other] = replace(
        kept, config={**kept.config, "newer": None}, summary={**kept.summary, "training_images": 900}
    )
    settings, metrics, _ = compare_runs(records, one, other).split("\n\n")
    assert ["newer", "-", "None"] in [line.split() for line in settings.splitlines()]
    assert ["training_images", "1,000", "900"] in [line.split() for line in metrics.splitlines()]


def test_predictions_on_other_images_are_not_compared_although_there_are_as_many() -> None:
    """As of MNIST and of CIFAR-100, with 10,000 test images each."""

    class TwoTestSets(SyntheticRecords):
        def labels(self, run_id: str) -> Labels | None:
            return (self.true_labels + (run_id == students[1])) % self.classes

    records = TwoTestSets(examples=50).add("digits", everywhere(Truth()), only={"images": [100, 300], "trial": 0})
    students = [run_id for run_id in records.ids() if records.record(run_id).teachers]
    assert compare_runs(records, *students).endswith("are not in the records, or are of different test sets.")


def test_a_run_that_is_not_there_or_not_unique_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = SyntheticRecords(examples=100).add("digits", everywhere(Truth()), only={"trial": 0})
    with pytest.raises(BadInput, match="no run is called 'zzz'"):
        compare_runs(records, "zzz", "zzz")
    with pytest.raises(BadInput, match="4 run ids begin with ''"):
        compare_runs(records, "", "")
    assert main(["compare", "a", "b", "--runs", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_teacher_tested_on_other_images_with_the_same_labels_is_no_pair(tmp_path: Path) -> None:
    own, others = (
        DataConfig(train=Selection(dataset=Synthetic(images=20, image_size=8, seed=seed))) for seed in range(2)
    )
    teachers = [small_teacher(data=data, epochs=1) for data in (own, others)]
    students = [small_student(data=own, teachers=(teacher,), epochs=1) for teacher in teachers]
    work = runner(tmp_path / "runs")
    configs: list[RunConfig] = [*teachers, *students]
    for config in configs:
        work.make(config, "")
    runs = open_records(work.store.root)
    write_export(runs, [(run_id, "") for run_id in runs.ids()], tmp_path / "export.npz")
    for records in (runs, open_records(tmp_path / "export.npz")):
        for teacher, student, same in zip(teachers, students, (True, False), strict=True):
            pair = records.pair(student.run_id, teacher.run_id)
            assert (pair is not None) == same
            assert pair is None or pair.kl == pytest.approx(
                records.record(student.run_id).summary["metrics"]["test/kl"]
            )
            text = compare_runs(records, student.run_id, teacher.run_id)
            assert text.endswith("are of different test sets.") != same
