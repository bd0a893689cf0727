"""Figure 5: agreement on the distillation data itself: with more images, other halves or heavier augmentation."""

from matplotlib.figure import Figure

from analysis.drawing.grid import draw_panel
from analysis.drawing.panels import TRAIN_AGREEMENT, Evidence, Panel
from analysis.drawing.style import canvas
from analysis.figure import PaperFigure, main
from analysis.figures.figure_1a import IMAGES
from analysis.figures.figure_3 import POLICIES
from analysis.figures.figure_4 import MEMBERS, SPLITS
from analysis.figures.figure_11 import MEMBERS as ENSEMBLES

SELF = Panel(TRAIN_AGREEMENT, IMAGES, where={"sweep": "self_distillation"}, title="GAN images, 1 teacher")
ENSEMBLE = Panel(TRAIN_AGREEMENT, IMAGES, ENSEMBLES, {"sweep": "ensemble_distillation"}, "GAN images, 3 and 5 teachers")
HALVES = Panel(TRAIN_AGREEMENT, MEMBERS, SPLITS, {"sweep": "data_recycling", "temperature": 4.0}, "Halves of CIFAR-100")
POLICY = Panel(TRAIN_AGREEMENT, POLICIES, ENSEMBLES, {"sweep": "augmentation"}, "Augmentation")


def draw(evidence: Evidence) -> Figure:
    """Three small panels of lines on the left, and the policies over the full height on the right."""
    figure, _ = canvas(1, 1, height=4.6)
    figure.clear()
    grid = figure.add_gridspec(3, 2, width_ratios=(1, 1.25))
    for row, panel in enumerate((SELF, ENSEMBLE, HALVES)):
        draw_panel(figure.add_subplot(grid[row, 0]), panel, evidence)
    draw_panel(figure.add_subplot(grid[:, 1]), POLICY, evidence)
    return figure


FIGURE = PaperFigure(
    name="5",
    title="Figure 5: do students match their teachers on the very images they were distilled on?",
    sweeps=("self_distillation", "ensemble_distillation", "data_recycling", "augmentation"),
    panels=[[SELF, ENSEMBLE, HALVES, POLICY]],
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
