"""A panel along names: a row for each name, with a dot for each series."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.drawing.panels import Evidence, Names, Panel, conditions
from analysis.drawing.series import NOT_RUN, Series, all_series, faint, format_axis, paper_style, room
from analysis.drawing.style import PALE, SERIES, SMALL

ABOVE = 0.12
"""Fraction of a row by which a control is drawn above its student, since the two may be equal."""
BENEATH = 0.26
"""Fraction of a row between one series and the next below it, since they often coincide."""
PAPER_COLUMNS = ["paper", "paper_low", "paper_high"]


def draw_rows(axes: Axes, panel: Panel, names: Names, here: Evidence) -> None:
    wanted = set(conditions(panel, here)[names.column])
    places = {value: -float(row) for row, value in enumerate(value for value in names.names if value in wanted)}
    drawn = list(all_series(panel, here))
    for series in drawn:
        if series.role == "teacher":
            _draw_teacher(axes, panel, series)
        else:
            _draw_dots(axes, panel, series, places)
    is_empty = not axes.has_data()
    axes.set_yticks(list(places.values()), [names.names[value] for value in places])
    axes.set_ylim(min(places.values(), default=0) - 0.6, 0.6)
    axes.grid(visible=False, axis="y")
    for place in list(places.values())[1::2]:
        axes.axhspan(place - 0.5, place + 0.5, color="0.96", zorder=0)
    axes.set_xlabel(panel.metric.label.replace(" (", "\n("))
    format_axis(axes.xaxis, panel.metric, ticks=3 if axes.get_position().width > 0.2 else 2)
    axes.margins(x=0.08)
    if is_empty:
        axes.set_xticks([])  # else the axis would run from below zero, at any metric
    done = set(here.table[names.column]) if names.column in here.table else set()
    for value in (value for value in places if value not in done):
        stated = pd.concat([one.cells.loc[one.cells[names.column] == value, PAPER_COLUMNS].stack() for one in drawn])
        _write_not_run(axes, places[value], stated)


def _write_not_run(axes: Axes, place: float, stated: "pd.Series[float]") -> None:
    """Write `not run` at the left of a row or, if one of the paper's values is there, at the right."""
    low, high = axes.get_xlim()
    on_right = bool((stated < low + 0.3 * (high - low)).any())
    at: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "ha": "right" if on_right else "left",
        "va": "center",
    }
    axes.text(0.97 if on_right else 0.03, place, NOT_RUN, color=PALE, fontsize=SMALL, **at)


def _draw_dots(axes: Axes, panel: Panel, series: Series, places: Mapping[Any, float]) -> None:
    offset = 0.0
    if panel.by:
        order = [look.marker for look in SERIES].index(series.look.marker)
        offset = BENEATH * ((len(panel.by.names) - 1) / 2 - order)
    offset += ABOVE if series.role == "control" else 0.0
    height = series.cells[panel.along.column].map(places).astype(float) + offset
    low, high = series.cells["paper_low"], series.cells["paper_high"]
    between = low.notna() & high.notna()
    if between.any():
        bars: dict[str, Any] = {"color": PALE, "alpha": 0.25, "linewidth": 6, "zorder": 1, "label": "paper, range"}
        axes.hlines(height[between], low[between], high[between], **bars)
    stated = series.cells["paper"].notna()
    if stated.any():  # below ours, unless a row has several series
        below = 0.0 if panel.by else 0.24
        style = paper_style(series) | {"linestyle": "none"}
        axes.plot(series.cells["paper"][stated], height[stated] - below, **style)
    done = series.cells["n"] > 0
    if not done.any():
        return
    mean, spread = series.cells["mean"][done], room(panel.metric, series.cells["sd"][done])
    axes.update_datalim([(value, 0.0) for value in (*(mean - spread), *(mean + spread))], updatey=False)
    axes.errorbar(
        mean,
        height[done],
        xerr=series.cells["sd"][done],
        label=series.label,
        capsize=2,
        elinewidth=0.8,
        zorder=3 if series.role == "student" else 2.5,
        **(series.look.line_style() | {"linestyle": "none"}),
    )
    at = series.trials[panel.along.column].map(places).astype(float) + offset
    axes.plot(series.trials[panel.metric.columns[series.role]], at, **faint(series.look))


def _draw_teacher(axes: Axes, panel: Panel, series: Series) -> None:
    """Draw one line across all rows: a teacher does not depend on what its students are distilled on."""
    column = panel.metric.columns["teacher"]
    if series.trials.empty:
        return
    mean = series.trials.drop_duplicates(["trial", column])[column].mean()
    look = series.look
    axes.add_line(
        Line2D(
            [mean, mean],
            [0.0, 1.0],
            transform=axes.get_xaxis_transform(),
            color=look.color,
            linestyle="--",
            marker=look.marker,
            markersize=3.5,
            linewidth=1.0,
            label=series.label,
            zorder=2,
            clip_on=False,
        )
    )
    axes.update_datalim([(mean, 0.0)], updatey=False)
    axes.autoscale_view()
