"""The demo's figure: Figure 2 in miniature, on scikit-learn's digits."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, Panel, Scale
from analysis.figure import PaperFigure, main

IMAGES = Scale("images", "images distilled on (log scale)", "log")

FIGURE = PaperFigure(
    name="digits",
    title="Digits: LeNet-5 distilled into LeNet-5",
    sweeps=("digits",),
    panels=[[Panel(AGREEMENT, IMAGES, title="Fidelity"), Panel(ACCURACY, IMAGES, title="Generalization")]],
    row_height=2.2,
)

if __name__ == "__main__":
    main(FIGURE)
