"""Synthetic records for tests of figures, and what a drawn figure shows."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from synthetic_records import SyntheticRecords, Truth

Line = tuple[tuple[Any, ...], tuple[Any, ...]]
"""The x of all points of a series, which may be names, and their y."""


def world(sweep: str, settings: Mapping[str, Any]) -> Truth:  # noqa: ARG001
    return Truth(agreement=0.74 + 0.01 * settings.get("members", 1))


class Records(SyntheticRecords):
    """With a loss surface in every student's record and samples in every generator's (Figures 6c and 7)."""

    def attachment(self, run_id: str, name: str) -> bytes | None:
        if name == "samples.png" and self.record(run_id).kind == "generator":
            samples = io.BytesIO()
            Image.fromarray(np.full((8, 12, 3), 77, dtype=np.uint8)).save(samples, format="png")
            return samples.getvalue()
        if name != "surface.json" or not self.record(run_id).teachers:
            return None
        anchors = {"teacher": (0.0, 0.0), "student_initial": (2.0, 0.0), "student_final": (1.0, 1.0)}
        content = {"x": [0.0, 1.0, 2.0], "y": [0.0, 1.0], "train/loss": [[1.0, 2.0, None], [3.0, 4.0, 10.0]]}
        return json.dumps(content | {"anchors": {k: {"x": x, "y": y} for k, (x, y) in anchors.items()}}).encode()


def series(axes: Axes) -> dict[str, list[Line]]:
    """Label -> the (x, y) of each series of error bars of that label, in the order they were drawn."""
    found: dict[str, list[Line]] = {}
    for bars in axes.containers:
        line = bars[0]
        found.setdefault(str(bars.get_label()), []).append((tuple(line.get_xdata()), tuple(line.get_ydata())))
    return found


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))
