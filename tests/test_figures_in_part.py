"""Figures of part of the runs, of one preset, from the command; and what overviews count, by hand."""

from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_records import Records, series, texts, world
from matplotlib.collections import QuadMesh
from safetensors.torch import load_file, save_file
from synthetic_records import SyntheticRecords, Truth

from analysis.drawing.panels import cells
from analysis.drawing.style import DOTS_PER_INCH, as_png
from analysis.figure import draw_figure, drawable_presets
from analysis.figures import find_figure
from analysis.figures.by_class import agreement_by_class
from analysis.figures.by_teacher_confidence import BINS, LEAST, binned_agreement
from analysis.figures.learning_curves import learning_curve
from analysis.figures.reliability import reliability
from analysis.tables import StudyTables
from repro.cli import main
from repro.errors import BadInput
from repro.launch.sweep import find_sweep
from repro.records import RunFolder, write_export


@pytest.fixture(scope="module")
def tables() -> StudyTables:
    return StudyTables(SyntheticRecords(examples=120).add("digits", world))


def test_a_run_that_several_conditions_ask_for_is_shown_in_each_and_counted_once() -> None:
    # Baseline augmentation at temperature 1 is no GAN image; and a random start is one at either learning rate.
    records = SyntheticRecords(examples=50).add("augmentation", world, only={"policy": "baseline", "members": 1})
    records.add("init_interpolation", world, only={"weight": 0.0, "learning_rate": "constant"})
    tables = StudyTables(records)
    five, starts = find_figure("5"), find_figure("6b")
    evidence = five.evidence(tables, "short")
    assert evidence.counts[0] == 3 < evidence.counts[1] < len(evidence.expected)
    gan, _, _, policies = five.picture(evidence, "short").axes
    height = evidence.table["train_agreement"].iloc[:3].mean()
    assert series(gan)["student"] == [((0.0,), (pytest.approx(height),))]
    assert series(policies)["m = 1 teacher"][0][0] == (pytest.approx(height),)
    assert "Partial: 3 of" in texts(five.picture(evidence, "short"))
    both = series(starts.picture(starts.evidence(tables, "short"), "short").axes[0])
    assert both["same learning rate"] == both["learning rate × (1 − λ)"] and len(both["same learning rate"][0][0]) == 1


def test_without_a_second_trial_there_is_no_control_and_no_spread() -> None:
    one = SyntheticRecords(examples=50).add("digits", world, only={"trial": 0})
    figure = find_figure("digits")
    picture = figure.picture(figure.evidence(StudyTables(one), "short"), "short")
    assert "n = 1 trial, no spread" in texts(picture) and "No independent control" in texts(picture)
    assert set(series(picture.axes[0])) == {"student"}
    reviews = SyntheticRecords(examples=50).add("text", world, only={"trial": 0, "members": [1, 3]})
    table = find_figure("table_2")
    picture = table.picture(table.evidence(StudyTables(reviews), "short"), "short")
    assert texts(picture).split("\n").count("-") == 2 * 2 and "(dots)" not in texts(picture)


def test_the_teacher_is_the_mean_of_its_trials_however_many_series_each_has() -> None:
    """Students on both halves in the first trial, on one in the second; they share their trial's teacher."""
    records = SyntheticRecords(examples=50, trial_std=0.1)
    for split, trials in (("D0", [0, 1]), ("D1", [0])):
        only = {"members": [1], "temperature": [4.0], "split": [split], "trial": trials}
        records.add("data_recycling_resnet20", world, only=only)
    teachers = [records.scores(run_id) for run_id, record in records.made.items() if record.kind == "teacher"]
    accuracies = [teacher["accuracy"] for teacher in teachers if teacher]
    figure = find_figure("9")
    axes = figure.picture(figure.evidence(StudyTables(records), "short"), "short").axes[3]
    assert len(set(accuracies)) == 2 and axes.get_ylabel().startswith("test accuracy")
    (((_, heights),),) = [lines for label, lines in series(axes).items() if label == "teacher"]
    assert [height for height in heights if np.isfinite(height)] == pytest.approx([np.mean(accuracies)])


