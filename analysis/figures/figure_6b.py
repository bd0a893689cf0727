"""Figure 6b: LayerNorm ResNet-20 students initialized between a random network and their trained teacher."""

from analysis.drawing.panels import AGREEMENT, TRAIN_AGREEMENT, Names, Panel, Scale
from analysis.figure import PaperFigure, main

WEIGHT = Scale("weight", "teacher's weight λ in the start", "even")
LEARNING_RATES = Names("learning_rate", {"constant": "same learning rate", "scaled": "learning rate × (1 − λ)"})

FIGURE = PaperFigure(
    name="6b",
    title="Figure 6b: how close to its teacher must a student start to end there?",
    sweeps=("init_interpolation",),
    panels=[
        [
            Panel(TRAIN_AGREEMENT, WEIGHT, LEARNING_RATES, title="On the distillation data"),
            Panel(AGREEMENT, WEIGHT, LEARNING_RATES, title="On test"),
        ]
    ],
    row_height=2.2,
    caption="The paper's text has the same learning rate for every start; its code scales it.",
)

if __name__ == "__main__":
    main(FIGURE)
