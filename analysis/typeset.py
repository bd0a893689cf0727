"""Tables as pictures: a row per condition, a column per metric and role, the paper's value beneath ours in grey."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.draw import NOT_RUN
from analysis.panels import Evidence, Metric, Names, Panel, Role, cells
from analysis.style import GREY, PALE, canvas

LINE = 0.19
"""Inches between two lines of a table."""


def draw_table(groups: Sequence[Sequence[Panel]], evidence: Evidence) -> Figure:
    """Draw groups of rows; the panels of a group share their conditions. Every group has the same columns."""
    columns = [(panel.metric, role) for panel in groups[0] for role in panel.metric.columns]
    lines = _lines(groups, evidence)
    height = LINE * (sum(2.1 if values else 1.5 for _, values in lines) + 2.2)
    figure, grid = canvas(1, 1, height=height)
    axes = grid[0, 0]
    axes.set(xlim=(0, 1), ylim=(-height / LINE, 0))
    axes.axis("off")
    first = 0.2
    places = [first + (1 - first) * (column + 0.5) / len(columns) for column in range(len(columns))]
    for x, (metric, role) in zip(places, columns, strict=True):
        axes.text(x, -0.75, _heading(metric, role), ha="center", va="center", fontsize=7, linespacing=1.3)
    _rule(axes, -0.05, 1.0)
    _rule(axes, -1.6, 0.6)
    y = -2.2
    for label, values in lines:
        axes.text(
            0.0 if not values else 0.015, y, label, va="center", fontsize=7.5, fontweight=None if values else "bold"
        )
        for x, (ours, paper) in zip(places, values, strict=False):
            missing = ours == NOT_RUN
            axes.text(x, y, ours, ha="center", va="center", fontsize=7, color=PALE if missing else "black")
            axes.text(x, y - 0.85, paper, ha="center", va="center", fontsize=6.5, color=GREY)
        y -= 2.1 if values else 1.5
    _rule(axes, y + 0.9, 1.0)
    return figure


def _lines(groups: Sequence[Sequence[Panel]], evidence: Evidence) -> list[tuple[str, list[tuple[str, str]]]]:
    """(label, (ours, paper) of every column) for each row; a group's heading has no values."""
    lines: list[tuple[str, list[tuple[str, str]]]] = []
    for panels in groups:
        lines.append((panels[0].title, []))
        columns = [(panel.metric, cells(panel, evidence, role)) for panel in panels for role in panel.metric.columns]
        for row in columns[0][1].index:
            condition = columns[0][1].loc[row, panels[0].along.column]
            along = panels[0].along
            label = along.names[condition] if isinstance(along, Names) else str(condition)
            lines.append(
                (label, [(_ours(metric, table.loc[row]), _paper(metric, table.loc[row])) for metric, table in columns])
            )
        if columns[0][1].empty:
            lines.append(("", [(NOT_RUN, "")] * len(columns)))
    return lines


def _heading(metric: Metric, role: Role) -> str:
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{role}\n{metric.name}{unit}"


def _ours(metric: Metric, cell: "pd.Series[Any]") -> str:
    return spread_text(metric, cell["mean"], cell["sd"]) if cell["n"] else NOT_RUN


def _paper(metric: Metric, cell: "pd.Series[Any]") -> str:
    if pd.isna(cell["paper"]):
        return ""
    return "paper " + spread_text(metric, cell["paper"], cell["paper_std"])


def spread_text(metric: Metric, value: float, spread: float) -> str:
    """`77.1 ± 0.4`: a value in the metric's unit and, where there is one, its spread."""
    digits = 1 if metric.percent else 3
    factor = 100 if metric.percent else 1
    return " ± ".join(f"{factor * number:.{digits}f}" for number in (value, spread) if pd.notna(number))


def _rule(axes: Axes, y: float, width: float) -> None:
    axes.plot([0, 1], [y, y], color="black", linewidth=width)