def test_no_axis_counts_beyond_a_hundred_percent() -> None:
    same = SyntheticRecords(examples=50, trial_std=0.0).add(
        "digits", lambda *_: Truth(accuracy=None, agreement=1.0), only={"trial": 0}
    )
    figure = find_figure("digits")
    axes = figure.picture(figure.evidence(StudyTables(same), "short"), "short").axes[0]
    assert axes.get_ylim()[1] > 1.002
    shown = [axes.yaxis.get_major_formatter()(tick, 0) for tick in axes.get_yticks()]
    assert shown.index("100") == len([label for label in shown if label]) - 1 and shown[-1] == ""


def test_no_axis_blows_up_hundredths_of_a_point() -> None:
    near = {"trial": 0, "method": ["soft_labels", "logit_mse"]}  # 0.3 points apart
    one = SyntheticRecords(examples=5000).add("text_transformer", world, only=near)
    figure = find_figure("text_transformer")
    low, high = figure.picture(figure.evidence(StudyTables(one), "short"), "short").axes[0].get_xlim()
    assert high - low > 0.01


def test_presets_never_share_a_picture(tmp_path: Path) -> None:
    records = SyntheticRecords(examples=50)
    for preset in ("short", "smoke"):
        records.add("digits", world, preset, only={"images": [300] if preset == "short" else [1200]})
    both = StudyTables(records)
    assert drawable_presets(find_figure("digits"), both) == ["short", "smoke"]
    written = draw_figure(find_figure("digits"), both, tmp_path)
    kinds = (".png", ".pdf", ".csv")
    assert [path.name for path in written] == [f"digits_{p}{k}" for p in ("short", "smoke") for k in kinds]
    assert all(path.stat().st_size > 500 for path in written)
    short, smoke = (pd.read_csv(tmp_path / f"digits_{preset}.csv") for preset in ("short", "smoke"))
    assert set(short["images"]) == {300} and set(smoke["images"]) == {1200}
    figure = find_figure("digits")
    again = figure.picture(figure.evidence(both, "short"), "short")
    assert as_png(again, DOTS_PER_INCH) == written[0].read_bytes()
    with pytest.raises(BadInput, match=r"figure 13; make them with `repro launch sweeps/vgg\.yaml preset=paper`"):
        draw_figure(find_figure("13"), both, tmp_path)


def test_agreement_by_teacher_and_class_against_a_count_by_hand(tables: StudyTables) -> None:
    records = tables.records
    row = tables("digits", "short").rows.iloc[0]
    student, teacher = row["run_id"], row["teacher_key"]
    ours, theirs, labels = records.predictions(student), records.predictions(teacher), records.labels(student)
    assert ours is not None and theirs is not None and labels is not None
    curve, by_class = binned_agreement(records, student, teacher), agreement_by_class(records, student, teacher)
    assert curve is not None and by_class is not None
    for wrong in (0, 1):
        for index in range(BINS):
            inside = [
                i
                for i in range(len(labels))
                if index / BINS <= theirs.confidence[i] < (index + 1) / BINS
                and (theirs.top_class[i] != labels[i]) == wrong
            ]
            agreeing = sum(ours.top_class[i] == theirs.top_class[i] for i in inside)
            expected = agreeing / len(inside) if len(inside) >= LEAST else np.nan
            assert curve[wrong, index] == pytest.approx(expected, nan_ok=True)
    assert np.isfinite(curve).any()
    ones = [i for i in range(len(labels)) if labels[i] == 1]
    assert by_class[0, 1] == pytest.approx(np.mean([theirs.top_class[i] == 1 for i in ones]))
    assert by_class[1, 1] == pytest.approx(np.mean([ours.top_class[i] == theirs.top_class[i] for i in ones]))


