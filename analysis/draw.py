"""Drawing panels: lines over a number, or a row of dots for each condition that has a name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWNBASE, CARETUPBASE
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from analysis.panels import Evidence, Metric, Names, Panel, Role, Scale, cells, conditions, of_panel
from analysis.style import CONTROL, PALE, PAPER, SERIES, SMALL, STUDENT, TEACHER, Look, canvas

NOT_RUN = "not run"


@dataclass(frozen=True)
class Series:
    """One line, or one dot in each row, of a panel."""

    role: Role
    look: Look
    label: str
    cells: pd.DataFrame
    trials: pd.DataFrame
    shared_paper: bool
    """The paper's values are the same for every series of the role: they are drawn once."""


def draw_grid(
    panels: Sequence[Sequence[Panel]], evidence: Evidence, row_height: float = 2.0, share_y: bool = False
) -> Figure:
    """A figure with these panels, in rows of `row_height` inches."""
    height = row_height * len(panels)
    figure, grid = canvas(len(panels), len(panels[0]), height, sharey="row" if share_y else False)
    for row, panels_of_row in enumerate(panels):
        for column, panel in enumerate(panels_of_row):
            axes = grid[row, column]
            draw_panel(axes, panel, evidence)
            # What the panel beside or above says already is not said again.
            if share_y and column > 0:
                axes.set_ylabel("")
            if row > 0 and panel.title == panels[row - 1][column].title:
                axes.set_title("", loc="left")
            if row + 1 < len(panels) and panel.along == panels[row + 1][column].along:
                axes.set_xlabel("")
    return figure


def draw_panel(axes: Axes, panel: Panel, evidence: Evidence) -> None:
    """Draw one panel: along numbers as lines, along names as rows of dots."""
    here = of_panel(panel, evidence)
    if isinstance(panel.along, Names):
        _draw_rows(axes, panel, panel.along, here)
    else:
        _draw_lines(axes, panel, panel.along, here)
    axes.set_title(panel.title, loc="left")


def _all_series(panel: Panel, here: Evidence) -> Iterator[Series]:
    """Teacher first, so that students lie above it."""
    for role in sorted(panel.metric.columns, key=("teacher", "control", "student").index):
        column = panel.metric.columns[role]
        trials = here.table.dropna(subset=[column]) if column in here.table else here.table.iloc[:0]
        if role == "teacher" and isinstance(panel.along, Scale):
            # The same for every series of the panel, and drawn once.
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


def _role_name(role: Role) -> str:
    return "independent control" if role == "control" else role


def _faint(look: Look) -> dict[str, Any]:
    """A single trial."""
    return {"linestyle": "none", "marker": ".", "markersize": 2.5, "color": look.color, "alpha": 0.45, "zorder": 2}


def _paper_style(series: Series) -> dict[str, Any]:
    """Quiet: grey, or the series' colour where each has values of its own."""
    own_color = series.look in SERIES[1:] and not series.shared_paper
    style = PAPER.line_style() | {"linewidth": 0.8, "zorder": 1.5, "label": "paper"}
    if series.role == "teacher":
        style |= {"marker": "+", "label": "paper: teacher"}
    return style | ({"color": series.look.color, "alpha": 0.5} if own_color else {})


def _format(axis: Any, metric: Metric, ticks: int) -> None:
    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    factor = 100 if metric.percent else 1
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{factor * value:.4g}"))


# -- lines ------------------------------------------------------------------------------------------------


def _draw_lines(axes: Axes, panel: Panel, scale: Scale, here: Evidence) -> None:
    ticks = sorted(conditions(panel, here)[scale.column].unique())
    places = {x: float(index if scale.spacing == "even" else x) for index, x in enumerate(ticks)}
    if scale.spacing == "log":
        axes.set_xscale("log")
    drawn = list(_all_series(panel, here))
    for index, series in enumerate(drawn):
        # Side by side, since marks at one place often coincide.
        points = 1.6 * (index - (len(drawn) - 1) / 2)
        _draw_line(axes, panel, scale, series, places, points)
    _x_axis(axes, scale, places, set(here.table[scale.column]) if scale.column in here.table else set())
    axes.set_ylabel(panel.metric.label)
    if not places:
        return
    _format(axes.yaxis, panel.metric, ticks=5)
    axes.margins(y=0.1)
    axes.autoscale_view(scalex=False)


def _draw_line(
    axes: Axes, panel: Panel, scale: Scale, series: Series, places: Mapping[Any, float], points: float
) -> None:
    assert axes.figure is not None
    moved = axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)
    stated = series.cells.dropna(subset=["paper"])
    if len(stated) and not (series.shared_paper and series.look is not STUDENT):
        axes.plot(stated[scale.column].map(places), stated["paper"], transform=moved, **_paper_style(series))
        _make_room(axes, stated["paper"])
    _draw_bounds(axes, series, series.cells[scale.column].map(places))
    done = series.cells[series.cells["n"] > 0]
    if done.empty:
        return
    axes.errorbar(
        done[scale.column].map(places),
        done["mean"],
        yerr=done["sd"],
        label=series.label,
        capsize=2,
        elinewidth=0.8,
        zorder=3 if series.role == "student" else 2.5,
        transform=moved,
        **series.look.line_style(),
    )
    values = series.trials[panel.metric.columns[series.role]]
    axes.plot(series.trials[scale.column].map(places), values, transform=moved, **_faint(series.look))
    spread = done["sd"].fillna(0.0)
    _make_room(axes, pd.concat([values, done["mean"] - spread, done["mean"] + spread]))


