"""Transfer: trunks pretrained on one data set and reused for another."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, Names, Panel
from analysis.figure import PaperFigure, main

TRUNKS = Names("trunk", {"random": "random", "supervised": "supervised", "distilled": "distilled"})
LOSSES = Names("loss", {"labels": "true labels", "teacher": "the teacher's soft labels"})
WEIGHTS = {"frozen": "Frozen trunk", "fine_tuned": "Fine-tuned trunk"}

FIGURE = PaperFigure(
    name="transfer",
    title="Transfer: trunks from letters, reused on few digits",
    sweeps=("transfer",),
    panels=[
        [Panel(metric, TRUNKS, LOSSES, {"weights": weights}, title) for metric in (AGREEMENT, ACCURACY)]
        for weights, title in WEIGHTS.items()
    ],
    row_height=2.2,
)

if __name__ == "__main__":
    main(FIGURE)
