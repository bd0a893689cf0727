"""Figure 9: distilling ResNet-20 on either half of CIFAR-100 or on both, at every temperature."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, Panel
from analysis.figure import PaperFigure, main
from analysis.figures.figure_4 import SPLITS, TEMPERATURES

FIGURE = PaperFigure(
    name="9",
    title="Figure 9: the teachers' training images again, or fresh ones? (ResNet-20)",
    sweeps=("data_recycling_resnet20",),
    panels=[
        [
            Panel(metric, TEMPERATURES, SPLITS, {"members": m}, title=f"{m} teacher{'s' if m > 1 else ''}")
            for m in (1, 3, 5)
        ]
        for metric in (AGREEMENT, ACCURACY)
    ],
    share_y=True,
    caption="The paper does not say which split its values are for.",
)

if __name__ == "__main__":
    main(FIGURE)
