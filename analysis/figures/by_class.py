"""Which classes do students agree with their teachers on? (not in the paper)"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.panels import Evidence
from analysis.drawing.small_multiples import draw_by_study, student_sweeps
from analysis.drawing.style import BLUE, PALE
from analysis.figure import PaperFigure, main
from repro.records import Records
from repro.records.record import Floats


def draw(evidence: Evidence) -> Figure:
    """A dot per class: the students' agreement on it against the teacher's accuracy on it."""
    return draw_by_study(evidence, _draw_study, "teacher's accuracy on the class", "agreement on the class")


def _draw_study(records: Records, axes: Axes, students: pd.DataFrame) -> int:
    pairs = zip(students["run_id"], students["teacher_key"], strict=True)
    found = [by_class for pair in pairs if (by_class := agreement_by_class(records, *pair)) is not None]
    axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.8, zorder=1)
    if found:
        accuracy, agreement = np.nanmean(np.array(found), axis=0)
        size = 5 if len(accuracy) <= 20 else 3
        axes.plot(accuracy, agreement, "o", color=BLUE, markersize=size, alpha=0.7, label="a class, mean over students")
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03))
    return len(found)


def agreement_by_class(records: Records, student: str, teacher: str) -> Floats | None:
    """(2, classes): the teacher's accuracy and the student's agreement on the test examples of each true class.

    None where the predictions are not known, or the teacher was tested on other data.
    """
    ours, theirs, labels = records.predictions(student), records.predictions(teacher), records.labels(student)
    if ours is None or theirs is None or labels is None or records.pair(student, teacher) is None:
        return None
    count = np.bincount(labels)
    right = np.bincount(labels, weights=theirs.top_class == labels)
    agreeing = np.bincount(labels, weights=ours.top_class == theirs.top_class)
    with np.errstate(invalid="ignore"):
        return np.stack([right / count, agreeing / count])


FIGURE = PaperFigure(
    name="by_class",
    title="Do students agree less on classes that their teachers find hard?",
    caption="A dot is a class, averaged over the students that its panel counts. On the line, agreement equals the "
    "teacher's accuracy.",
    sweeps=student_sweeps(),
    overview=True,
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
