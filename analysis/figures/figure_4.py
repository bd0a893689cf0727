"""Figure 4: distilling ResNet-56 on the teacher's own half of CIFAR-100, on the other half, or on both."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, ECE, KL, Metric, Names, Panel, Scale
from analysis.figure import PaperFigure, main

SPLITS = Names(
    "split",
    {"D0": "student on D0, the teacher's half", "D1": "student on D1, the other half", "both": "student on both"},
)
MEMBERS = Scale("members", "teachers m", "even")
TEMPERATURES = Scale("temperature", "temperature τ", "even")
METRICS: tuple[Metric, ...] = (ACCURACY, AGREEMENT, KL, ECE)

FIGURE = PaperFigure(
    name="4",
    title="Figure 4: the teachers' training images again, or fresh ones? (ResNet-56)",
    sweeps=("data_recycling", "data_recycling_temperature"),
    panels=[
        [
            Panel(metric, MEMBERS, SPLITS, {"temperature": 4.0}, "temperature 4"),
            Panel(metric, TEMPERATURES, SPLITS, {"members": 3}, "3 teachers"),
        ]
        for metric in METRICS
    ],
    row_height=1.4,
    share_y=True,
)

if __name__ == "__main__":
    main(FIGURE)
