"""Every figure from synthetic records: what is drawn, not how it looks."""

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy.special import softmax
from synthetic_records import SyntheticRecords, Truth

from analysis.by_class import agreement_by_class
from analysis.by_teacher_confidence import BINS, LEAST, binned_agreement
from analysis.catalogue import MODULES, find_figure
from analysis.figure import PaperFigure, StudyTables, draw_figure, drawable_presets
from analysis.figure_8 import member_runs
from analysis.learning_curves import learning_curve
from analysis.panels import Evidence, Names, Panel
from analysis.reliability import reliability
from analysis.series import NOT_RUN
from analysis.small_multiples import student_sweeps, study_of
from analysis.style import DOTS_PER_INCH, SMALL, WIDTH, as_png
from repro.cli import main
from repro.errors import BadInput
from repro.records import RunFolder, open_records, write_export

RARE = {"policy": ["baseline", "mixup"], "members": [1, 3, 5], "temperature": [1.0, 4.0], "alpha": [0.0, 0.5]}
"""Of settings with many values these are run, in two trials; the others are missing."""
OVERVIEWS = ("fidelity_vs_generalization", "by_teacher_confidence", "by_class", "reliability", "learning_curves")


def world(sweep: str, settings: Mapping[str, Any]) -> Truth:  # noqa: ARG001
    return Truth(agreement=0.74 + 0.01 * settings.get("members", 1))


def is_run(settings: Mapping[str, Any]) -> bool:
    return settings["trial"] < 2 and all(settings[key] in values for key, values in RARE.items() if key in settings)


class Records(SyntheticRecords):
    """With a loss surface in every student's record and samples in every generator's (Figures 6c and 7)."""

    def attachment(self, run_id: str, name: str) -> bytes | None:
        if name == "samples.png" and self.record(run_id).kind == "generator":
            samples = io.BytesIO()
            Image.fromarray(np.full((8, 12, 3), 77, dtype=np.uint8)).save(samples, format="png")
            return samples.getvalue()
        if name != "surface.json" or not self.record(run_id).teachers:
            return None
        anchors = {"teacher": (0.0, 0.0), "student_initial": (2.0, 0.0), "student_final": (1.0, 1.0)}
        content = {"x": [0.0, 1.0, 2.0], "y": [0.0, 1.0], "train/loss": [[1.0, 2.0, None], [3.0, 4.0, 10.0]]}
        return json.dumps(content | {"anchors": {k: {"x": x, "y": y} for k, (x, y) in anchors.items()}}).encode()


@pytest.fixture(scope="module")
def tables() -> StudyTables:
    records = Records(examples=120)
    for sweep in student_sweeps():
        records.add(sweep, world, done=is_run)
    records.add("teacher_distributions", world).add("sngan", world)
    return StudyTables(records)


@pytest.fixture(scope="module")
def drawn(tables: StudyTables) -> dict[str, tuple[PaperFigure, Evidence, Figure]]:
    """Every figure that has runs, drawn once for all tests."""
    pictures = {}
    for name in MODULES:
        figure = find_figure(name)
        evidence = figure.evidence(tables, "short")
        if len(evidence.table):
            pictures[name] = (figure, evidence, figure.picture(evidence, "short"))
    return pictures


def series(axes: Axes) -> dict[str, list[tuple[float, ...]]]:
    """Label -> the (x, y) of each series of error bars of that label, in the order they were drawn."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for bars in axes.containers:
        line = bars[0]  # type: ignore[index]
        found.setdefault(str(bars.get_label()), []).append((tuple(line.get_xdata()), tuple(line.get_ydata())))
    return found


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()] if figure.legends else []


def drawn_panels(figure: PaperFigure, picture: Figure) -> list[tuple[Panel, Axes]]:
    panels = [panel for row in figure.panels for panel in row]
    return list(zip(panels, picture.axes, strict=True))


def test_every_figure_that_the_suite_can_make_is_drawn(
    drawn: dict[str, tuple[PaperFigure, Evidence, Figure]],
) -> None:
    assert set(drawn) == set(MODULES)
    assert {
        "1a",
        "1b",
        "2",
        "3",
        "4",
        "5",
        "6a",
        "6b",
        "6c",
        "7",
        "8",
        "9",
        "10",
        "11",
        "12",
        "13",
        "14",
        "table_1",
        "digits",
    } <= set(drawn)


def test_every_picture_says_what_it_shows(drawn: dict[str, tuple[PaperFigure, Evidence, Figure]]) -> None:
    for name, (figure, _, picture) in drawn.items():
        assert picture.get_suptitle().replace("\n", " ") == figure.title
        assert picture.get_size_inches()[0] == WIDTH
        assert min(text.get_fontsize() for text in picture.findobj(Text) if text.get_text()) >= SMALL, name
        assert "Preset short" in texts(picture), name
        if figure.panels:
            assert re.search("n = (1 to )?2 trials", texts(picture)), name  # ImageNet is asked for once
        if name.startswith("table"):
            continue
        for axes in (axes for axes in picture.axes if axes.get_visible() and axes.get_label() != "<colorbar>"):
            assert axes.lines or axes.patches or axes.collections or axes.images or NOT_RUN in texts(picture), name
        if name == "7":
            assert (picture.axes[0].images[0].get_array()[..., :3] == pytest.approx(77 / 255)).all()
            continue
        assert picture.get_supxlabel() or any(axes.get_xlabel() for axes in picture.axes), name
        assert legend(picture), name


def rows_of_sweeps(tables: StudyTables, figure: PaperFigure, panel: Panel) -> pd.DataFrame:
    """What the panel should show, straight from the study tables of the figure's sweeps."""
    found = [tables(sweep, "short").rows.assign(sweep=sweep) for sweep in figure.sweeps]
    asked = [
        rows[np.logical_and.reduce([rows[key] == value for key, value in {**figure.only, **panel.where}.items()])]
        if figure.only or panel.where
        else rows
        for rows in found
        if set(panel.keys) <= set(rows)
    ]
    return pd.concat(asked).drop_duplicates(["run_id", *panel.keys])


