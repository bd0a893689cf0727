"""From records to table and picture."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from runs import runner
from scipy.special import log_softmax, rel_entr

from analysis import FIGURES, figure_2
from analysis.fidelity_table import fidelity_table
from analysis.growing_data import comparison, draw_growing_data
from repro.cli import main
from repro.errors import BadInput
from repro.launch.local import run_here
from repro.launch.plan import parents_first
from repro.launch.sweep import find_sweep, read_sweep, sweep_studies
from repro.store import Store

SMOKE = {"preset": "smoke", "images": [100, 1200]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    work = runner(tmp_path_factory.mktemp("runs"))
    run_here(parents_first(read_sweep(find_sweep("digits"), SMOKE)), work)
    run_here(parents_first(read_sweep(find_sweep("lenet_mnist"), {"preset": "smoke", "pool": [0.0, 1.0]})), work)
    return work.store


def series(axes: Axes) -> dict[str, list[float]]:
    """Label -> heights of the error bars' centres, as drawn."""
    return {str(bars.get_label()): list(bars[0].get_ydata()) for bars in axes.containers}  # type: ignore[index, union-attr]


def test_the_table_holds_each_student_its_teacher_and_the_mean_of_the_other_trials(store: Store) -> None:
    points = sweep_studies(find_sweep("digits"), SMOKE)
    table = fidelity_table(store, points)
    assert len(table) == 6 == table["run_id"].nunique()

    def logits(run_id: str) -> np.ndarray:
        return store.run(run_id).predictions()["test_logits"].numpy().astype(np.float64)

    configs = {(study.trial, study.images): study.config() for study in points}  # type: ignore[attr-defined]
    for row in table.to_dict("records"):
        own = configs[row["trial"], row["images"]]
        teacher = logits(own.parents()[0].run_id)
        others = [logits(configs[trial, row["images"]].run_id) for trial in range(3) if trial != row["trial"]]
        agreement = np.mean([(other.argmax(1) == teacher.argmax(1)).mean() for other in others])
        p = np.exp(log_softmax(teacher, axis=1))
        divergence = np.mean([rel_entr(p, np.exp(log_softmax(other, axis=1))).sum(1).mean() for other in others])
        assert row["control_agreement"] == pytest.approx(agreement)
        assert row["control_kl"] == pytest.approx(divergence, rel=1e-5)
        assert row["student_agreement"] == pytest.approx((logits(own.run_id).argmax(1) == teacher.argmax(1)).mean())
        labels = store.run(own.run_id).predictions()["test_labels"].numpy()
        assert row["teacher_accuracy"] == pytest.approx((teacher.argmax(1) == labels).mean())


def test_a_single_trial_has_no_control_and_no_spread(store: Store) -> None:
    table = fidelity_table(store, sweep_studies(find_sweep("digits"), {**SMOKE, "trial": [1]}))
    assert table["control_agreement"].isna().all()
    figure, fidelity, _ = draw_growing_data(table, "title", expected=6, remedy="repro demo")
    assert list(series(fidelity)) == ["student with its teacher"]
    assert "n = 1 trial" in figure.get_suptitle()
    assert "partial: 2 of 6 students; the rest: repro demo" in figure.get_suptitle()
    assert "±" not in comparison(table)


def test_the_picture_shows_the_tables_means_with_labels_units_and_n(store: Store) -> None:
    table = fidelity_table(store, sweep_studies(find_sweep("digits"), SMOKE))
    figure, fidelity, generalization = draw_growing_data(table, "title", expected=6, remedy="repro demo")
    means = table.groupby("training_images")[["student_agreement", "control_agreement", "teacher_accuracy"]].mean()
    drawn = series(fidelity)
    assert drawn["student with its teacher"] == pytest.approx(means["student_agreement"].tolist())
    assert drawn["control: with another trial's teacher"] == pytest.approx(means["control_agreement"].tolist())
    assert series(generalization)["teacher"] == pytest.approx(means["teacher_accuracy"].tolist())
    assert "n = 3 trials" in figure.get_suptitle() and "partial" not in figure.get_suptitle()
    uneven, _, _ = draw_growing_data(table.iloc[:-1], "title", expected=6, remedy="repro demo")
    assert "n = 2 to 3 trials" in uneven.get_suptitle()
    assert fidelity.get_ylabel() and fidelity.get_xlabel() and generalization.get_ylabel()
    assert [round(tick) for tick in fidelity.get_xticks()] == [100, 1200]


