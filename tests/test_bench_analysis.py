"""The bench of the analysis: its records read and write like real ones, and its numbers are what it did."""

from pathlib import Path

import numpy as np
import pytest

from analysis.tables import study_table
from repro.bench.analysis import RandomRecords, every_sweep, measure
from repro.launch.sweep import find_sweep, sweep_studies
from repro.records import open_records, write_export

SWEEP, CHANGES = "data_recycling_resnet20", {"temperature": [1.0, 4.0]}


def test_its_runs_are_those_of_a_study_with_teachers_and_controls(tmp_path: Path) -> None:
    made = RandomRecords(sweep_studies(find_sweep(SWEEP), {"preset": "short", **CHANGES}), examples=50)
    write_export(made, [(run_id, "") for run_id in made.ids()], tmp_path / "x.npz")
    table = study_table(open_records(tmp_path / "x.npz"), SWEEP, "short")
    assert len(table.rows) == 54 and table.rows["control_kl"].notna().all()
    sample = table.sample("student_kl", split="D0", members=3, temperature=4.0)
    assert sample.examples is not None and sample.examples.shape == (3, 50)
    run = sample.runs[0]
    np.testing.assert_array_equal(sample.examples[0], made.kl_per_example(run, made.record(run).teacher_key))


@pytest.mark.slow
def test_it_reports_what_it_did() -> None:
    assert {"digits", "augmentation"} <= set(every_sweep())
    report = measure(trials=(2,), examples=20, sweeps=["digits"])
    (row,) = report.numbers["by_runs"]
    assert (row["trials"], row["runs"]) == (2, 8)  # two teachers, and students of three sizes
    assert row["figures"] == 6  # the study's own, and five overviews
    assert row["numbers"] == 39  # three conditions, thirteen quantities
    assert min(row["draw"], row["intervals"], row["megabytes"]) > 0
    assert report.text.startswith(f"analysis: 8 runs aggregated and all 6 figures drawn in {row['draw']:.1f} s")
