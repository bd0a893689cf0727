"""Drawing panels: lines over a size, or conditions by name with a dot and its spread."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from analysis.panels import Evidence, Names, Panel, Role, Scale, cells, conditions
from analysis.style import CONTROL, PALE, PAPER, SERIES, STUDENT, TEACHER, Look, canvas

NOT_RUN = "not run"


def draw_grid(
    panels: Sequence[Sequence[Panel]], evidence: Evidence, row_height: float = 2.0, share_y: bool = False
) -> Figure:
    """A figure with these panels, in rows."""
    figure, grid = canvas(len(panels), len(panels[0]), height=row_height * len(panels), sharey="row" if share_y else False)
    for row, row_of_axes in zip(panels, grid, strict=True):
        for panel, axes in zip(row, row_of_axes, strict=True):
            draw_panel(axes, panel, evidence)
            if share_y and axes is not row_of_axes[0]:
                axes.set_ylabel("")
    return figure


def draw_panel(axes: Axes, panel: Panel, evidence: Evidence) -> None:
    """Draw one panel: `along` numbers as lines, along names as rows of dots."""
    if isinstance(panel.along, Names):
        _draw_rows(axes, panel, panel.along, evidence)
    else:
        _draw_lines(axes, panel, panel.along, evidence)
    if panel.title:
        axes.set_title(panel.title, loc="left")


def role_label(panel: Panel, role: Role, value: Any = None) -> str:
    """How the legend calls a role, of one series where the panel has several."""
    name = f"{role}, {panel.by.names[value]}" if panel.by and value is not None else role
    return name if role != "control" else name.replace("control", "independent control", 1)


# -- lines ------------------------------------------------------------------------------------------------


def _draw_lines(axes: Axes, panel: Panel, scale: Scale, evidence: Evidence) -> None:
    ticks = sorted(conditions(panel, evidence)[scale.column].unique())
    places = {x: float(place if scale.spacing == "even" else x) for place, x in enumerate(ticks)}
    roles = [role for role in panel.metric.columns if role != "teacher"]
    drawn = [(role, look, value) for role in roles for look, value in _series(panel, role)]
    # The two often coincide, so marks at one place stand side by side.
    shifts = np.linspace(-1, 1, len(drawn)) * (0.0 if len(drawn) == 1 else 0.012 * (len(drawn) - 1))
    if "teacher" in panel.metric.columns:
        _draw_line(axes, panel, evidence, "teacher", TEACHER, None, places, scale, 0.0)
    for (role, look, value), shift in zip(drawn, shifts, strict=True):
        _draw_line(axes, panel, evidence, role, look, value, places, scale, shift)
    _x_axis(axes, scale, places, _runs_at(panel, evidence))
    axes.set_ylabel(panel.metric.label)
    if panel.metric.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.margins(y=0.1)


def _series(panel: Panel, role: Role) -> list[tuple[Look, Any]]:
    """The looks of a role's series, each with its value of `by`."""
    if panel.by is None:
        return [(STUDENT if role == "student" else CONTROL, None)]
    looks = [(look, value) for look, value in zip(SERIES, panel.by.names, strict=False)]
    return looks if role == "student" else [(look.hollow(), value) for look, value in looks]


def _draw_line(
    axes: Axes,
    panel: Panel,
    evidence: Evidence,
    role: Role,
    look: Look,
    value: Any,
    places: dict[Any, float],
    scale: Scale,
    shift: float,
) -> None:
    rows, trials = _points(panel, evidence, role, value)
    width = (max(places.values()) - min(places.values())) if len(places) > 1 else 1.0

    def place(xs: pd.Series) -> "np.ndarray[Any, Any]":
        at = xs.map(places).to_numpy(float)
        return at * (1 + 2 * shift) if scale.spacing == "log" else at + shift * width

    stated = rows.dropna(subset=["paper"])
    if len(stated):
        label = "paper: teacher" if role == "teacher" else "paper"
        style = PAPER.line_style() | {"linewidth": 0.8, "marker": "+" if role == "teacher" else PAPER.marker}
        axes.plot(place(stated[scale.column]), stated["paper"], label=label, zorder=1.5, **style)
    done = rows[rows["n"] > 0]
    if done.empty:
        return
    axes.errorbar(
        place(done[scale.column]),
        done["mean"],
        yerr=done["sd"],
        label=role_label(panel, role, value),
        capsize=2,
        elinewidth=0.8,
        zorder=3 if role == "student" else 2.5,
        **look.line_style(),
    )
    axes.plot(place(trials[scale.column]), trials[panel.metric.columns[role]], **_faint(look))


def _faint(look: Look) -> dict[str, Any]:
    """A single trial."""
    return {"linestyle": "none", "marker": ".", "markersize": 2.5, "color": look.color, "alpha": 0.45, "zorder": 2}