def test_students_whose_teachers_were_tested_on_other_data_are_not_compared_with_them(tmp_path: Path) -> None:
    made = SyntheticRecords(examples=60).add("digits", world, only={"trial": 0, "images": 100})
    runs = made.write(tmp_path)
    (teacher,) = (run_id for run_id in made.ids() if made.record(run_id).kind == "teacher")
    path = runs.run(teacher).path / "predictions.safetensors"
    save_file({name: values[:20].clone() for name, values in load_file(path).items()}, path)  # a smaller test set
    for name in ("by_class", "by_teacher_confidence"):
        figure = find_figure(name)
        picture = figure.picture(figure.evidence(StudyTables(RunFolder(runs)), "short"), "short")
        assert "not in the records" in texts(picture)


def test_reliability_is_that_of_the_calibration_error(tables: StudyTables) -> None:
    records = tables.records
    row = tables("digits", "short").rows.iloc[0]
    predicted, labels = records.predictions(row["run_id"]), records.labels(row["run_id"])
    found = reliability(records, row["run_id"])
    assert found is not None and predicted is not None and labels is not None
    inside = np.isfinite(found[0])
    assert (np.floor(found[0, inside] * 15) == np.flatnonzero(inside)).all()
    assert found[1, inside].mean() == pytest.approx(np.mean(predicted.top_class == labels), abs=0.2)


