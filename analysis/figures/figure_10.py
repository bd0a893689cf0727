"""Figure 10: one ResNet-56 student of ensembles of one to twelve ResNet-56."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, Panel, Scale
from analysis.figure import PaperFigure, main

MEMBERS = Scale("members", "teachers in the ensemble")

FIGURE = PaperFigure(
    name="10",
    title="Figure 10: are bigger ensembles easier to match? (ResNet-56)",
    sweeps=("ensemble_size",),
    panels=[[Panel(AGREEMENT, MEMBERS, title="Fidelity"), Panel(ACCURACY, MEMBERS, title="Generalization")]],
    row_height=2.2,
)

if __name__ == "__main__":
    main(FIGURE)
