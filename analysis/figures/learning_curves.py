"""Agreement on test and on the distillation data while students train (not in the paper)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analysis.drawing.panels import Evidence
from analysis.drawing.small_multiples import draw_by_study, student_sweeps
from analysis.drawing.style import GREEN, STUDENT
from analysis.figure import PaperFigure, main
from repro.records import Records
from repro.records.record import Floats

SHARES = np.linspace(0.1, 1.0, 10)
"""Shares of training to which evaluations are interpolated, so that runs of different lengths can be averaged."""


def draw(evidence: Evidence) -> Figure:
    """Means over a study's students, and each student as a faint line."""
    return draw_by_study(evidence, _draw_study, "share of the training", "agreement with the teacher")


def _draw_study(records: Records, axes: Axes, students: pd.DataFrame) -> int:
    drawn = 0
    for split, color, marker, line in [("train", GREEN, "^", "--"), ("test", STUDENT.color, "o", "-")]:
        curves = [learning_curve(records, run_id, f"{split}/agreement") for run_id in students["run_id"]]
        found = np.array([curve for curve in curves if curve is not None])
        if not len(found):
            continue
        drawn = max(drawn, len(found))
        faint = {"colors": color, "linewidths": 0.4, "alpha": max(0.04, 0.35 / len(found) ** 0.5), "zorder": 1}
        axes.add_collection(LineCollection([np.column_stack([SHARES, curve]) for curve in found], **faint))
        label = "on the distillation data" if split == "train" else "on test"
        axes.plot(SHARES, found.mean(axis=0), color=color, marker=marker, linestyle=line, markersize=3, label=label)
    axes.set_xlim(0, 1.04)
    axes.autoscale(axis="y")
    return drawn


def learning_curve(records: Records, run_id: str, metric: str) -> Floats | None:
    """The metric at SHARES of the run's epochs, interpolated between its evaluations; None if it was not measured.

    NaN before the first evaluation.
    """
    record = records.record(run_id)
    points = [(row["epoch"], row[metric]) for row in record.metrics if row.get(metric) is not None]
    if not points:
        return None
    epochs, values = np.array(points, dtype=float).T
    shares: Floats = np.interp(SHARES, epochs / record.config["epochs"], values, left=np.nan)
    return shares


FIGURE = PaperFigure(
    name="learning_curves",
    title="Does agreement still grow when training ends?",
    caption="Bold: mean over the students of a panel, from where all are measured. Faint: each student. The last point "
    "is the reported value.",
    sweeps=student_sweeps(),
    overview=True,
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
