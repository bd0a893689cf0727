"""Tables as pictures: a row per condition, a column per metric and role, the paper's value beneath ours in grey."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.panels import Evidence, Metric, Names, Panel, Role, cells
from analysis.drawing.series import NOT_RUN
from analysis.drawing.style import GREY, PALE, SMALL, canvas

LINE = 0.17
"""Inches between two lines of a table."""
HEAD, TITLE, ROW = 2.6, 1.4, 2.1
"""Heights, in lines, of the head, the name of a group and a condition."""
CHARACTER = 0.0098
"""The share of the width that a character of a condition's name takes."""
UNKNOWN = "-"
"""Shown for a control without a second trial or without predictions."""
PAPER_IS_GREY = "Below, in grey: the paper."


def draw_table(groups: Sequence[Sequence[Panel]], evidence: Evidence) -> Figure:
    """Draw groups of rows; the panels of a group share their conditions. A group with new columns has a new head."""
    tables = [(_columns(panels), _lines(panels, evidence)) for panels in groups]
    heads = [index == 0 or columns != tables[index - 1][0] for index, (columns, _) in enumerate(tables)]
    lines = sum(HEAD * head + TITLE + ROW * len(rows) for head, (_, rows) in zip(heads, tables, strict=True))
    height = LINE * (lines + 0.2)
    figure, grid = canvas(1, 1, height=height)
    axes = grid[0, 0]
    axes.set(xlim=(0, 1), ylim=(-height / LINE, 0))
    axes.axis("off")
    y = -0.05
    first = 0.04 + CHARACTER * max(len(label) for _, rows in tables for label, _ in rows)
    for panels, head, (columns, rows) in zip(groups, heads, tables, strict=True):
        places = [first + (1 - first) * (column + 0.5) / len(columns) for column in range(len(columns))]
        if head:
            _rule(axes, y, 1.0)
            for x, (metric, role) in zip(places, columns, strict=True):
                text = _heading(metric, role)
                axes.text(x, y - 1.25, text, ha="center", va="center", fontsize=SMALL, linespacing=1.3)
            _rule(axes, y - 2.5, 0.6)
            y -= HEAD
        axes.text(0.0, y - 0.7, panels[0].title, va="center", fontsize=7.5, fontweight="bold")
        y -= TITLE
        for label, values in rows:
            axes.text(0.015, y - 0.5, label, va="center", fontsize=SMALL)
            for x, (ours, paper) in zip(places, values, strict=True):
                color = PALE if ours in (NOT_RUN, UNKNOWN) else "black"
                axes.text(x, y - 0.5, ours, ha="center", va="center", fontsize=SMALL, color=color)
                axes.text(x, y - 1.35, paper, ha="center", va="center", fontsize=SMALL, color=GREY)
            y -= ROW
    _rule(axes, y, 1.0)
    return figure


def _columns(panels: Sequence[Panel]) -> list[tuple[Metric, Role]]:
    return [(panel.metric, role) for panel in panels for role in panel.metric.columns]


def _lines(panels: Sequence[Panel], evidence: Evidence) -> list[tuple[str, list[tuple[str, str]]]]:
    """(label, (ours, paper) of every column) for each row."""
    lines: list[tuple[str, list[tuple[str, str]]]] = []
    columns = [(panel.metric, cells(panel, evidence, role)) for panel in panels for role in panel.metric.columns]
    students = cells(panels[0], evidence, "student")["n"]
    for row in columns[0][1].index:
        condition = columns[0][1].loc[row, panels[0].along.column]
        along = panels[0].along
        label = along.names[condition] if isinstance(along, Names) else str(condition)
        lack = UNKNOWN if students[row] else NOT_RUN
        values = [(_ours(metric, table.loc[row]) or lack, _paper(metric, table.loc[row])) for metric, table in columns]
        lines.append((label, values))
    return lines or [("", [(NOT_RUN, "")] * len(columns))]


def _heading(metric: Metric, role: Role) -> str:
    return "\n".join([role, metric.name, f"({metric.unit})" if metric.unit else ""])


def _ours(metric: Metric, cell: "pd.Series[Any]") -> str:
    return metric.text(cell["mean"], cell["sd"]) if cell["n"] else ""


def _paper(metric: Metric, cell: "pd.Series[Any]") -> str:
    if pd.isna(cell["paper"]):
        return ""
    return metric.text(cell["paper"], cell["paper_std"])


def _rule(axes: Axes, y: float, width: float) -> None:
    axes.plot([0, 1], [y, y], color="black", linewidth=width)
