"""The text table, the README's numbers, and the demo."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_records import SyntheticRecords, Truth, everywhere

from analysis.tables import study_table
from analysis.text_table import text_table
from repro.bench.wandb_server import StandInServer
from repro.cli import main
from repro.records import open_records
from repro.store import Store
from repro.tracking import mirror


def test_the_text_table_names_teacher_student_and_control_with_spread() -> None:
    records = SyntheticRecords(examples=200).add("digits", everywhere(Truth()), only={"images": [100, 1200]})
    table = study_table(records, "digits", "short").rows
    lines = text_table(table).splitlines()
    assert lines[0].split() == ["images", "accuracy", "agreement", "kl", "nll", "ece"]
    # The synthetic runs all say that they were distilled on 1,000 images.
    assert [line.split()[0] for line in lines[2:]] == ["teacher", "student", "control"]
    agreement = table["student_agreement"]
    assert f"{agreement.mean():.1%} ± {agreement.std():.1%}" in lines[3]
    assert "±" not in text_table(table.iloc[:1])


def test_the_text_table_is_of_the_trials_that_have_the_quantity() -> None:
    table = pd.DataFrame({"training_images": [100] * 3, "student_agreement": [0.7, 0.8, np.nan]})
    table["student_kl"], table["control_kl"] = [0.5, np.nan, np.nan], np.nan
    _, _, _, student, control = text_table(table).splitlines()
    assert student.split() == ["student", "100", "75.0%", "±", "7.1%", "0.500"]
    assert control.split() == ["control", "100"]


def test_the_readme_shows_the_committed_results() -> None:
    root = Path(__file__).parents[1]
    table = pd.read_csv(root / "results" / "lenet_mnist" / "figure_2_short.csv")
    assert table.groupby("training_images")["trial"].nunique().eq(3).all()
    readme = (root / "README.md").read_text()
    assert text_table(table) in readme
    records = open_records(root / "results" / "lenet_mnist" / "records_40_epochs.npz")
    summaries = [records.record(run_id).summary for run_id in records.ids()]
    agreement = [s["metrics"]["test/agreement"] for s in summaries if s["kind"] == "student"]
    assert f"{np.mean(agreement):.2%} ± {np.std(agreement, ddof=1):.2%} (n = {len(agreement)})" in readme


NO_NETWORK = """
import socket
connect = socket.socket.connect
def refuse(self, address):
    if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":  # where the test's own server is
        raise AssertionError("the demo must not use the network")
    return connect(self, address)
socket.socket.connect = refuse
"""
"""What Python does first in the processes that the demo starts."""


@pytest.mark.slow
def test_the_demo_answers_offline_and_a_second_start_trains_nothing(
    tmp_path: Path, server: StandInServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("the demo must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(mirror, "END_SECONDS", 300.0)
    assert main(["demo", "--out", str(tmp_path), "--wandb", "online"]) == 0
    first = capsys.readouterr()
    assert "12 to make" in first.err
    assert first.out.count("student") >= 3 and "control" in first.out
    table = pd.read_csv(tmp_path / "digits.csv").groupby("images").mean(numeric_only=True)
    most = table.loc[1200]
    assert most["student_agreement"] > most["control_agreement"] + 0.02
    assert most["teacher_accuracy"] > 0.75
    summaries = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/summary.json")}
    assert len(summaries) == 12
    assert "W&B" not in first.err
    for record in Store(tmp_path / "runs").runs():  # what it told a process of its own
        shown = server.runs[record.run_id]
        assert shown.exit_code == 0
        assert shown.config()["study"] == "digits"
        assert [row["_step"] for row in shown.history()] == [row["step"] for row in record.metrics()]
    assert main(["demo", "--out", str(tmp_path)]) == 0
    second = capsys.readouterr()
    assert "0 to make" in second.err and second.out == first.out
    assert {path: path.stat().st_mtime_ns for path in summaries} == summaries
