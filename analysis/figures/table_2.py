"""Table 2: other domains, text (IMDB) and large images (ImageNet)."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, KL, Panel
from analysis.drawing.table import PAPER_IS_GREY, draw_table
from analysis.figure import PaperFigure, main
from analysis.figures.figure_11 import MEMBERS

DOMAINS = {"text": "IMDB, LSTM", "imagenet": "ImageNet, ResNet-50"}
PANELS = [
    [Panel(metric, MEMBERS, where={"sweep": sweep}, title=title) for metric in (ACCURACY, AGREEMENT, KL)]
    for sweep, title in DOMAINS.items()
]

FIGURE = PaperFigure(
    name="table_2",
    title="Table 2: is it the same for text and for large images?",
    sweeps=("text", "imagenet"),
    panels=PANELS,
    caption=PAPER_IS_GREY,
    draw=lambda evidence: draw_table(PANELS, evidence),
)

if __name__ == "__main__":
    main(FIGURE)
