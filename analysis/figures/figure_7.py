"""Figure 7: samples of the SN-GAN whose images serve as synthetic distillation data."""

import io
from typing import Any

import numpy as np
from matplotlib import image as matplotlib_image
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.drawing.panels import Evidence
from analysis.drawing.style import canvas
from analysis.figure import PaperFigure, main


def draw(evidence: Evidence) -> Figure:
    """The grid of samples that the generator's run wrote at its end."""
    figure, grid = canvas(1, 1, height=4.0)
    axes = grid[0, 0]
    axes.axis("off")
    for run_id in evidence.table["run_id"]:
        samples = evidence.attachment(run_id, "samples.png", _pixels)
        if samples is not None:
            axes.imshow(samples, interpolation="nearest")
            return figure
    axes.text(0.5, 0.5, "no samples in the record", transform=axes.transAxes, ha="center", color="0.6")
    return figure


def _pixels(png: bytes) -> NDArray[Any]:
    return np.asarray(matplotlib_image.imread(io.BytesIO(png), format="png"))


FIGURE = PaperFigure(
    name="7",
    title="Figure 7: samples of the SN-GAN",
    caption="Drawn at random when training ended, none chosen.",
    sweeps=("sngan",),
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