def test_the_panels_show_the_means_of_the_tables_of_all_their_sweeps(
    tables: StudyTables, drawn: dict[str, tuple[PaperFigure, Evidence, Figure]]
) -> None:
    checked = 0
    for name, (figure, _, picture) in drawn.items():
        if not figure.panels or name.startswith("table"):
            continue
        for panel, axes in drawn_panels(figure, picture):
            rows = rows_of_sweeps(tables, figure, panel)
            found = series(axes)
            for role, column in panel.metric.columns.items():
                if role == "teacher":
                    continue
                values = [None] if panel.by is None else [v for v in panel.by.names if v in set(rows[panel.by.column])]
                label_of = {"student": "student", "control": "independent control"}[role]
                for index, value in enumerate(values):
                    own = rows if panel.by is None else rows[rows[panel.by.column] == value]
                    expected = sorted(own.groupby(panel.along.column)[column].mean())
                    label = label_of if panel.by is None else panel.by.names[value]
                    if role == "control" and panel.by is not None:
                        label = "independent control (of the same shape)"
                    drawn_series = found[label][index if role == "control" else 0]
                    heights = drawn_series[0 if isinstance(panel.along, Names) else 1]
                    assert sorted(heights) == pytest.approx(expected), (name, label)
                    checked += 1
    assert checked > 100


def test_teacher_student_control_and_paper_differ_without_colour(
    drawn: dict[str, tuple[PaperFigure, Evidence, Figure]],
) -> None:
    picture = drawn["10"][2]
    looks = {}
    for axes in picture.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            line = handle[0] if isinstance(handle, tuple) else handle
            looks[label] = (line.get_marker(), line.get_linestyle(), line.get_markerfacecolor() == "white")
    assert set(looks) == {"student", "teacher", "independent control", "paper", "paper: teacher"}
    assert len(set(looks.values())) == len(looks)
    assert legend(picture)[0] == "student" and legend(picture)[-1].startswith("paper")


def test_the_paper_is_drawn_beside_with_its_own_values(
    drawn: dict[str, tuple[PaperFigure, Evidence, Figure]],
) -> None:
    accuracy = drawn["10"][2].axes[1]
    lines = {line.get_label(): line for line in accuracy.lines}
    assert list(lines["paper"].get_ydata())[:3] == [0.740, 0.745, 0.748]
    assert list(lines["paper: teacher"].get_ydata())[-1] == 0.776
    policies = {line.get_label(): line for line in drawn["3"][2].axes[0].lines}
    assert policies["paper"].get_xdata()[0] == 0.790  # Baseline at temperature 1
    assert "\n77.2 ± 0.4\n" in texts(drawn["table_1"][2]) and "in grey: the paper" in texts(drawn["table_1"][2])
    assert "paper: more than" in legend(drawn["2"][2])


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


def test_what_is_missing_is_shown_with_the_command_that_makes_it(
    drawn: dict[str, tuple[PaperFigure, Evidence, Figure]],
) -> None:
    ten = drawn["10"][2]
    assert texts(ten).count(NOT_RUN) == 2 * 9  # m = 2, 4 and 6 to 12, in both panels
    assert "Partial: 6 of 36 runs" in texts(ten)
    assert "repro launch sweeps/ensemble_size.yaml preset=short" in texts(ten)
    assert "repro launch sweeps/augmentation.yaml preset=short members=5" in texts(drawn["3"][2])


