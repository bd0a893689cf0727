"""Figure 1b: an ensemble of three ResNet-56 distilled into one, with a growing number of synthetic images."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, Panel
from analysis.figure import PaperFigure, main
from analysis.figures.figure_1a import IMAGES

FIGURE = PaperFigure(
    name="1b",
    title="Figure 1b: three ResNet-56 distilled into one, with GAN images",
    sweeps=("ensemble_distillation",),
    only={"members": 3},
    panels=[[Panel(AGREEMENT, IMAGES, title="Fidelity"), Panel(ACCURACY, IMAGES, title="Generalization")]],
    row_height=2.2,
)

if __name__ == "__main__":
    main(FIGURE)
