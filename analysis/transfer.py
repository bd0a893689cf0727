"""Transfer: trunks pretrained on one data set and reused for another."""

from analysis.figure import PaperFigure, main
from analysis.panels import ACCURACY, AGREEMENT, Names, Panel

TRUNKS = Names("trunk", {"random": "random", "supervised": "supervised", "distilled": "distilled"})
WEIGHTS = Names("weights", {"frozen": "frozen trunk", "fine_tuned": "fine-tuned trunk"})
LOSSES = {"labels": "Labels alone", "teacher": "The teacher's loss"}

FIGURE = PaperFigure(
    name="transfer",
    title="Transfer: trunks from letters, reused on few digits",
    sweeps=("transfer",),
    panels=[
        [Panel(metric, TRUNKS, WEIGHTS, {"loss": loss}, title) for loss, title in LOSSES.items()]
        for metric in (AGREEMENT, ACCURACY)
    ],
    row_height=2.2,
)

if __name__ == "__main__":
    main(FIGURE)
