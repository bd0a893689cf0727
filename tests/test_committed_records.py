"""The records in `results/` are those that today's studies ask for."""

from pathlib import Path

import pytest

from analysis.changes import Changes
from analysis.statistics.intervals import interval
from analysis.tables import study_table
from repro.experiments.study import Preset
from repro.records import open_records

LENET = "model.name=lenet5 teachers.model.name=lenet5"
SIZED = "data.train.size={0} teachers.data.train.size={0}"
BFLOAT16 = "precision=bfloat16 evaluate_every=6 teachers.evaluate_every=6"


def test_committed_records_without_examples_make_a_table() -> None:
    records = open_records(Path(__file__).parents[1] / "results" / "text" / "records.npz")
    table = study_table(records, "text", "short")
    assert len(table.rows) == 6
    assert table.rows["teacher_accuracy"].between(0.75, 0.79).all()
    sample = table.sample("student_agreement", members=1)
    assert sample.trials == (0, 1, 2) and sample.examples is None
    assert records.predictions(sample.runs[0]) is None and records.scores(sample.runs[0]) is not None


@pytest.mark.parametrize(
    ("folder", "sweep", "preset", "changes", "rows"),
    [
        ("data_recycling_lenet", "data_recycling_resnet20", "paper", f"{LENET} {SIZED.format(20_000)}", 9),
        ("data_recycling_resnet20", "data_recycling_resnet20", "short", "", 9),
        ("digits", "digits", "short", "", 9),
        # 27 students; at lambda = 0, those of both learning rates are the same.
        ("init_interpolation", "init_interpolation", "short", BFLOAT16, 30),
        # 12 students, likewise.
        ("init_interpolation_lenet", "init_interpolation", "paper", f"{LENET} {SIZED.format(10_000)}", 15),
        ("lenet_mnist", "lenet_mnist", "short", "", 12),
        ("optimizer_lenet", "optimizer", "paper", f"{LENET} {SIZED.format(10_000)}", 6),
        ("text", "text", "short", "", 6),
        ("text_transformer", "text_transformer", "short", "", 2),
    ],
)
def test_the_committed_records_are_those_that_their_studies_ask_for(
    folder: str, sweep: str, preset: Preset, changes: str, rows: int
) -> None:
    """With another config the runs would have other ids: their results would be gone from every table."""
    results = Path(__file__).parents[1] / "results" / folder
    records = open_records(results / "records.npz")
    table = study_table(records, sweep, preset, Changes.parse(changes.split()))
    assert len(table.rows) == rows
    assert set(table.rows["run_id"]) == {run for run in records.ids() if records.record(run).kind == "student"}
    if folder.endswith("_lenet"):  # whose page shows every condition's control
        for _, _, sample in table.every_sample(["control_agreement"]):
            control = interval(sample)
            shown = f"| {100 * control.estimate:.1f} ± {100 * control.std:.1f} |"
            assert shown in (results / "README.md").read_text()
