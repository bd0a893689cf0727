"""Do more faithful students generalize better, and are they better calibrated? Over all runs (not in the paper)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.stats import spearmanr

from analysis.drawing.panels import Evidence
from analysis.drawing.small_multiples import student_sweeps, students_by_study
from analysis.drawing.style import BLUE, GREEN, ORANGE, PALE, PURPLE, SKY, VERMILLION, canvas
from analysis.figure import PaperFigure, main

LOOKS = (("o", BLUE), ("^", GREEN), ("s", VERMILLION), ("v", PURPLE), ("D", ORANGE), ("P", SKY), ("X", "black"))
"""Marker and colour of the studies with the most students; all other studies share a pale layer."""
BEYOND = 0.04
"""The share of students at either end of an axis that may lie beyond it, and are drawn on its edge: some collapse, and
would squeeze all others into a corner. The middle half of each named study always lies inside."""
LEAST_MARGINS = {"agreement": 0.5, "above": 0.5, "ece": 0.01}
"""The least margin beside the values on each axis, so that one student, or several alike, are not blown up."""


def draw(evidence: Evidence) -> Figure:
    """A mark per student: agreement against the gain in accuracy over the teacher, and against the ECE."""
    figure, grid = canvas(1, 2, height=2.6)
    gain, calibration = grid[0]
    studies = sorted(students_by_study(evidence), key=lambda study: -len(study[1]))
    named = [_points(students) for _, students in studies[: len(LOOKS)]]
    limits = {
        name: _limits(values, [own[name] for own in named], LEAST_MARGINS[name])
        for name, values in _points(evidence.table).items()
    }
    layers = [(name, students, *look) for (name, students), look in zip(studies, LOOKS, strict=False)]
    others = [students for _, students in studies[len(LOOKS) :]]
    if others:
        name = f"{len(others)} other {'study' if len(others) == 1 else 'studies'}"
        layers.insert(0, (name, pd.concat(others).drop_duplicates("run_id"), ".", PALE))
    for name, students, marker, color in layers:
        style = {"marker": marker, "color": color, "linestyle": "none", "markersize": 3.5, "alpha": 0.65}
        own = _points(students)
        rho = "" if color == PALE else _correlation(own)
        shown = {axis: values.clip(*limits[axis]) for axis, values in own.items()}
        gain.plot(shown["agreement"], shown["above"], label=f"{name} {rho}".strip(), clip_on=False, **style)
        calibration.plot(shown["agreement"], shown["ece"], clip_on=False, **style)
    gain.axhline(0, color=PALE, linewidth=0.8, zorder=1)
    if evidence.table["teacher_accuracy"].isna().all():  # only the students' records are here
        at = {"transform": gain.transAxes, "ha": "center", "va": "center"}
        gain.text(0.5, 0.5, "teachers not in the records", color=PALE, **at)
        gain.set_yticks([])
    gain.set(ylabel="accuracy above the teacher's (points)", ylim=limits["above"])
    gain.set_title("Generalization", loc="left")
    calibration.set(ylabel="student's test ECE ↓", ylim=limits["ece"])
    calibration.set_title("Calibration", loc="left")
    for axes in (gain, calibration):
        axes.set(xlabel="test agreement with the teacher (%)", xlim=limits["agreement"])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}" if tick <= 100 else ""))
    return figure


def _points(students: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """Agreement in percent, accuracy above the teacher's in points, and ECE of each student."""
    above = 100 * (students["student_accuracy"] - students["teacher_accuracy"])
    return {"agreement": 100 * students["student_agreement"], "above": above, "ece": students["student_ece"]}


def _limits(
    values: "pd.Series[float]", of_studies: Sequence["pd.Series[float]"], least_margin: float
) -> tuple[float, float]:
    if values.isna().all():
        return 0.0, 1.0
    low = float(min([values.quantile(BEYOND), *(own.quantile(0.25) for own in of_studies)]))
    high = float(max([values.quantile(1 - BEYOND), *(own.quantile(0.75) for own in of_studies)]))
    margin = max(0.08 * (high - low), least_margin)
    return low - margin, high + margin


def _correlation(points: dict[str, "pd.Series[float]"]) -> str:
    """`(ρ = 0.31)`: Spearman's rank correlation of agreement and gain; empty for fewer than four students."""
    known = pd.DataFrame(points)[["agreement", "above"]].dropna()
    if len(known) < 4 or known.nunique().min() == 1:
        return ""
    return f"(ρ = {float(np.round(spearmanr(known['agreement'], known['above']).statistic, 2)):.2f})"


FIGURE = PaperFigure(
    name="fidelity_vs_generalization",
    title="Are more faithful students better students?",
    caption=(
        "Each mark is a student; marks outside a frame are drawn on its edge. ρ: Spearman's rank correlation "
        "of agreement and gain in accuracy within the study, on one data set."
    ),
    sweeps=student_sweeps(),
    overview=True,
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
