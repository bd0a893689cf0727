"""Figure 12: students as deep as their teachers, or twice as deep."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, Names, Panel
from analysis.figure import PaperFigure, main
from analysis.figures.figure_4 import MEMBERS

AS_DEEP, DEEPER = "student as deep as its teachers", "deeper student (20 → 56, 56 → 110)"
STUDENTS = {20: {20: AS_DEEP, 56: DEEPER}, 56: {56: AS_DEEP, 110: DEEPER}}

FIGURE = PaperFigure(
    name="12",
    title="Figure 12: does a deeper student match its teachers better?",
    sweeps=("capacity_resnet20", "capacity_resnet56"),
    panels=[
        [
            Panel(metric, MEMBERS, Names("student_depth", names), {"teacher_depth": depth}, f"Teachers: ResNet-{depth}")
            for depth, names in STUDENTS.items()
        ]
        for metric in (AGREEMENT, ACCURACY)
    ],
    caption="In the paper, doubling the depth adds 2 to 3 points of agreement.",
)

if __name__ == "__main__":
    main(FIGURE)
