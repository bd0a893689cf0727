"""Text: a Transformer distilled into a bidirectional LSTM."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, KL, Names, Panel
from analysis.figure import PaperFigure, main

METHODS = Names(
    "method", {"independent": "labels alone", "soft_labels": "soft labels", "logit_mse": "squared distance of logits"}
)

FIGURE = PaperFigure(
    name="text_transformer",
    title="Text: a Transformer distilled into an LSTM, film reviews",
    sweeps=("text_transformer",),
    panels=[[Panel(metric, METHODS) for metric in (AGREEMENT, KL, ACCURACY)]],
    row_height=2.2,
    share_y=True,
)

if __name__ == "__main__":
    main(FIGURE)
