"""Figure 2: LeNet-5 self-distillation on MNIST with a growing pool of unlabeled EMNIST images."""

from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter

from analysis.drawing.grid import draw_grid
from analysis.drawing.panels import ACCURACY, AGREEMENT, Evidence, Panel, Scale
from analysis.figure import PaperFigure, main

POOL = Scale("pool", "share of EMNIST added, and images in all", "even")
PANELS = [[Panel(AGREEMENT, POOL, title="Fidelity"), Panel(ACCURACY, POOL, title="Generalization")]]


def draw(evidence: Evidence) -> Figure:
    """The two panels, with the number of images under each share of the pool."""
    figure = draw_grid(PANELS, evidence, row_height=2.4)
    images = dict(zip(evidence.table["pool"], evidence.table["training_images"], strict=True))
    pools = sorted(evidence.expected["pool"].unique())
    labels = [f"{pool:.0%}" + (f"\n{images[pool] / 1000:.0f}k" if pool in images else "") for pool in pools]
    for axes in figure.axes:
        axes.xaxis.set_major_formatter(FixedFormatter(labels))
    return figure


FIGURE = PaperFigure(
    name="2",
    title="Figure 2: LeNet-5 distilled into LeNet-5 on MNIST",
    sweeps=("lenet_mnist",),
    panels=PANELS,
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
