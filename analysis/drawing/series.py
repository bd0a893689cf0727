"""The series that a panel draws for each role, and the look of series in all kinds of panels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.drawing.panels import Evidence, Metric, Panel, Role, Scale, cells
from analysis.drawing.style import CONTROL, PAPER, SERIES, STUDENT, TEACHER, Look

NOT_RUN = "not run"
LEAST_ROOM = 0.005
"""Least room on either side of a share, so that no axis magnifies differences of hundredths of a point."""


@dataclass(frozen=True)
class Series:
    """One line, or one dot in each row, of a panel."""

    role: Role
    look: Look
    label: str
    cells: pd.DataFrame
    trials: pd.DataFrame
    shared_paper: bool
    """Whether the paper's values are the same for every series of the role, and therefore drawn once."""


def all_series(panel: Panel, here: Evidence) -> Iterator[Series]:
    """Yield the panel's series, the teacher first, so that students are drawn on top of it."""
    for role in sorted(panel.metric.columns, key=("teacher", "control", "student").index):
        column = panel.metric.columns[role]
        trials = here.table.dropna(subset=[column]) if column in here.table else here.table.iloc[:0]
        if role == "teacher" and (isinstance(panel.along, Scale) or _is_shared(trials, column)):
            # The same for every series of the panel, so it is drawn once.
            trials = trials.drop_duplicates([panel.along.column, "trial", column]) if len(trials) else trials
            own = cells(replace(panel, by=None), replace(here, table=trials), role)
            yield Series(role, TEACHER, "teacher", own, trials, False)
            continue
        found = cells(panel, here, role)
        if panel.by is None:
            look = {"teacher": TEACHER, "student": STUDENT, "control": CONTROL}[role]
            yield Series(role, look, _role_name(role), found, trials, False)
            continue
        stated = found.groupby(panel.along.column)["paper"].nunique()
        for look, (value, name) in zip(SERIES, panel.by.names.items(), strict=False):
            if value not in set(found[panel.by.column]):
                continue
            rows = found[found[panel.by.column] == value]
            own_trials = trials[trials[panel.by.column] == value] if len(trials) else trials
            drawn_as = look.hollow() if role == "control" else look
            label = name if role == "student" else f"{_role_name(role)} (of the same shape)"
            yield Series(role, drawn_as, label, rows, own_trials, bool(stated.max() == 1 and len(panel.by.names) > 1))


def _is_shared(teachers: pd.DataFrame, column: str) -> bool:
    """Whether each trial has the same teacher in every series."""
    return len(teachers) > 0 and teachers.groupby("trial")[column].nunique().max() == 1


def _role_name(role: Role) -> str:
    return "independent control" if role == "control" else role


def faint(look: Look) -> dict[str, Any]:
    """The style of single trials."""
    return {"linestyle": "none", "marker": ".", "markersize": 2.5, "color": look.color, "alpha": 0.45, "zorder": 2}


def paper_style(series: Series) -> dict[str, Any]:
    """The style of the paper's values."""
    style = PAPER.line_style() | {"linewidth": 0.8, "zorder": 1.5, "label": "paper"}
    if series.role == "teacher":
        style |= {"marker": "+", "label": "paper: teacher"}
    return style


def room(metric: Metric, deviation: "pd.Series[float]") -> "pd.Series[float]":
    """How far an axis has to reach on either side of means with these standard deviations (NaN: there is none)."""
    return deviation.fillna(0.0).clip(lower=LEAST_ROOM if metric.unit == "%" else 0.0)


def format_axis(axis: Any, metric: Metric, ticks: int) -> None:
    """Round ticks in the metric's unit. Those above 100 % have no label: no share is there, only room for a mark."""

    def label(value: float, _: int) -> str:
        is_possible = metric.unit != "%" or value < 1 + 1e-9
        return f"{metric.factor * value:.6g}" if is_possible else ""

    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(label))
