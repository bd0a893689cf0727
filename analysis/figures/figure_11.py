"""Figure 11: augmentation policies in detail: five metrics, for ensembles of one, three and five."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, ECE, KL, NLL, Names, Panel
from analysis.figure import PaperFigure, main
from analysis.figures.figure_3 import POLICIES

MEMBERS = Names("members", {1: "m = 1 teacher", 3: "m = 3 teachers", 5: "m = 5 teachers"})

FIGURE = PaperFigure(
    name="11",
    title="Figure 11: augmentation and ensembles of m = 1, 3 and 5 ResNet-56",
    sweeps=("augmentation",),
    panels=[[Panel(metric, POLICIES, MEMBERS) for metric in (AGREEMENT, KL, ACCURACY, NLL, ECE)]],
    row_height=4.6,
    share_y=True,
)

if __name__ == "__main__":
    main(FIGURE)
