"""Agreement by the teacher's confidence, and by whether the teacher is right (not in the paper)."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.panels import Evidence
from analysis.drawing.small_multiples import draw_by_study, student_sweeps
from analysis.drawing.style import BLUE, VERMILLION
from analysis.figure import PaperFigure, main
from repro.metrics.confidence_bins import confidence_bins
from repro.records import Records
from repro.records.record import Floats

BINS = 5
LEAST = 10
"""Test examples that a student needs in a bin for its agreement there to count."""


def draw(evidence: Evidence) -> Figure:
    """Agreement against the teacher's confidence, separately for examples that the teacher gets right and wrong."""
    return draw_by_study(evidence, _draw_study, "teacher's confidence", "test agreement")


def _draw_study(records: Records, axes: Axes, students: pd.DataFrame) -> int:
    centers = (np.arange(BINS) + 0.5) / BINS
    curves = [
        binned_agreement(records, *pair) for pair in zip(students["run_id"], students["teacher_key"], strict=True)
    ]
    found = np.array([curve for curve in curves if curve is not None])
    if not len(found):
        return 0
    for index, (label, color, marker, line) in enumerate(
        [("where the teacher is right", BLUE, "o", "-"), ("where the teacher is wrong", VERMILLION, "s", "--")]
    ):
        values = np.ma.masked_invalid(found[:, index])
        mean, sd = values.mean(axis=0).filled(np.nan), values.std(axis=0, ddof=1).filled(np.nan)
        axes.plot(centers, mean, color=color, marker=marker, linestyle=line, markersize=3.5, label=label)
        low, high = np.clip(mean - sd, 0, 1), np.clip(mean + sd, 0, 1)
        axes.fill_between(centers, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(0, 1.03))
    return len(found)


def binned_agreement(records: Records, student: str, teacher: str) -> Floats | None:
    """Agreement in each bin of the teacher's confidence, (2, BINS): where the teacher is right and where it is wrong.

    NaN in bins with fewer than LEAST examples. None where the predictions are not known, or the teacher was
    tested on other data.
    """
    ours, theirs, labels = records.predictions(student), records.predictions(teacher), records.labels(student)
    if ours is None or theirs is None or labels is None or records.pair(student, teacher) is None:
        return None
    bins = confidence_bins(theirs.confidence, BINS)
    wrong = (theirs.top_class != labels).astype(int)
    index = wrong * BINS + bins
    count = np.bincount(index, minlength=2 * BINS)
    agreeing = np.bincount(index, weights=ours.top_class == theirs.top_class, minlength=2 * BINS)
    with np.errstate(invalid="ignore"):
        return np.where(count >= LEAST, agreeing / count, np.nan).reshape(2, BINS)


FIGURE = PaperFigure(
    name="by_teacher_confidence",
    title="Where do students agree with their teachers?",
    caption="Mean ± standard deviation (band, cut at 0 and 1) over the students that a panel counts; "
    f"bins of {LEAST} test examples or more.",
    sweeps=student_sweeps(),
    overview=True,
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
