"""Figure 8: how much a teacher says beside its top class, by depth, ensemble size and temperature."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.special import log_softmax, logsumexp, softmax

from analysis.figure import PaperFigure, main
from analysis.panels import Evidence
from analysis.style import BLUE, ORANGE, canvas

EXAMPLES = 4
"""Test images shown: the first ones, none chosen."""
CLASSES = 10
"""The most probable classes of each."""
TEACHERS = ((20, 1), (20, 5), (56, 1), (56, 5))
"""Depth and ensemble size."""


def draw(evidence: Evidence) -> Figure:
    """Probabilities of the ten most probable classes, at temperature 1 and 4: a row per teacher, a column per image."""
    figure, grid = canvas(len(TEACHERS), EXAMPLES, height=1.05 * len(TEACHERS), sharex=True, sharey=True)
    places = np.arange(1, CLASSES + 1)
    for row, (depth, members) in zip(grid, TEACHERS, strict=True):
        row[0].set_ylabel(f"ResNet-{depth}\nm = {members}")
        logits = ensemble(evidence, depth, members)
        for example, axes in enumerate(row):
            axes.set(xticks=[1, 5, 10], ylim=(0, 1))
            axes.grid(visible=False, axis="x")
            if logits is None or example >= len(logits):
                axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", color="0.6")
                continue
            order = np.argsort(-logits[example])[:CLASSES]
            one, four = softmax(logits[example])[order], softmax(logits[example] / 4)[order]
            axes.bar(places[: len(one)] - 0.2, one, 0.4, color=BLUE, label="softmax(z), τ = 1")
            style = {"color": "white", "edgecolor": ORANGE, "hatch": "/////", "linewidth": 0.7}
            axes.bar(places[: len(four)] + 0.2, four, 0.4, label="softmax(z / 4), τ = 4", **style)
    for example, axes in enumerate(grid[0]):
        axes.set_title(f"test image {example + 1}", loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("class, by probability")
    return figure


def ensemble(evidence: Evidence, depth: int, members: int) -> "np.ndarray[Any, Any] | None":
    """Logits of the shown test images, the log of the members' mean probability; None unless all members are done."""
    rows = evidence.where({"depth": depth, "trial": 0}).table
    chosen = rows[rows["member"] < members].sort_values("member") if len(rows) else rows
    logits = [evidence.records.shown_logits(run_id) for run_id in chosen["run_id"]] if len(chosen) == members else []
    if not logits or any(one is None for one in logits):
        return None
    stacked = log_softmax(np.array(logits, dtype=float), axis=-1)
    mean: np.ndarray[Any, Any] = logsumexp(stacked, axis=0) - np.log(members)
    return mean


FIGURE = PaperFigure(
    name="8",
    title="Figure 8: how much does a teacher say beside its top class?",
    caption=f"Probabilities of the {CLASSES} most probable classes of the first {EXAMPLES} test images; trial 0.",
    sweeps=("teacher_distributions",),
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
