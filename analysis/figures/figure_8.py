"""Figure 8: how much a teacher says besides its top class, by depth, ensemble size and temperature."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import log_softmax, logsumexp, softmax

from analysis.drawing.panels import Evidence
from analysis.drawing.series import NOT_RUN
from analysis.drawing.style import BLUE, ORANGE, PALE, SMALL, canvas
from analysis.figure import PaperFigure, main
from repro.records.record import Floats

EXAMPLES = 3
"""How many training images, and as many test images, are shown: the first ones, not selected."""
CLASSES = 10
"""How many classes of each image are shown, the most probable ones."""
TEACHERS = ((20, 1), (20, 5), (56, 1), (56, 5))
"""Depth and ensemble size."""
NOT_KEPT = "not in\nthe records"


def draw(evidence: Evidence) -> Figure:
    """Probabilities of the ten most probable classes, at temperature 1 and 4: a row per teacher, a column per image."""
    figure, grid = canvas(len(TEACHERS), 2 * EXAMPLES, height=1.0 * len(TEACHERS))
    for row, (depth, members) in zip(grid, TEACHERS, strict=True):
        row[0].set_ylabel(f"ResNet-{depth}\nm = {members}")
        runs = member_runs(evidence, depth, members)
        on_train, on_test = (
            ensemble([shown(run_id) for run_id in runs])
            for shown in (evidence.records.shown_train, evidence.records.shown_logits)
        )
        for example, (ours, theirs) in enumerate(zip(row[:EXAMPLES], row[EXAMPLES:], strict=True)):
            _draw_example(ours, on_train, example, NOT_KEPT if runs else NOT_RUN)
            _draw_example(theirs, on_test, example, NOT_KEPT if runs else NOT_RUN)
    for column, axes in enumerate(grid[0]):
        number = column % EXAMPLES + 1
        axes.set_title(f"train {number}" if column < EXAMPLES else f"test {number}", loc="left")
    # Not matplotlib's shared axes: sharing takes longer than drawing.
    for row, column in np.ndindex(grid.shape):
        grid[row, column].tick_params(labelleft=column == 0, labelbottom=row == len(TEACHERS) - 1)
    figure.supxlabel("class, by probability", fontsize=7.5)
    return figure


def _draw_example(axes: Axes, logits: Floats | None, example: int, otherwise: str) -> None:
    axes.set(xticks=[1, 5, 10], xlim=(0.1, CLASSES + 0.9), ylim=(0, 1))
    axes.grid(visible=False, axis="x")
    if logits is None or example >= len(logits):
        at: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, otherwise, color=PALE, fontsize=SMALL, **at)
        return
    places = np.arange(1, CLASSES + 1)
    order = np.argsort(-logits[example])[:CLASSES]
    one, four = softmax(logits[example])[order], softmax(logits[example] / 4)[order]
    # Without an edge: seaborn's white one covers a bar of one or two percent.
    axes.bar(places[: len(one)] - 0.2, one, 0.4, color=BLUE, linewidth=0, label="softmax(z), τ = 1")
    style: dict[str, Any] = {"color": "white", "edgecolor": ORANGE, "hatch": "/////", "linewidth": 0.7}
    axes.bar(places[: len(four)] + 0.2, four, 0.4, label="softmax(z / 4), τ = 4", **style)


def member_runs(evidence: Evidence, depth: int, members: int) -> list[str]:
    """The runs of an ensemble's members in trial 0; empty unless all are done."""
    rows = evidence.where({"depth": depth, "trial": 0}).table
    chosen = rows[rows["member"] < members].sort_values("member") if len(rows) else rows
    return list(chosen["run_id"]) if len(chosen) == members else []


def ensemble(logits: "Sequence[np.ndarray[Any, Any] | None]") -> Floats | None:
    """The log of the members' mean probability; None if there are no members, or if one of them is not known."""
    known = [one for one in logits if one is not None]
    if not known or len(known) < len(logits):
        return None
    mean: Floats = logsumexp(log_softmax(np.array(known, dtype=np.float64), axis=-1), axis=0) - np.log(len(known))
    return mean


FIGURE = PaperFigure(
    name="8",
    title="Figure 8: how much does a teacher say besides its top class?",
    caption=f"Probabilities of the {CLASSES} most probable classes: the first {EXAMPLES} training images, without "
    f"augmentation, and the first {EXAMPLES} test images; trial 0.",
    sweeps=("teacher_distributions",),
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
