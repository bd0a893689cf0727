"""Figure 14: mixing the true labels into the loss."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, Panel, Scale
from analysis.figure import PaperFigure, main

ALPHA = Scale("alpha", "weight α of the true labels")

FIGURE = PaperFigure(
    name="14",
    title="Figure 14: do true labels, added to the teacher's, change fidelity? (ResNet-56)",
    sweeps=("loss_mix",),
    panels=[
        [Panel(metric, ALPHA, where={"members": m}, title=f"{m} teacher{'s' if m > 1 else ''}") for m in (1, 3, 5)]
        for metric in (AGREEMENT, ACCURACY)
    ],
    share_y=True,
)

if __name__ == "__main__":
    main(FIGURE)
