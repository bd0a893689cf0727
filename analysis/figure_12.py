"""Figure 12: students as deep as their teachers, or twice as deep."""

from analysis.figure import PaperFigure, main
from analysis.figure_4 import MEMBERS
from analysis.panels import ACCURACY, AGREEMENT, Names, Panel

STUDENTS = {20: {20: "ResNet-20", 56: "ResNet-56"}, 56: {56: "ResNet-56", 110: "ResNet-110"}}

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
)

if __name__ == "__main__":
    main(FIGURE)
