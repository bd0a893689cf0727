"""Figure 1a: ResNet-56 self-distillation on CIFAR-100 with a growing number of synthetic images."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, Panel, Scale
from analysis.figure import PaperFigure, main

IMAGES = Scale("gan_images", "GAN images added (the paper's scale)")

FIGURE = PaperFigure(
    name="1a",
    title="Figure 1a: one ResNet-56 distilled into another, with GAN images",
    sweeps=("self_distillation",),
    panels=[[Panel(AGREEMENT, IMAGES, title="Fidelity"), Panel(ACCURACY, IMAGES, title="Generalization")]],
    row_height=2.2,
)

if __name__ == "__main__":
    main(FIGURE)
