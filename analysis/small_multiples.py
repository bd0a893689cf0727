"""Figures with one small panel per study, for questions that every student's record can answer."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.panels import Evidence
from analysis.style import PALE, canvas
from repro.launch.sweep import find_sweep

COLUMNS = 3
WITHOUT_STUDENTS = ("sngan", "teacher_distributions", "methods_tries")
"""Sweeps whose runs are not shown as students; those of `methods_tries` are not measured on test images."""


def student_sweeps() -> tuple[str, ...]:
    """Every sweep that trains students."""
    names = sorted(Path(path).stem for path in find_sweep("any").parent.glob("*.yaml"))
    return tuple(name for name in names if name not in WITHOUT_STUDENTS)


def students_by_sweep(evidence: Evidence) -> Iterator[tuple[str, pd.DataFrame]]:
    """(sweep, its students), of the sweeps that have any."""
    yield from ((str(sweep), rows) for sweep, rows in evidence.table.groupby("sweep", sort=True))


def draw_by_study(evidence: Evidence, draw: Callable[[Axes, pd.DataFrame], bool], x_label: str, y_label: str) -> Figure:
    """`draw` called with axes and students for each sweep; all panels share their axes.

    Where it returns False the records do not hold what is to be drawn, and the panel says so.
    """
    groups = list(students_by_sweep(evidence))
    columns = min(COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    figure, grid = canvas(rows, columns, height=2.2 * rows + 0.2, sharex=True, sharey=True)
    for axes, (sweep, students) in zip(grid.flat, groups, strict=False):
        if not draw(axes, students):
            at = {"transform": axes.transAxes, "ha": "center", "va": "center"}
            axes.text(0.5, 0.5, "not in the records", color=PALE, **at)
        axes.set_title(f"{sweep}, {len(students)} student{'s' if len(students) > 1 else ''}", loc="left")
    for axes in list(grid.flat)[len(groups) :]:
        axes.set_visible(False)
    for index in range(len(groups)):
        row, column = divmod(index, columns)
        if column == 0:
            grid[row, column].set_ylabel(y_label)
        if index + columns >= len(groups):
            grid[row, column].set_xlabel(x_label)
            grid[row, column].xaxis.set_tick_params(labelbottom=True)
    return figure
