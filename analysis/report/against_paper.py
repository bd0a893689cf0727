"""The numbers behind a figure: ours with their interval, the paper's, and the difference."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.drawing.panels import Evidence, Metric, Names, Panel, cells, matching
from analysis.figure import PaperFigure
from analysis.summary import summarize
from analysis.tables import StudyTable

SPECIFIC = {"agreement": "specific_agreement", "KL": "specific_kl"}
"""Metrics of fidelity, for which the student's difference from the control is listed too."""

NOT_IN_PAPER: Mapping[Hashable, Any] = {
    "paper": math.nan,
    "paper_low": math.nan,
    "paper_high": math.nan,
    "source": "",
    "open": (),
}


@dataclass(frozen=True)
class Comparison:
    """One quantity in one condition; texts are empty where there is nothing to say."""

    quantity: str
    condition: str
    ours: str
    interval: str
    caution: str
    paper: str
    source: str
    difference: str
    runs: tuple[str, ...]


def against_paper(figure: PaperFigure, evidence: Evidence, tables: Sequence[StudyTable]) -> list[Comparison]:
    """A row for every quantity and condition of the figure's panels, including those not run."""
    panels = [panel for row in figure.panels for panel in row]
    columns = {column for panel in panels for column in panel.metric.columns.values()} | set(SPECIFIC.values())
    summaries = _summaries(tables, sorted(columns), figure.only) if panels else []
    rows: dict[Hashable, Comparison] = {}
    for panel in panels:
        for settings, row in _rows(panel, evidence, summaries):
            # A condition in which two panels meet (Figure 4: three teachers at temperature 4) is listed once.
            rows.setdefault((row.quantity, frozenset(settings.items())), row)
    return list(rows.values())


def _summaries(
    tables: Sequence[StudyTable], columns: Sequence[str], only: Mapping[str, Any]
) -> list[Mapping[Hashable, Any]]:
    """The numbers of the conditions that the figure shows: a study has others, of which its panels do not speak."""
    found = [summarize(table, columns).assign(sweep=table.sweep) for table in tables if len(table.rows)]
    return [row for frame in found for row in matching(frame, only).to_dict("records")]


def _rows(
    panel: Panel, evidence: Evidence, summaries: Sequence[Mapping[Hashable, Any]]
) -> Iterator[tuple[Mapping[str, Any], Comparison]]:
    """The settings of each condition of the panel, and its row."""
    for role, column in panel.metric.columns.items():
        name = "independent control" if role == "control" else role
        asked: list[tuple[str, str, Mapping[Hashable, Any]]] = [(f"{name}: {panel.metric.name}", column, {})]
        if role == "student" and panel.metric.name in SPECIFIC:
            asked.append((f"student minus control: {panel.metric.name}", SPECIFIC[panel.metric.name], NOT_IN_PAPER))
        for label, quantity, paper in asked:
            for cell in cells(panel, evidence, role).to_dict("records"):
                settings = {**panel.where, **{key: cell[key] for key in panel.keys}}
                is_done = len(evidence.where(settings).table) > 0
                yield settings, _row(panel, label, quantity, {**cell, **paper}, settings, summaries, is_done)


def _row(
    panel: Panel,
    quantity: str,
    column: str,
    cell: Mapping[Hashable, Any],
    settings: Mapping[str, Any],
    summaries: Sequence[Mapping[Hashable, Any]],
    is_done: bool,
) -> Comparison:
    metric = panel.metric
    fitting = [
        row
        for row in summaries
        if row["quantity"] == column and all(row[key] == value for key, value in settings.items() if key in row)
    ]
    found = fitting[0] if fitting else None
    mean = math.nan if found is None else found["mean"]
    return Comparison(
        quantity=quantity + (f" ({metric.unit})" if metric.unit else ""),
        condition=_condition(panel, settings),
        ours=metric.text(mean, found["std"]) if found else "not in the records" if is_done else "not run",
        interval=f"{metric.text(found['low'])} to {metric.text(found['high'])}" if found and _known(found) else "",
        caution=found["caution"] if found else "",
        paper=_paper(metric, cell),
        source=cell["source"] + "".join(f"; the paper does not say which {_words(key)}" for key in cell["open"]),
        difference=_difference(metric, mean, cell),
        runs=tuple(found["runs"]) if found else (),
    )


def _words(key: str) -> str:
    return key.replace("_", " ")


def _known(row: Mapping[Hashable, Any]) -> bool:
    return bool(pd.notna(row["low"]))


def _condition(panel: Panel, settings: Mapping[str, Any]) -> str:
    parts = []
    for key, value in settings.items():
        names = next((n for n in (panel.by, panel.along) if isinstance(n, Names) and n.column == key), None)
        if names:
            parts.append(names.names[value])
        elif key == "sweep":
            parts.append(str(value))
        else:
            parts.append(f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}")
    return ", ".join(parts)


def _paper(metric: Metric, cell: Mapping[Hashable, Any]) -> str:
    if pd.notna(cell["paper"]):
        return metric.text(cell["paper"], cell.get("paper_std", math.nan))
    low, high = cell["paper_low"], cell["paper_high"]
    if pd.notna(low) and pd.notna(high):
        return f"{metric.text(low)} to {metric.text(high)}"
    if pd.notna(low):
        return f"> {metric.text(low)}"
    return f"< {metric.text(high)}" if pd.notna(high) else ""


def _difference(metric: Metric, mean: float, cell: Mapping[Hashable, Any]) -> str:
    """Ours minus the paper's, if it is for the same condition; for bounds, whether ours lies within them."""
    if math.isnan(mean) or cell["open"]:
        return ""
    if pd.notna(cell["paper"]):
        return f"{metric.factor * (mean - cell['paper']):+.{metric.digits}f}"
    low, high = cell["paper_low"], cell["paper_high"]
    if pd.isna(low) and pd.isna(high):
        return ""
    return "outside" if mean < low or mean > high else "within"
