"""Figure 13: augmentation policies for the student of five VGG-16."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, NLL, Panel
from analysis.figure import PaperFigure, main
from analysis.figures.figure_3 import POLICIES

FIGURE = PaperFigure(
    name="13",
    title="Figure 13: augmentation without residual connections: five VGG-16 distilled into one",
    sweeps=("vgg",),
    panels=[[Panel(metric, POLICIES) for metric in (AGREEMENT, ACCURACY, NLL)]],
    row_height=2.1,
    share_y=True,
)

if __name__ == "__main__":
    main(FIGURE)
