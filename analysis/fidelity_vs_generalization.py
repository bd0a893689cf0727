"""Do more faithful students generalize better, and are they better calibrated? Over all runs (not in the paper)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from analysis.figure import PaperFigure, main
from analysis.panels import Evidence
from analysis.small_multiples import student_sweeps, students_by_study
from analysis.style import BLUE, GREEN, ORANGE, PALE, PURPLE, SKY, VERMILLION, canvas

LOOKS = (("o", BLUE), ("^", GREEN), ("s", VERMILLION), ("v", PURPLE), ("D", ORANGE), ("P", SKY), ("X", "black"))
"""Of the studies with the most students; those of all others are one quiet layer."""


def draw(evidence: Evidence) -> Figure:
    """A mark per student: agreement against the gain in accuracy over the teacher, and against the ECE."""
    figure, grid = canvas(1, 2, height=2.6)
    gain, calibration = grid[0]
    studies = sorted(students_by_study(evidence), key=lambda study: -len(study[1]))
    layers = [(name, students, *look) for (name, students), look in zip(studies, LOOKS, strict=False)]
    others = [students for _, students in studies[len(LOOKS) :]]
    if others:
        layers.insert(0, (f"{len(others)} other studies", pd.concat(others).drop_duplicates("run_id"), ".", PALE))
    for name, students, marker, color in layers:
        style = {"marker": marker, "color": color, "linestyle": "none", "markersize": 3.5, "alpha": 0.65}
        above = 100 * (students["student_accuracy"] - students["teacher_accuracy"])
        agreement = 100 * students["student_agreement"]
        rho = "" if color == PALE else _correlation(students, above)
        gain.plot(agreement, above, label=f"{name} {rho}".strip(), **style)
        calibration.plot(agreement, students["student_ece"], **style)
    gain.axhline(0, color=PALE, linewidth=0.8, zorder=1)
    gain.set(ylabel="accuracy above the teacher's (points)")
    gain.set_title("Generalization", loc="left")
    calibration.set(ylabel="student's test ECE ↓")
    calibration.set_title("Calibration", loc="left")
    for axes in (gain, calibration):
        axes.set_xlabel("test agreement with the teacher (%)")
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