def _points(panel: Panel, evidence: Evidence, role: Role, value: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cells of one series, and the trials behind them. A teacher is the same for every series of the panel."""
    column = panel.metric.columns[role]
    if role == "teacher":
        one = Panel(panel.metric, panel.along, None, panel.where)
        table = evidence.where(panel.where).table
        unique = table.drop_duplicates([panel.along.column, "trial", column]) if column in table else table
        narrowed = replace(evidence, table=unique)
        return cells(one, narrowed, role), unique
    rows, trials = cells(panel, evidence, role), evidence.where(panel.where).table
    if panel.by is not None:
        rows, trials = (frame[frame[panel.by.column] == value] for frame in (rows, trials))
    return rows, trials.dropna(subset=[column]) if column in trials else trials.iloc[:0]


def _runs_at(panel: Panel, evidence: Evidence) -> dict[Any, int]:
    """How many students are done at each place of the axis."""
    table = evidence.where(panel.where).table
    if panel.along.column not in table:
        return {}
    counts: dict[Any, int] = table[panel.along.column].value_counts().to_dict()
    return counts


def _x_axis(axes: Axes, scale: Scale, places: dict[Any, float], runs: dict[Any, int]) -> None:
    if not places:
        axes.text(0.5, 0.5, NOT_RUN, transform=axes.transAxes, ha="center", va="center", color=PALE)
        return
    if scale.spacing == "log":
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(places.values())))
    axes.xaxis.set_minor_locator(NullLocator())
    names = {place: _count(x) for x, place in places.items()}
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: names.get(min(names, key=lambda p: abs(p - x)), "")))
    axes.set_xlabel(scale.label)
    empty = [place for x, place in places.items() if not runs.get(x)]
    for place in empty:
        axes.text(
            place, 0.03, NOT_RUN, transform=axes.get_xaxis_transform(), rotation=90, ha="center", va="bottom",
            color=PALE, fontsize=6.5,
        )
    axes.update_datalim([(place, np.nan) for place in places.values()])
    low, high = min(places.values()), max(places.values())
    room = 0.06 * (high - low) or 0.5
    axes.set_xlim((low * 0.9, high * 1.1) if scale.spacing == "log" else (low - room, high + room))


def _count(value: float) -> str:
    if isinstance(value, str):
        return value
    return f"{value / 1000:g}k" if value >= 10_000 and value % 100 == 0 else f"{value:,.4g}" if value < 10_000 else f"{value / 1000:.3g}k"


# -- rows of dots -----------------------------------------------------------------------------------------


def _draw_rows(axes: Axes, panel: Panel, names: Names, evidence: Evidence) -> None:
    found = conditions(panel, evidence)
    shown = [value for value in names.names if value in set(found[names.column])] if len(found) else []
    places = {value: -place for place, value in enumerate(shown)}
    if "teacher" in panel.metric.columns:
        _draw_teacher_lines(axes, panel, evidence)
    for role in [role for role in panel.metric.columns if role != "teacher"]:
        series = _series(panel, role)
        dodge = np.linspace(0.27, -0.27, len(series)) if len(series) > 1 else [0.0]
        for (look, value), offset in zip(series, dodge, strict=False):
            _draw_row_series(axes, panel, evidence, role, look, value, places, offset)
    for value, place in places.items():
        if not _runs_at(panel, evidence).get(value):
            axes.text(0.02, place, NOT_RUN, transform=axes.get_yaxis_transform(), va="center", color=PALE, fontsize=6.5)
    axes.set_yticks(list(places.values()), [names.names[value] for value in places])
    axes.set_ylim(-len(places) + 0.4, 0.6)
    axes.grid(visible=True, axis="y", color="0.93")
    axes.set_xlabel(panel.metric.label)
    if panel.metric.percent:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.margins(x=0.08)


def _draw_row_series(
    axes: Axes, panel: Panel, evidence: Evidence, role: Role, look: Look, value: Any, places: dict[Any, int], offset: float
) -> None:
    rows, trials = _points(panel, evidence, role, value)
    height = rows[panel.along.column].map(places).astype(float) + offset
    stated = rows["paper"].notna()
    if stated.any():
        # Beside ours: the two often coincide.
        below = 0.0 if panel.by else 0.22
        style = PAPER.line_style() | {"linestyle": "none", "markersize": 4}
        axes.plot(rows["paper"][stated], height[stated] - below, label="paper", zorder=1.5, **style)
    done = rows["n"] > 0
    if not done.any():
        return
    axes.errorbar(
        rows["mean"][done],
        height[done],
        xerr=rows["sd"][done],
        label=role_label(panel, role, value),
        capsize=2,
        elinewidth=0.8,
        zorder=3 if role == "student" else 2.5,
        **(look.line_style() | {"linestyle": "none"}),
    )
    at = trials[panel.along.column].map(places).astype(float) + offset
    axes.plot(trials[panel.metric.columns[role]], at, **_faint(look))


def _draw_teacher_lines(axes: Axes, panel: Panel, evidence: Evidence) -> None:
    """The teacher does not depend on the condition: one line across them; a line per series if it depends on that."""
    column = panel.metric.columns["teacher"]
    table = evidence.where(panel.where).table
    if column not in table or table[column].dropna().empty:
        return
    if panel.by is None:
        axes.axvline(table.drop_duplicates(["trial", column])[column].mean(), color=TEACHER.color, linestyle="--", label="teacher", zorder=2)
        return
    for (look, value) in _series(panel, "student"):
        own = table[table[panel.by.column] == value].drop_duplicates(["trial", column])[column]
        if len(own):
            label = role_label(panel, "teacher", value)
            axes.axvline(own.mean(), color=look.color, linestyle="--", linewidth=0.9, label=label, zorder=2)
