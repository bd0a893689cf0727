"""Figures with one small panel per study and data set, for questions that every student's record can answer."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.panels import Evidence
from analysis.drawing.style import PALE, SMALL, canvas
from repro.launch.sweep import all_sweeps, find_sweep, study_of
from repro.progress import counted
from repro.records import Records

COLUMNS = 4
WITHOUT_STUDENTS = ("sngan", "teacher_distributions", "methods_tries")
"""Sweeps whose runs are not shown as students; those of `methods_tries` are not measured on test images."""


def student_sweeps() -> tuple[str, ...]:
    """Every sweep that trains students."""
    return tuple(path.stem for path in all_sweeps() if path.stem not in WITHOUT_STUDENTS)


def students_by_study(evidence: Evidence) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (study, its students, each once) for studies that have any; several sweeps may belong to one study.

    A study whose students learn from several data sets is one group for each, called `study: data set`: a class, or a
    level of agreement, of one has no meaning in another.
    """
    studies = {sweep: study_of(find_sweep(sweep)) for sweep in evidence.table["sweep"].unique()}
    table = evidence.table.assign(study=evidence.table["sweep"].map(studies)).drop_duplicates(["study", "run_id"])
    table["trained_on"] = [_data_set(evidence.records, run_id) for run_id in table["run_id"]]
    for study, students in table.groupby("study", sort=True):
        groups = list(students.groupby("trained_on", sort=True))
        yield from ((f"{study}: {data}" if len(groups) > 1 else str(study), rows) for data, rows in groups)


def _data_set(records: Records, run_id: str) -> str:
    name: str = records.record(run_id).config["data"]["train"]["dataset"]["name"]
    return name


Draw: TypeAlias = Callable[[Records, Axes, pd.DataFrame], int]


def draw_by_study(evidence: Evidence, draw: Draw, x_label: str, y_label: str) -> Figure:
    """One panel per study and data set, drawn by `draw(records, axes, students)`; all panels have the same limits.

    `draw` returns of how many students the records hold what is to be drawn, and the panel says so.
    """
    groups = list(students_by_study(evidence))
    columns = min(COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    figure, grid = canvas(rows, columns, height=2.3 if rows == 1 else 1.35 * rows + 0.3)
    panels = list(grid.flat)[: len(groups)]
    for axes, (study, students) in zip(panels, groups, strict=True):
        drawn = draw(evidence.records, axes, students)
        if not drawn:
            at = {"transform": axes.transAxes, "ha": "center", "va": "center"}
            axes.text(0.5, 0.5, "not in the records", color=PALE, **at)
        count = f"{f'{drawn} of ' if 0 < drawn < len(students) else ''}{counted(len(students), 'student')}"
        axes.set_title(f"{study}\n{count}", loc="left", fontsize=SMALL, fontweight="normal")
    for axes in list(grid.flat)[len(groups) :]:
        axes.set_visible(False)
    # Not matplotlib's shared axes: with twenty of them, sharing takes longer than drawing.
    x_limits = min(axes.get_xlim()[0] for axes in panels), max(axes.get_xlim()[1] for axes in panels)
    y_limits = min(axes.get_ylim()[0] for axes in panels), max(axes.get_ylim()[1] for axes in panels)
    for index, axes in enumerate(panels):
        axes.set(xlim=x_limits, ylim=y_limits)
        left, bottom = index % columns == 0, index + columns >= len(groups)
        axes.tick_params(labelleft=left, labelbottom=bottom)
    figure.supxlabel(x_label, fontsize=7.5)
    if rows == 1:  # in the middle of the whole figure, the label of one low row would stand in the legend
        panels[0].set_ylabel(y_label)
    else:
        figure.supylabel(y_label, fontsize=7.5)
    return figure