def _draw_bounds(axes: Axes, series: Series, places: "pd.Series[float]") -> None:
    """Where the paper only says above, below or between: a pale band, or a caret that points to the value."""
    low, high = series.cells["paper_low"], series.cells["paper_high"]
    who = "paper: teacher" if series.role == "teacher" else "paper"
    between, above, below = low.notna() & high.notna(), low.notna() & high.isna(), low.isna() & high.notna()
    if between.any():
        bars: dict[str, Any] = {"color": PALE, "alpha": 0.25, "linewidth": 6, "zorder": 1, "label": f"{who}, range"}
        axes.vlines(places[between], low[between], high[between], **bars)
        _make_room(axes, pd.concat([low[between], high[between]]))
    for chosen, values, marker, word in ((above, low, CARETUPBASE, "more"), (below, high, CARETDOWNBASE, "less")):
        if chosen.any():
            style: dict[str, Any] = {
                "marker": marker,
                "linestyle": "none",
                "color": PALE,
                "markersize": 6,
                "zorder": 1.5,
            }
            axes.plot(places[chosen], values[chosen], label=f"{who}: {word} than", **style)
            _make_room(axes, values[chosen])


def _make_room(axes: Axes, values: pd.Series) -> None:
    """Count these heights when the axis is scaled: matplotlib does not see lines that are moved sideways."""
    axes.update_datalim([(0.0, value) for value in values], updatex=False)


def _x_axis(axes: Axes, scale: Scale, places: Mapping[Any, float], done: set[Any]) -> None:
    """Every place there should be a value at, and `not run` where there is none."""
    axes.set_xlabel(scale.label)
    if not places:
        axes.text(0.5, 0.5, NOT_RUN, transform=axes.transAxes, ha="center", va="center", color=PALE)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.xaxis.set_major_locator(FixedLocator(list(places.values())))
    axes.xaxis.set_minor_locator(NullLocator())
    names = {place: _count(x) for x, place in places.items()}
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: names[min(names, key=lambda place: abs(place - x))]))
    for x, place in places.items():
        if x not in done:
            at: dict[str, Any] = {
                "transform": axes.get_xaxis_transform(),
                "ha": "center",
                "va": "bottom",
                "rotation": 90,
            }
            axes.text(place, 0.04, NOT_RUN, color=PALE, fontsize=SMALL, **at)
    low, high = min(places.values()), max(places.values())
    if scale.spacing == "log":
        room = (high / low) ** 0.08 if high > low else 1.5
        axes.set_xlim(low / room, high * room)
    else:
        room = 0.08 * (high - low) or 0.5
        axes.set_xlim(low - room, high + room)


def _count(value: float) -> str:
    return f"{value:,.4g}" if value < 10_000 else f"{value / 1000:.3g}k"


# -- rows of dots -----------------------------------------------------------------------------------------


def _draw_rows(axes: Axes, panel: Panel, names: Names, here: Evidence) -> None:
    wanted = set(conditions(panel, here)[names.column])
    places = {value: -float(row) for row, value in enumerate(value for value in names.names if value in wanted)}
    for series in _all_series(panel, here):
        if series.role == "teacher":
            _draw_teacher(axes, panel, series)
        else:
            _draw_dots(axes, panel, series, places)
    done = set(here.table[names.column]) if names.column in here.table else set()
    for value, place in places.items():
        if value not in done:
            at: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center"}
            axes.text(0.03, place, NOT_RUN, color=PALE, fontsize=SMALL, **at)
    axes.set_yticks(list(places.values()), [names.names[value] for value in places])
    axes.set_ylim(min(places.values(), default=0) - 0.6, 0.6)
    axes.grid(visible=False, axis="y")
    for place in list(places.values())[1::2]:
        axes.axhspan(place - 0.5, place + 0.5, color="0.96", zorder=0)
    axes.set_xlabel(panel.metric.label.replace(" (", "\n("))
    _format(axes.xaxis, panel.metric, ticks=3 if axes.get_position().width > 0.2 else 2)
    axes.margins(x=0.08)


def _draw_dots(axes: Axes, panel: Panel, series: Series, places: Mapping[Any, float]) -> None:
    # Series of one row lie beneath one another, and the paper's value beside ours, since they often coincide.
    offset = (
        {look.marker: 0.26 * (1 - index) for index, look in enumerate(SERIES)}[series.look.marker] if panel.by else 0.0
    )
    height = series.cells[panel.along.column].map(places).astype(float) + offset
    stated = series.cells["paper"].notna()
    if stated.any():
        below = 0.0 if panel.by else 0.24
        style = _paper_style(series) | {"linestyle": "none"}
        axes.plot(series.cells["paper"][stated], height[stated] - below, **style)
    done = series.cells["n"] > 0
    if not done.any():
        return
    axes.errorbar(
        series.cells["mean"][done],
        height[done],
        xerr=series.cells["sd"][done],
        label=series.label,
        capsize=2,
        elinewidth=0.8,
        zorder=3 if series.role == "student" else 2.5,
        **(series.look.line_style() | {"linestyle": "none"}),
    )
    at = series.trials[panel.along.column].map(places).astype(float) + offset
    axes.plot(series.trials[panel.metric.columns[series.role]], at, **_faint(series.look))


def _draw_teacher(axes: Axes, panel: Panel, series: Series) -> None:
    """One line across all rows: a teacher does not depend on what its students are distilled on."""
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
