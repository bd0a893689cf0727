"""Figure 6a: the optimizer and the length of training in self-distillation of a LayerNorm ResNet-20."""

from analysis.drawing.panels import AGREEMENT, TRAIN_AGREEMENT, Names, Panel, Scale
from analysis.figure import PaperFigure, main

EPOCHS = Scale("epochs", "student epochs (the paper's scale)", "log")
OPTIMIZERS = Names("optimizer", {"sgd": "SGD", "adam": "Adam"})

FIGURE = PaperFigure(
    name="6a",
    title="Figure 6a: does longer training, or another optimizer, close the gap?",
    sweeps=("optimizer",),
    panels=[
        [
            Panel(TRAIN_AGREEMENT, EPOCHS, OPTIMIZERS, title="On the distillation data"),
            Panel(AGREEMENT, EPOCHS, OPTIMIZERS, title="On test"),
        ]
    ],
    row_height=2.2,
)

if __name__ == "__main__":
    main(FIGURE)