def test_figures_are_written_with_the_table_behind_them(store: Store, tmp_path: Path) -> None:
    paths = figure_2.draw(store, tmp_path)
    assert [path.name for path in paths] == [f"figure_2_smoke{suffix}" for suffix in (".png", ".pdf", ".csv")]
    assert all(path.stat().st_size > 500 for path in paths)
    written = pd.read_csv(paths[2])
    assert sorted(written["pool"].unique()) == [0.0, 1.0]
    assert not {"pool"} - set(written.columns)
    first = paths[0].read_bytes()
    figure_2.draw(store, tmp_path)
    assert paths[0].read_bytes() == first


def test_without_runs_the_message_says_what_makes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match=r"repro launch sweeps/lenet_mnist\.yaml"):
        figure_2.draw(Store(tmp_path), tmp_path / "out")
    assert main(["figures", "3b", "--runs", str(tmp_path)]) == 2
    assert main(["figures", "2", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not (tmp_path / "out").exists()


def test_the_readme_shows_the_committed_results() -> None:
    root = Path(__file__).parents[1]
    table = pd.read_csv(root / "results" / "lenet_mnist" / "figure_2_short.csv")
    assert table.groupby("training_images")["trial"].nunique().eq(3).all()
    readme = (root / "README.md").read_text()
    assert comparison(table) in readme
    records = (root / "results" / "lenet_mnist" / "records_40_epochs.jsonl").read_text().splitlines()
    summaries = [json.loads(record)["summary"] for record in records]
    agreement = [s["metrics"]["test/agreement"] for s in summaries if s["kind"] == "student"]
    assert f"{np.mean(agreement):.2%} ± {np.std(agreement, ddof=1):.2%} (n = {len(agreement)})" in readme


def test_figures_are_known() -> None:
    assert set(FIGURES) == {"2", "digits"}


def test_the_comparison_names_teacher_student_and_control_with_spread(store: Store) -> None:
    table = fidelity_table(store, sweep_studies(find_sweep("digits"), SMOKE))
    lines = comparison(table).splitlines()
    assert lines[0].split() == ["images", "accuracy", "agreement", "kl", "nll", "ece"]
    assert [line.split()[0] for line in lines[2:]] == ["teacher", "student", "control", "student", "control"]
    accuracy = table.drop_duplicates("trial")["teacher_accuracy"]
    assert f"{accuracy.mean():.1%} ± {accuracy.std():.1%}" in lines[2]


@pytest.mark.slow
def test_the_demo_answers_offline_and_a_second_start_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("the demo must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert main(["demo", "--out", str(tmp_path)]) == 0
    first = capsys.readouterr()
    assert "12 to make" in first.err
    assert first.out.count("student") >= 3 and "control" in first.out
    table = pd.read_csv(tmp_path / "digits.csv").groupby("images").mean(numeric_only=True)
    most = table.loc[1200]
    assert most["student_agreement"] > most["control_agreement"] + 0.02
    assert most["teacher_accuracy"] > 0.75
    summaries = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/summary.json")}
    assert len(summaries) == 12
    assert main(["demo", "--out", str(tmp_path)]) == 0
    second = capsys.readouterr()
    assert "0 to make" in second.err and second.out == first.out
    assert {path: path.stat().st_mtime_ns for path in summaries} == summaries
