"""Every figure from synthetic records: what is drawn, not how it looks."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_records import Records, series, texts, world
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from scipy.special import softmax

from analysis.drawing.panels import AGREEMENT, Evidence, Names, Panel, Scale
from analysis.drawing.series import NOT_RUN, format_axis
from analysis.drawing.small_multiples import student_sweeps
from analysis.drawing.style import SMALL, VERMILLION, WIDTH, as_png
from analysis.figure import PaperFigure
from analysis.figures import NAMES, find_figure
from analysis.figures.figure_8 import member_runs
from analysis.tables import StudyTables
from repro.errors import Damaged
from repro.experiments.optimizer import OptimizerStudy
from repro.experiments.self_distillation import SelfDistillation
from repro.launch.sweep import find_sweep, study_of
from repro.records import open_records, write_export

pytestmark = pytest.mark.slow  # every figure is drawn, which takes half a minute

RARE: dict[str, list[Any]] = {
    "policy": ["baseline", "mixup"],
    "members": [1, 3, 5],
    "temperature": [1.0, 4.0],
    "alpha": [0.0, 0.5],
}
"""Of settings with many values these are run, in two trials; the others are missing."""
OVERVIEWS = ("fidelity_vs_generalization", "by_teacher_confidence", "by_class", "reliability", "learning_curves")


def is_run(settings: Mapping[str, Any]) -> bool:
    return settings["trial"] < 2 and all(settings[key] in values for key, values in RARE.items() if key in settings)


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
    for name in NAMES:
        figure = find_figure(name)
        evidence = figure.evidence(tables, "short")
        if len(evidence.table):
            pictures[name] = (figure, evidence, figure.picture(evidence, "short"))
    return pictures


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()] if figure.legends else []


def drawn_panels(figure: PaperFigure, picture: Figure) -> list[tuple[Panel, Axes]]:
    panels = [panel for row in figure.panels for panel in row]
    return list(zip(panels, picture.axes, strict=True))


def test_every_figure_that_the_suite_can_make_is_drawn(
    drawn: dict[str, tuple[PaperFigure, Evidence, Figure]],
) -> None:
    assert set(drawn) == set(NAMES)
    paper = {"1a", "1b", "2", "3", "4", "5", "6a", "6b", "6c", "7", "8", "9", "10", "11", "12", "13", "14", "table_1"}
    assert {*paper, "digits"} <= set(drawn)


def test_every_picture_says_what_it_shows(drawn: dict[str, tuple[PaperFigure, Evidence, Figure]]) -> None:
    for name, (figure, _, picture) in drawn.items():
        assert picture.get_suptitle().replace("\n", " ") == figure.title
        assert picture.get_size_inches()[0] == WIDTH
        assert min(float(text.get_fontsize()) for text in picture.findobj(Text) if text.get_text()) >= SMALL, name
        assert "Preset short" in texts(picture), name
        if figure.panels:
            assert re.search("n = (1 to )?2 trials", texts(picture)), name  # ImageNet is asked for once
        if name.startswith("table"):
            continue
        for axes in (axes for axes in picture.axes if axes.get_visible() and axes.get_label() != "<colorbar>"):
            assert axes.lines or axes.patches or axes.collections or axes.images or NOT_RUN in texts(picture), name
        if name == "7":
            pixels = picture.axes[0].images[0].get_array()
            assert pixels is not None and (pixels[..., :3] == pytest.approx(77 / 255)).all()
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


FIXED: dict[str, list[dict[str, Any]]] = {
    "1b": [{"members": 3}],
    "3": [{"members": 5}],
    "4": [{"temperature": 4.0}, {"members": 3}],
    "5": [
        {"sweep": "self_distillation"},
        {"sweep": "ensemble_distillation"},
        {"sweep": "data_recycling", "temperature": 4.0},
        {"sweep": "augmentation"},
    ],
    "9": [{"members": 1}, {"members": 3}, {"members": 5}],
    "12": [{"teacher_depth": 20}, {"teacher_depth": 56}],
    "14": [{"members": 1}, {"members": 3}, {"members": 5}],
    "table_2": [{"sweep": "text"}, {"sweep": "imagenet"}],
    "transfer": [{"weights": "frozen"}, {"weights": "fine_tuned"}],
}
"""Figure -> the settings that its panels fix, from left to right or downwards; other figures show all conditions."""


def test_a_figure_fixes_the_settings_that_the_paper_does() -> None:
    for figure in map(find_figure, NAMES):
        panels = [panel for row in figure.panels for panel in row]
        fixed = [{**figure.only, **panel.where} for panel in panels]
        assert [one for index, one in enumerate(fixed) if one not in fixed[:index]] == (
            FIXED.get(figure.name, [{}] if panels else [])
        ), figure.name


def test_an_axis_says_where_a_preset_scales_the_setting_that_it_shows() -> None:
    (images,) = SelfDistillation(preset="short", gan_images=50_000).config().data.generated
    assert images.images == 10_000 and OptimizerStudy(preset="short", epochs=300).config().epochs == 18
    panels = [panel for figure in map(find_figure, NAMES) for row in figure.panels for panel in row]
    scaled = [panel.along for panel in panels if panel.along.column in ("gan_images", "epochs")]
    assert len(scaled) == 8
    assert all(isinstance(along, Scale) and along.label.endswith("(the paper's scale)") for along in scaled)


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
            assert isinstance(line, Line2D)
            looks[label] = (line.get_marker(), line.get_linestyle(), line.get_markerfacecolor() == "white")
    assert set(looks) == {"student", "teacher", "independent control", "paper", "paper: teacher"}
    assert len(set(looks.values())) == len(looks)
    assert legend(picture)[0] == "student" and legend(picture)[-1].startswith("paper")


def test_a_teacher_that_all_series_share_is_drawn_once_and_no_control_lies_beneath_its_student(
    drawn: dict[str, tuple[PaperFigure, Evidence, Figure]],
) -> None:
    transfer = drawn["transfer"][2]
    assert "teacher" in legend(transfer) and "teacher (of the same shape)" not in legend(transfer)
    teachers = [line for line in transfer.axes[1].lines if line.get_linestyle() == "--"]
    assert [(line.get_color(), line.get_label()) for line in teachers] == [(VERMILLION, "teacher")]
    assert "teacher (of the same shape)" in legend(drawn["11"][2])  # there each ensemble size has its own
    students, controls = (
        series(transfer.axes[0])[name] for name in ("true labels", "independent control (of the same shape)")
    )
    assert not {y for _, heights in students for y in heights} & {y for _, heights in controls for y in heights}


def test_the_paper_is_drawn_beside_with_its_own_values(
    drawn: dict[str, tuple[PaperFigure, Evidence, Figure]],
) -> None:
    accuracy = drawn["10"][2].axes[1]
    lines = {line.get_label(): line for line in accuracy.lines}
    assert np.array(lines["paper"].get_ydata())[:3].tolist() == [0.740, 0.745, 0.748]
    assert np.array(lines["paper: teacher"].get_ydata())[-1] == 0.776
    policies = {line.get_label(): line for line in drawn["3"][2].axes[0].lines}
    assert np.array(policies["paper"].get_xdata())[0] == 0.790  # Baseline at temperature 1
    table = texts(drawn["table_1"][2])
    assert "\n77.2 ± 0.4\n" in table and "in grey: the paper. Its CKA is not comparable" in table.replace("\n", " ")
    assert "paper: more than" in legend(drawn["2"][2])
    bars = [one for one in drawn["5"][2].axes[-1].collections if isinstance(one, LineCollection)]
    ranges = [bar for one in bars if one.get_label() == "paper, range" for bar in one.get_segments()]
    assert [bar[:, 0].tolist() for bar in ranges] == [[0.8, 0.9]] * 3


def test_what_is_missing_is_shown_with_the_command_that_makes_it(
    drawn: dict[str, tuple[PaperFigure, Evidence, Figure]],
) -> None:
    ten = drawn["10"][2]
    assert texts(ten).count(NOT_RUN) == 2 * 9  # m = 2, 4 and 6 to 12, in both panels
    assert "Partial: 6 of 36 runs" in texts(ten)
    assert "repro launch sweeps/ensemble_size.yaml preset=short" in texts(ten)
    assert "repro launch sweeps/augmentation.yaml preset=short members=5" in texts(drawn["3"][2])


def bar_heights(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]


def test_figure_8_shows_training_images_beside_test_images(
    drawn: dict[str, tuple[PaperFigure, Evidence, Figure]],
) -> None:
    _, evidence, picture = drawn["8"]
    titles = [axes.get_title(loc="left") for axes in picture.axes[:6]]
    assert titles == ["train 1", "train 2", "train 3", "test 1", "test 2", "test 3"]
    (alone,) = member_runs(evidence, 20, 1)
    logits = evidence.records.shown_logits(alone)
    assert logits is not None
    assert evidence.table.set_index("run_id").loc[alone, "trial"] == 0
    for axes, factor in ((picture.axes[0], 2), (picture.axes[3], 1)):  # twice as sure on train
        shown = factor * np.sort(logits[0].astype(float))[::-1]
        assert bar_heights(axes) == pytest.approx([*softmax(shown), *softmax(shown / 4)], rel=1e-5)
    assert {bar.get_linewidth() for bar in picture.axes[0].patches[:10]} == {0}  # a white edge hides a few percent
    members = [softmax(2 * evidence.records.shown_logits(run)[1].astype(float)) for run in member_runs(evidence, 56, 5)]  # type: ignore[index]
    assert bar_heights(picture.axes[19])[0] == pytest.approx(np.mean(members, axis=0).max(), rel=1e-5)


@pytest.mark.slow
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


def test_the_legend_lies_above_the_data(drawn: dict[str, tuple[PaperFigure, Evidence, Figure]]) -> None:
    for name in ("2", "5", "11", "fidelity_vs_generalization"):
        picture = drawn[name][2]
        picture.draw_without_rendering()
        tops = [axes.get_window_extent().y1 for axes in picture.axes if axes.get_visible()]
        for box in (one.get_window_extent() for one in picture.legends):
            assert box.y0 >= max(tops) and box.x1 <= picture.bbox.width, name


def test_overviews_show_a_panel_for_each_study(drawn: dict[str, tuple[PaperFigure, Evidence, Figure]]) -> None:
    for name in OVERVIEWS[1:]:
        _, evidence, picture = drawn[name]
        titles = {axes.get_title(loc="left").split("\n")[0] for axes in picture.axes if axes.get_visible()}
        assert {"methods: digits", "methods: mnist", "methods: cifar100"} <= titles
        studies = {study_of(find_sweep(sweep)) for sweep in set(evidence.table["sweep"])}
        assert {title.split(":")[0] for title in titles} == studies


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("name", "sweep", "damage"),
    [
        ("6c", "init_interpolation", cut),
        ("6c", "init_interpolation", lambda content: content.replace(b"student_final", b"other")),
        ("6c", "init_interpolation", lambda content: content.replace(b", null]", b"]")),
        ("6c", "init_interpolation", lambda content: content.replace(b"[0.0, 1.0, 2.0]", b"[0.0, 1.0]")),
        ("7", "sngan", cut),
    ],
)
def test_a_damaged_attachment_is_named(name: str, sweep: str, damage: Callable[[bytes], bytes]) -> None:
    class Cut(Records):
        def attachment(self, run_id: str, name: str) -> bytes | None:
            content = super().attachment(run_id, name)
            return content and damage(content)

    figure = find_figure(name)
    evidence = figure.evidence(StudyTables(Cut(examples=50).add(sweep, world)), "short")
    with pytest.raises(Damaged, match=r"(surface\.json|samples\.png) of run [0-9a-f]{12} is damaged .*; remove it"):
        figure.picture(evidence, "short")


def test_the_numbers_at_an_axis_are_where_they_stand() -> None:
    axes = Figure().subplots()
    axes.set_ylim(0.9945, 0.9995)
    format_axis(axes.yaxis, AGREEMENT, ticks=5)
    shown = [float(text) for text in axes.yaxis.get_major_formatter().format_ticks(axes.get_yticks().tolist())]
    assert shown == pytest.approx(100 * axes.get_yticks(), abs=1e-9)
