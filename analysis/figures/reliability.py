"""Reliability diagrams of teachers and students (not in the paper)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.panels import Evidence
from analysis.drawing.small_multiples import draw_by_study, student_sweeps
from analysis.drawing.style import PALE, STUDENT, TEACHER
from analysis.figure import PaperFigure, main
from analysis.statistics.quantities import ECE_BINS
from repro.metrics.confidence_bins import confidence_bins
from repro.records import Records
from repro.records.record import Floats

LEAST = 20
"""Test examples that a network needs in a bin for its accuracy there to count."""


def draw(evidence: Evidence) -> Figure:
    """Accuracy against confidence: a network is calibrated on the diagonal and overconfident below it."""
    return draw_by_study(evidence, _draw_study, "confidence", "accuracy")


def _draw_study(records: Records, axes: Axes, students: pd.DataFrame) -> int:
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.8, label="calibrated", zorder=1)
    for label, look, keys in [
        ("teachers", TEACHER, list(students["teacher_key"].unique())),
        ("students", STUDENT, list(students["run_id"])),
    ]:
        curves = [curve for key in keys if (curve := reliability(records, key)) is not None]
        if curves:
            confidence, accuracy = np.ma.masked_invalid(np.array(curves)).mean(axis=0).filled(np.nan)
            axes.plot(confidence, accuracy, label=label, **(look.line_style() | {"markersize": 3}))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return len(curves)  # the students' own, which come last


def reliability(records: Records, key: str) -> Floats | None:
    """(2, ECE_BINS): mean confidence and accuracy in each bin of the ECE; NaN in bins with fewer than LEAST examples.

    None where the predictions are not known.
    """
    labels, predicted = records.labels(key.split("+")[0]), records.predictions(key)
    if labels is None or predicted is None:
        return None
    bins = confidence_bins(predicted.confidence, ECE_BINS)
    count = np.bincount(bins, minlength=ECE_BINS)
    confidence = np.bincount(bins, weights=predicted.confidence, minlength=ECE_BINS)
    right = np.bincount(bins, weights=predicted.top_class == labels, minlength=ECE_BINS)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= LEAST, np.stack([confidence, right]) / count, np.nan)


FIGURE = PaperFigure(
    name="reliability",
    title="Are teachers and students as right as they are confident?",
    caption="Means over the students that a panel counts and over their teachers, in "
    f"{ECE_BINS} bins of confidence with {LEAST} test examples or more.",
    sweeps=student_sweeps(),
    overview=True,
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
