"""A panel along numbers: a line for each series."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.markers import CARETDOWNBASE, CARETUPBASE
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from analysis.drawing.panels import Evidence, Panel, Scale, conditions
from analysis.drawing.series import NOT_RUN, Series, all_series, faint, format_axis, paper_style, room
from analysis.drawing.style import PALE, SMALL, STUDENT


def draw_lines(axes: Axes, panel: Panel, scale: Scale, here: Evidence) -> None:
    ticks = sorted(conditions(panel, here)[scale.column].unique())
    places = {x: float(index if scale.spacing == "even" else x) for index, x in enumerate(ticks)}
    if scale.spacing == "log":
        axes.set_xscale("log")
    drawn = list(all_series(panel, here))
    done = set(here.table[scale.column]) if scale.column in here.table else set()
    for index, series in enumerate(drawn):
        # Side by side, since marks at the same x often coincide.
        points = 1.6 * (index - (len(drawn) - 1) / 2)
        _draw_line(axes, panel, scale, series, places, done, points)
    _x_axis(axes, scale, places)
    axes.set_ylabel(panel.metric.label)
    if not places:
        return
    format_axis(axes.yaxis, panel.metric, ticks=5)
    axes.margins(y=0.1)
    axes.autoscale_view(scalex=False)
    if not axes.has_data() and len(axes.get_shared_y_axes().get_siblings(axes)) == 1:
        axes.set_yticks([])  # else the axis would run from below zero, at any metric
    for x in (x for x in places if x not in done):
        stated = pd.concat([series.cells.loc[series.cells[scale.column] == x, "paper"] for series in drawn])
        _write_not_run(axes, places[x], stated.dropna())


def _draw_line(
    axes: Axes,
    panel: Panel,
    scale: Scale,
    series: Series,
    places: Mapping[Any, float],
    done: set[Any],
    points: float,
) -> None:
    """Draw a series, its single trials and the paper's values, shifted by `points` along x.

    The line breaks where this series has no run but others have; where none has one, the axis says `not run`.
    """
    assert axes.figure is not None
    moved = axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)
    stated = series.cells.dropna(subset=["paper"])
    if len(stated) and not (series.shared_paper and series.look is not STUDENT):
        axes.plot(stated[scale.column].map(places), stated["paper"], transform=moved, **paper_style(series))
        _make_room(axes, stated["paper"])
    _draw_bounds(axes, series, series.cells[scale.column].map(places))
    ours = series.cells[series.cells[scale.column].isin(done)]
    if not ours["n"].any():
        return
    axes.errorbar(
        ours[scale.column].map(places),
        ours["mean"],
        yerr=ours["sd"],
        label=series.label,
        capsize=2,
        elinewidth=0.8,
        zorder=3 if series.role == "student" else 2.5,
        transform=moved,
        **series.look.line_style(),
    )
    values = series.trials[panel.metric.columns[series.role]]
    axes.plot(series.trials[scale.column].map(places), values, transform=moved, **faint(series.look))
    spread = room(panel.metric, ours["sd"])
    _make_room(axes, pd.concat([values, ours["mean"] - spread, ours["mean"] + spread]).dropna())


def _draw_bounds(axes: Axes, series: Series, places: "pd.Series[float]") -> None:
    """Draw where the paper gives only bounds: a pale band, or a caret that points to where the value lies."""
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
    """Include these values when the y axis is scaled: matplotlib ignores lines that are shifted sideways."""
    axes.update_datalim([(0.0, value) for value in values], updatex=False)


def _x_axis(axes: Axes, scale: Scale, places: Mapping[Any, float]) -> None:
    """Tick every x that should have a value."""
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
    low, high = min(places.values()), max(places.values())
    if scale.spacing == "log":
        room = (high / low) ** 0.08 if high > low else 1.5
        axes.set_xlim(low / room, high * room)
    else:
        room = 0.08 * (high - low) or 0.5
        axes.set_xlim(low - room, high + room)


def _write_not_run(axes: Axes, place: float, stated: "pd.Series[float]") -> None:
    """Write `not run` over lines that pass, at the bottom or, if one of the paper's values is there, at the top."""
    low, high = axes.get_ylim()
    on_top = bool((stated < low + 0.35 * (high - low)).any())
    at: dict[str, Any] = {
        "transform": axes.get_xaxis_transform(),
        "ha": "center",
        "va": "top" if on_top else "bottom",
        "rotation": 90,
        "zorder": 4,
        "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    }
    axes.text(place, 0.96 if on_top else 0.04, NOT_RUN, color=PALE, fontsize=SMALL, **at)


def _count(value: float) -> str:
    return f"{value:,.4g}" if value < 10_000 else f"{value / 1000:.3g}k"
