"""Do more faithful students generalize better, and are they better calibrated? Over all runs (not in the paper)."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from analysis.figure import PaperFigure, main
from analysis.panels import Evidence
from analysis.small_multiples import student_sweeps, students_by_sweep
from analysis.style import BLUE, GREEN, ORANGE, PALE, PURPLE, SKY, VERMILLION, canvas

MARKS = list(itertools.product("osD^vPX", (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)))


def draw(evidence: Evidence) -> Figure:
    """A mark per student: agreement against the gain in accuracy over the teacher, and against the ECE."""
    figure, grid = canvas(1, 2, height=2.7)
    gain, calibration = grid[0]
    # Steps of 8 through the 42 pairs change shape and colour together.
    for index, (sweep, students) in enumerate(students_by_sweep(evidence)):
        marker, color = MARKS[8 * index % len(MARKS)]
        style = {"marker": marker, "color": color, "linestyle": "none", "markersize": 3.5, "alpha": 0.65}
        above = 100 * (students["student_accuracy"] - students["teacher_accuracy"])
        gain.plot(students["student_agreement"], above, label=f"{sweep} {_correlation(students, above)}", **style)
        calibration.plot(students["student_agreement"], students["student_ece"], **style)
    gain.axhline(0, color=PALE, linewidth=0.8, zorder=1)
    gain.set(title="Generalization", ylabel="accuracy above the teacher's (points)")
    calibration.set(title="Calibration", ylabel="student's test ECE")
    for axes in (gain, calibration):
        axes.set_xlabel("test agreement with the teacher")
        axes.title.set_ha("center")
    return figure


def _correlation(students: pd.DataFrame, above: "pd.Series[float]") -> str:
    """`(ρ = 0.31)`: Spearman's rank correlation of agreement and gain; nothing for fewer than four students."""
    known = pd.DataFrame({"agreement": students["student_agreement"], "above": above}).dropna()
    if len(known) < 4 or known.nunique().min() == 1:
        return ""
    return f"(ρ = {float(np.round(spearmanr(known['agreement'], known['above']).statistic, 2)):.2f})"


FIGURE = PaperFigure(
    name="fidelity_vs_generalization",
    title="Are more faithful students better students?",
    caption="A mark is a student. ρ: Spearman's rank correlation of agreement and gain in accuracy within the study.",
    sweeps=student_sweeps(),
    overview=True,
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