def test_a_learning_curve_is_that_of_the_evaluations_and_nothing_before_the_first() -> None:
    records = SyntheticRecords(examples=20).add("digits", world, only={"trial": [0], "images": [100]})
    run_id, record = next(iter(records.made.items()))
    epochs = record.config["epochs"]
    twice = [{"epoch": epochs // 2, "x": 0.5}, {"epoch": epochs, "x": 1.0}]
    records.made[run_id] = replace(record, metrics=twice)
    curve = learning_curve(records, run_id, "x")
    np.testing.assert_allclose(curve, [*[np.nan] * 4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])  # type: ignore[arg-type]
    assert learning_curve(records, run_id, "none") is None


def test_the_lines_of_the_overviews_are_of_what_their_labels_say(tables: StudyTables) -> None:
    records, rows = tables.records, tables("digits", "short").rows
    pairs = list(zip(rows["run_id"], rows["teacher_key"], strict=True))

    def lines(name: str) -> dict[str, tuple[Any, Any]]:
        figure = find_figure(name)
        axes = figure.picture(figure.evidence(tables, "short"), "short").axes[0]
        return {str(line.get_label()): (np.array(line.get_xdata()), np.array(line.get_ydata())) for line in axes.lines}

    def mean(curves: list[Any]) -> Any:
        return np.ma.masked_invalid(np.array(curves)).mean(axis=0).filled(np.nan)

    right, wrong = mean([binned_agreement(records, *pair) for pair in pairs])
    drawn = lines("by_teacher_confidence")
    np.testing.assert_allclose(drawn["where the teacher is right"][1], right)
    np.testing.assert_allclose(drawn["where the teacher is wrong"][1], wrong)
    drawn = lines("reliability")
    for label, keys in (("teachers", list(rows["teacher_key"].unique())), ("students", list(rows["run_id"]))):
        np.testing.assert_allclose(drawn[label], mean([reliability(records, key) for key in keys]))
    drawn = lines("learning_curves")
    for label, split in (("on test", "test"), ("on the distillation data", "train")):
        final = [records.record(run_id).summary["metrics"][f"{split}/agreement"] for run_id in rows["run_id"]]
        assert drawn[label][1][-1] == pytest.approx(np.mean(final))


def test_an_overview_says_how_its_values_correlate_and_how_they_scatter(tables: StudyTables) -> None:
    rows, figure = tables("digits", "short").rows, find_figure("fidelity_vs_generalization")
    assert figure.draw is not None
    axes = figure.draw(figure.evidence(tables, "short")).axes[0]
    gain = rows["student_accuracy"] - rows["teacher_accuracy"]
    assert f"digits (ρ = {rows['student_agreement'].corr(gain, method='spearman'):.2f})" in [
        line.get_label() for line in axes.lines
    ]
    figure = find_figure("by_teacher_confidence")
    assert figure.draw is not None
    band = figure.draw(figure.evidence(tables, "short")).axes[0].collections[0].get_paths()
    curves = [
        binned_agreement(tables.records, *pair)[0]  # type: ignore[index]
        for pair in zip(rows["run_id"], rows["teacher_key"], strict=True)
    ]
    last = np.array([curve[-1] for curve in curves])
    mean, deviation = last.mean(), last.std(ddof=1)
    drawn = [y for path in band for x, y in np.asarray(path.vertices) if x == pytest.approx(0.9)]
    assert (min(drawn), max(drawn)) == pytest.approx((mean - deviation, min(mean + deviation, 1.0)))


def test_overviews_keep_data_sets_apart_and_say_how_many_students_they_draw() -> None:
    class MoreClasses(SyntheticRecords):
        """CIFAR-100 has more classes than the others: one for each example."""

        def labels(self, run_id: str) -> Any:
            ours = super().labels(run_id)
            name = self.record(run_id).config["data"]["train"]["dataset"]["name"]
            return np.arange(len(ours)) if ours is not None and name == "cifar100" else ours

    records, few = MoreClasses(examples=60), {"method": ["soft_labels", "hint"], "teacher": ["same"]}
    for sweep in ("methods_digits", "methods_cifar100"):
        records.add(sweep, world, only={**few, "trial": [0, 1]})
    records.add("text_transformer", world, only={"trial": 0, "method": "soft_labels"})
    students = {run_id: record for run_id, record in records.made.items() if record.teachers}
    names = [record.config["data"]["train"]["dataset"]["name"] for record in students.values()]
    for run_id in [list(students)[names.index("digits")], list(students)[-1]]:
        del records.logits[run_id]
    tables = StudyTables(records)
    shown = ["methods: cifar100\n4 students", "methods: digits\n3 of 4 students", "text_transformer\n1 student"]
    for name in ("by_class", "by_teacher_confidence", "reliability", "learning_curves", "fidelity_vs_generalization"):
        figure = find_figure(name)
        assert figure.draw is not None
        picture = figure.draw(figure.evidence(tables, "short"))
        if name == "fidelity_vs_generalization":
            found = [str(line.get_label()).split(" (")[0] for line in picture.axes[0].lines[:3]]
            assert found == [title.split("\n")[0] for title in shown]
            continue
        every = name == "learning_curves"  # which needs no predictions
        assert [axes.get_title(loc="left") for axes in picture.axes] == [
            title.replace("3 of 4", "4") if every else title for title in shown
        ]
        assert texts(picture).count("not in the records") == (0 if every else 1)


def test_a_sweep_over_config_keys_is_left_out_of_overviews_and_in_the_way_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite_own = find_sweep("digits").read_text()
    (tmp_path / "digits.yaml").write_text(suite_own)
    (tmp_path / "taus.yaml").write_text(f"{suite_own.rstrip()}\n  objective.temperature:\n    values: [1.0, 4.0]\n")
    (tmp_path / "begun.yaml").write_text("name: begun\n")
    monkeypatch.setattr("repro.launch.sweep.SWEEPS", tmp_path)
    tables = StudyTables(SyntheticRecords(examples=60).add("digits", world))
    figure = replace(find_figure("learning_curves"), sweeps=("digits", "taus"))
    tables.check([figure.sweeps])
    evidence = figure.evidence(tables, "short")
    assert len(evidence.table) == 9 and evidence.counts == (9, 9)
    assert "Left out, because they compare values of config keys: taus." in " ".join(figure.notes(evidence, "short"))
    assert draw_figure(figure, tables, tmp_path / "out")
    with pytest.raises(BadInput, match=r"begun\.yaml:1: the key 'program' is missing"):
        replace(figure, sweeps=("digits", "begun")).evidence(tables, "short")


def test_an_overview_of_one_study_has_its_label_beside_its_panel() -> None:
    records = SyntheticRecords(examples=60).add("digits", world, only={"images": 300})
    tables = StudyTables(records)
    for name in ("by_class", "by_teacher_confidence", "reliability", "learning_curves"):
        figure = find_figure(name)
        picture = figure.picture(figure.evidence(tables, "short"), "short")
        (axes,) = picture.axes
        panel, label = axes.get_window_extent(), axes.yaxis.label.get_window_extent()
        assert axes.get_ylabel() and panel.y0 <= label.y0 and label.y1 <= panel.y1, name
        assert not picture.get_supylabel()


def test_an_overview_of_one_student_does_not_blow_up_hundredths_of_a_point() -> None:
    records = SyntheticRecords(examples=60).add(
        "digits", lambda *_: Truth(accuracy=None, agreement=1.0), only={"images": 300, "trial": 0}
    )
    figure = find_figure("fidelity_vs_generalization")
    picture = figure.picture(figure.evidence(StudyTables(records), "short"), "short")
    for axes in picture.axes:
        low, high = axes.get_xlim()
        assert low <= 99.5 and high > 100 and not axes.xaxis.get_offset_text().get_text()
        shown = [text for tick in axes.get_xticks() if (text := axes.xaxis.get_major_formatter()(tick, 0))]
        assert max(map(float, shown)) == 100
    low, high = picture.axes[0].get_ylim()
    assert high - low >= 1


def test_a_small_study_is_not_drawn_on_the_edge_because_another_is_large() -> None:
    def worlds(sweep: str, settings: object) -> Truth:  # noqa: ARG001
        return Truth(agreement=0.78, ece=0.05) if sweep == "digits" else Truth(accuracy=0.65, agreement=0.6, ece=0.2)

    records = SyntheticRecords(examples=60).add("digits", worlds, only={"images": 100, "trial": list(range(20))})
    records.add("text_transformer", worlds, only={"trial": 0, "method": "soft_labels"})
    tables, figure = StudyTables(records), find_figure("fidelity_vs_generalization")
    (row,) = tables("text_transformer", "short").rows.to_dict("records")
    above = 100 * (row["student_accuracy"] - row["teacher_accuracy"])
    assert figure.draw is not None
    for axes, value in zip(
        figure.draw(figure.evidence(tables, "short")).axes, (above, row["student_ece"]), strict=True
    ):
        mark = axes.lines[1]
        assert np.array(mark.get_xdata()).tolist() == [100 * row["student_agreement"]]
        assert np.array(mark.get_ydata()).tolist() == [value]


def test_fidelity_is_drawn_against_a_students_gain_over_its_teacher(tables: StudyTables) -> None:
    rows = tables("digits", "short").rows
    figure = find_figure("fidelity_vs_generalization")
    gain, calibration = figure.picture(figure.evidence(tables, "short"), "short").axes
    above = 100 * (rows["student_accuracy"] - rows["teacher_accuracy"])
    for axes, values in ((gain, above), (calibration, rows["student_ece"])):
        marks = np.column_stack([axes.lines[0].get_xdata(), axes.lines[0].get_ydata()])
        expected = np.column_stack([100 * rows["student_agreement"], values])
        inside = [bool(np.isclose(mark, expected).all(axis=1).any()) for mark in marks]
        assert len(marks) == 9 and sum(inside) >= 5  # those beyond the frame are drawn on its edge


def test_the_command_draws_from_a_folder_and_from_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = SyntheticRecords(examples=50).add("digits", world)
    store = records.write(tmp_path / "runs")
    write_export(RunFolder(store), [(run_id, "") for run_id in records.ids()], tmp_path / "records.npz")
    for runs in ("runs", "records.npz"):
        out = tmp_path / f"from_{runs}"
        assert main(["figures", "digits", "--runs", str(tmp_path / runs), "--out", str(out)]) == 0
    one, other = (pd.read_csv(tmp_path / f"from_{runs}" / "digits_short.csv") for runs in ("runs", "records.npz"))
    pd.testing.assert_frame_equal(one.drop(columns="label"), other.drop(columns="label"), rtol=1e-5)
    capsys.readouterr()
    assert main(["figures", "table1", "--runs", str(tmp_path / "runs")]) == 2
    assert "table_1" in capsys.readouterr().err
    assert main(["figures", "--runs", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_a_line_is_broken_where_only_other_series_have_a_run() -> None:
    """Else it would run through the missing start as if that lay between its neighbours."""
    lacks = {"weight": 0.25, "learning_rate": "scaled"}
    records = SyntheticRecords(examples=50).add(
        "init_interpolation",
        world,
        only={"weight": [0.0, 0.25, 0.375], "trial": [0]},
        done=lambda settings: not lacks.items() <= settings.items(),
    )
    figure = find_figure("6b")
    axes = figure.picture(figure.evidence(StudyTables(records), "short"), "short").axes[0]
    (scaled,), (constant,) = (series(axes)[name] for name in ("learning rate × (1 − λ)", "same learning rate"))
    assert [np.isnan(height) for height in scaled[1]] == [False, True, False]
    assert not np.isnan(constant[1]).any()
    assert constant[0] == scaled[0] == (0.0, 2.0, 3.0)  # 0.125 has no run at all, and the axis says so
    assert {text.get_text() for text in axes.texts} == {"not run"}
    highest = max(line.get_zorder() for line in axes.lines)
    assert all(text.get_bbox_patch() is not None and text.get_zorder() > highest for text in axes.texts)
    # At 0.125 the paper has 80 %, at the bottom; at 0.5, 0.75 and 1 it has 100 %.
    assert {text.get_position() for text in axes.texts} == {(1.0, 0.96), (4.0, 0.04), (5.0, 0.04), (6.0, 0.04)}


def test_what_is_not_run_has_no_axis_and_keeps_clear_of_the_paper() -> None:
    halves = {"members": 1, "trial": 0}
    figure = find_figure("5")
    evidence = figure.evidence(
        StudyTables(SyntheticRecords(examples=50).add("data_recycling", world, only=halves)), "short"
    )
    _, ensembles, done, policies = figure.picture(evidence, "short").axes
    assert not len(ensembles.get_yticks()) and len(done.get_yticks())  # the paper has no values for three teachers
    combined = [label.get_text() for label in policies.get_yticklabels()].index("Combined")
    places = {round(-text.get_position()[1]): text.get_position()[0] for text in policies.texts}
    assert places == {row: 0.97 if row == combined else 0.03 for row in range(11)}  # the paper has 60 %, at the left
    transfer = find_figure("transfer")
    frozen = SyntheticRecords(examples=50).add("transfer", world, only={"weights": "frozen", "trial": 0})
    panels = transfer.picture(transfer.evidence(StudyTables(frozen), "short"), "short").axes
    assert [len(axes.get_xticks()) > 0 for axes in panels] == [True, True, False, False]


def test_students_are_drawn_without_their_teachers_records() -> None:
    """As after copying only a sweep's own runs from elsewhere."""
    records = SyntheticRecords(examples=50).add("digits", world, only={"images": [300]})
    for run_id in [run_id for run_id in records.ids() if records.record(run_id).kind == "teacher"]:
        del records.made[run_id], records.logits[run_id]
    figure = find_figure("fidelity_vs_generalization")
    picture = figure.picture(figure.evidence(StudyTables(records), "short"), "short")
    assert "teachers not in the records" in texts(picture)


def test_a_cell_has_mean_and_standard_deviation_of_the_trials_that_have_the_quantity(tables: StudyTables) -> None:
    figure = find_figure("digits")
    evidence, panel = figure.evidence(tables, "short"), figure.panels[0][0]
    table, column = evidence.table.copy(), panel.metric.columns["student"]
    table.loc[table.index[0], column] = np.nan
    found = cells(panel, replace(evidence, table=table), "student").to_dict("records")
    trials = [[row for row in table.to_dict("records") if row["images"] == cell["images"]] for cell in found]
    known = [[row for row in rows if row[column] == row[column]] for rows in trials]
    assert sorted(len(rows) for rows in trials) == [3, 3, 3] and sorted(len(rows) for rows in known) == [2, 3, 3]
    for cell, rows in zip(found, known, strict=True):
        values = [row[column] for row in rows]
        assert (cell["mean"], cell["sd"]) == pytest.approx((mean(values), stdev(values)))
        assert (cell["n"], cell["run_ids"]) == (len(rows), tuple(row["run_id"] for row in rows))


def test_figure_8_shows_no_ensemble_without_all_its_members() -> None:
    records = SyntheticRecords(examples=50).add("teacher_distributions", world)
    figure = find_figure("8")
    table = figure.evidence(StudyTables(records), "short").table.set_index(["depth", "member", "trial"])["run_id"]
    del records.logits[table[20, 2, 0]], records.made[table[56, 3, 0]]
    picture = figure.picture(figure.evidence(StudyTables(records), "short"), "short")
    rows = [picture.axes[start : start + 6] for start in range(0, 24, 6)]
    shown = [[text.get_text() for axes in row for text in axes.texts] for row in rows]
    assert shown == [[], ["not in\nthe records"] * 6, [], ["not run"] * 6]


def test_figure_6c_shows_one_trial_and_tells_what_measures_the_rest() -> None:
    class Measured(Records):
        at: frozenset[str] = frozenset()

        def attachment(self, run_id: str, name: str) -> bytes | None:
            return super().attachment(run_id, name) if run_id in self.at else None

    records = Measured(examples=50)
    records.add("init_interpolation", world, only={"weight": [0.0, 0.25, 0.375], "learning_rate": ["constant"]})
    figure = find_figure("6c")
    done = figure.evidence(StudyTables(records), "short").table
    runs = {(row["weight"], row["trial"]): row["run_id"] for row in done.to_dict("records")}
    measure = "repro surface init_interpolation weight="

    def shown(*at: tuple[float, int]) -> tuple[list[bool], list[str]]:
        records.at = frozenset(runs[one] for one in at)
        evidence = figure.evidence(StudyTables(records), "short")
        panels = figure.picture(evidence, "short").axes[:3]
        for axes in (axes for axes in panels if not axes.texts):
            (surface,) = (one for one in axes.collections if isinstance(one, QuadMesh))
            loss: Any = np.ma.array(surface.get_array()).filled(np.nan)
            np.testing.assert_array_equal(loss, [[1, 2, np.nan], [3, 4, 10]])
            assert surface.get_clim() == (1, 10)
            lowest, highest = surface.to_rgba(np.array([1.0, 10.0]))[:, 0]
            assert lowest < highest  # darker where the loss is lower
            places = {line.get_label(): np.array(line.get_xydata()).tolist() for line in axes.lines}
            assert places == {"teacher": [[0, 0]], "student's start": [[2, 0]], "student's end": [[1, 1]]}
        return [not axes.texts for axes in panels], figure.missing_commands(evidence, "short")

    everything = [f"{measure}{weight} preset=short" for weight in (0.0, 0.25, 0.375)]
    assert shown() == ([False] * 3, everything)
    assert shown((0.25, 1), (0.0, 0), (0.375, 0)) == ([True, False, True], everything[1:2])
    assert shown((0.25, 0), (0.0, 0), (0.375, 0)) == ([True] * 3, [])
    assert shown((0.0, 0), (0.25, 1), (0.375, 1)) == ([False, True, True], [f"{measure}0.0 trial=1 preset=short"])
