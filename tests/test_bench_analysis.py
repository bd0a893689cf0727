"""The bench of the analysis: its records read and write like real ones, and its numbers are what it did."""

from pathlib import Path

import numpy as np

from analysis.tables import study_table
from repro.bench.analysis import SWEEP, RandomRecords, at_temperatures, measure
from repro.records import open_records, write_export


def test_its_runs_are_those_of_a_study_with_teachers_and_controls(tmp_path: Path) -> None:
    made = RandomRecords(at_temperatures([1.0, 2.0]), examples=50)
    write_export(made, [(run_id, "") for run_id in made.ids()], tmp_path / "x.npz")
    table = study_table(open_records(tmp_path / "x.npz"), SWEEP, "short", {"temperature": [1.0, 2.0]})
    assert len(table.rows) == 54 and not table.missing and table.rows["control_kl"].notna().all()
    sample = table.sample("student_kl", split="D0", members=3, temperature=2.0)
    assert sample.examples is not None and sample.examples.shape == (3, 50)
    run = sample.runs[0]
    np.testing.assert_array_equal(sample.examples[0], made.kl_per_example(run, made.record(run).teacher_key))


def test_it_reports_every_size() -> None:
    report = measure(sizes=(27, 54), trials=(), examples=20)
    first, second = report.numbers["by_runs"]
    assert (first["runs"], second["runs"]) == (27 + 15, 54 + 15)
    assert first["all"] >= first["table"] > 0 and second["numbers"] == 2 * first["numbers"]
    assert f"{second['runs']}" in report.text and "export (MB)" in report.text