def test_figure_8_shows_training_images_beside_test_images(
    drawn: dict[str, tuple[PaperFigure, Evidence, Figure]],
) -> None:
    _, evidence, picture = drawn["8"]
    titles = [axes.get_title(loc="left") for axes in picture.axes[:6]]
    assert titles == ["train 1", "train 2", "train 3", "test 1", "test 2", "test 3"]
    (alone,) = member_runs(evidence, 20, 1)
    logits = evidence.records.shown_logits(alone)
    assert logits is not None
    for axes, factor in ((picture.axes[0], 2), (picture.axes[3], 1)):  # twice as sure on train
        heights = [bar.get_height() for bar in axes.patches[:10]]
        assert heights == pytest.approx(sorted(softmax(factor * logits[0].astype(float)), reverse=True), rel=1e-5)
    members = [softmax(2 * evidence.records.shown_logits(run)[1].astype(float)) for run in member_runs(evidence, 56, 5)]  # type: ignore[index]
    assert picture.axes[19].patches[0].get_height() == pytest.approx(np.mean(members, axis=0).max(), rel=1e-5)


def test_every_figure_is_redrawn_from_an_export_alone(
    tables: StudyTables, drawn: dict[str, tuple[PaperFigure, Evidence, Figure]], tmp_path: Path
) -> None:
    records = tables.records
    write_export(records, [(run_id, "") for run_id in records.ids()], tmp_path / "all.npz")
    exported = StudyTables(open_records(tmp_path / "all.npz"))
    for figure, evidence, picture in drawn.values():
        again = figure.evidence(exported, "short")
        pd.testing.assert_frame_equal(evidence.table, again.table, rtol=1e-6)
        if figure.name in ("6c", "7", "8", "reliability"):  # which show more of the records than the table
            assert as_png(figure.picture(again, "short"), 50) == as_png(picture, 50), figure.name


def test_without_a_second_trial_there_is_no_control_and_no_spread() -> None:
    one = SyntheticRecords(examples=50).add("digits", world, only={"trial": 0})
    figure = find_figure("digits")
    picture = figure.picture(figure.evidence(StudyTables(one), "short"), "short")
    assert "n = 1 trial, no spread" in texts(picture) and "No independent control" in texts(picture)
    assert set(series(picture.axes[0])) == {"student"}


def test_the_legend_lies_above_the_data(drawn: dict[str, tuple[PaperFigure, Evidence, Figure]]) -> None:
    for name in ("2", "5", "11", "fidelity_vs_generalization"):
        picture = drawn[name][2]
        picture.draw_without_rendering()
        tops = [axes.get_window_extent().y1 for axes in picture.axes if axes.get_visible()]
        for box in (one.get_window_extent() for one in picture.legends):
            assert box.y0 >= max(tops) and box.x1 <= picture.bbox.width, name


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


def test_reliability_is_that_of_the_calibration_error(tables: StudyTables) -> None:
    records = tables.records
    row = tables("digits", "short").rows.iloc[0]
    predicted, labels = records.predictions(row["run_id"]), records.labels(row["run_id"])
    found = reliability(records, row["run_id"])
    assert found is not None and predicted is not None and labels is not None
    inside = np.isfinite(found[0])
    assert (np.floor(found[0, inside] * 15) == np.flatnonzero(inside)).all()
    assert found[1, inside].mean() == pytest.approx(np.mean(predicted.top_class == labels), abs=0.2)


def test_a_learning_curve_ends_at_the_last_epoch(tables: StudyTables) -> None:
    records = tables.records
    run_id = tables("digits", "short").rows.iloc[0]["run_id"]
    record = records.record(run_id)
    curve = learning_curve(records, run_id, "test/agreement")
    assert curve is not None and len(record.metrics) == 10
    assert learning_curve(records, run_id, "test/none") is None


def test_overviews_show_a_panel_for_each_study(drawn: dict[str, tuple[PaperFigure, Evidence, Figure]]) -> None:
    for name in OVERVIEWS[1:]:
        _, evidence, picture = drawn[name]
        titles = {axes.get_title(loc="left").split("\n")[0] for axes in picture.axes if axes.get_visible()}
        assert titles == {study_of(sweep) for sweep in set(evidence.table["sweep"])}


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
        return [not axes.texts for axes in panels], figure.missing_commands(evidence, "short")

    everything = [f"{measure}{weight} preset=short" for weight in (0.0, 0.25, 0.375)]
    assert shown() == ([False] * 3, everything)
    assert shown((0.25, 1), (0.0, 0), (0.375, 0)) == ([True, False, True], everything[1:2])
    assert shown((0.25, 0), (0.0, 0), (0.375, 0)) == ([True] * 3, [])
    assert shown((0.0, 0), (0.25, 1), (0.375, 1)) == ([False, True, True], [f"{measure}0.0 trial=1 preset=short"])
