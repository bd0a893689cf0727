"""Every method of distillation: fidelity against generalization (not in the paper)."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.panels import Evidence
from analysis.drawing.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, TEACHER, canvas
from analysis.figure import PaperFigure, main
from analysis.leaderboard import FAMILIES, FAMILY_OF

COLORS = {
    "no teacher": GREY,
    "response": BLUE,
    "feature": GREEN,
    "relation": PURPLE,
    "contrast": ORANGE,
    "each other": SKY,
}
MARKERS: dict[str, Sequence[str]] = {
    "no teacher": "Dd",
    "response": "o^vp",
    "feature": "sPX*",
    "relation": "<>h",
    "contrast": "8",
    "each other": ("$p$", "$M$", "$C$", "$e$", "$E$"),
}
"""A shape for each method, so that methods can be told apart without colour."""
COLLAPSED = 10.0
"""Methods more than this many points of accuracy below the teacher are named in a panel's corner, not drawn."""
TITLES = {"same": "teacher like student", "larger": "larger teacher", "ensemble": "ensemble of three"}


def draw(evidence: Evidence) -> Figure:
    """One point per method, one row of panels per data set, one column per kind of teacher."""
    done = evidence.table
    data_sets = [data for data in ("digits", "mnist", "cifar100") if (done["data"] == data).any()]
    kinds = [kind for kind in TITLES if (done["teacher"] == kind).any()]
    figure, grid = canvas(len(data_sets), len(kinds), height=2.5 * len(data_sets), sharey="row")
    for row, data in enumerate(data_sets):
        for column, kind in enumerate(kinds):
            axes = grid[row, column]
            students = done[(done["data"] == data) & (done["teacher"] == kind)]
            _draw_panel(axes, students)
            trials = sorted(set(students.groupby("method").size()))
            n = " to ".join(str(count) for count in (*trials[:1], *trials[1:][-1:]))
            axes.set_title((f"{data}: " if column == 0 else "") + TITLES[kind] + (f"\nn = {n}" if n else ""))
        grid[row, 0].set_ylabel("test accuracy (%)")
    grid[-1, len(kinds) // 2].set_xlabel("test agreement with the teacher (%)")
    return figure


def _draw_panel(axes: Axes, students: pd.DataFrame) -> None:
    if students.empty:
        return
    level = 100 * students.drop_duplicates("trial")["teacher_accuracy"].mean()  # every method has the same teachers
    axes.axhline(level, color=TEACHER.color, linestyle=TEACHER.line, linewidth=0.8, zorder=1)
    axes.plot([100], [level], label="teacher", **(TEACHER.line_style() | {"linestyle": "none"}))
    outside = []
    for method, rows in students.groupby("method", sort=False):
        family = FAMILY_OF[str(method)]
        place = list(map(str, FAMILIES[family])).index(str(method))
        marker = MARKERS[family][place]
        size = 6.5 if marker.startswith("$") else 4.5  # a letter needs more room than a shape
        style: dict[str, Any] = {"marker": marker, "markersize": size, "color": COLORS[family]}
        label = str(method).replace("_", " ")
        if method == "independent":
            style["markerfacecolor"], label = "white", "independent student"
        agreement, accuracy = (100 * rows[f"student_{metric}"] for metric in ("agreement", "accuracy"))
        if accuracy.mean() < level - COLLAPSED:
            outside.append(f"{label} at {agreement.mean():.0f}, {accuracy.mean():.0f}")
            continue
        spread: dict[str, Any] = {
            f"{axis}err": 0.0 if math.isnan(values.std()) else values.std()
            for axis, values in (("x", agreement), ("y", accuracy))
        }
        axes.errorbar(
            [agreement.mean()], [accuracy.mean()], **spread, label=label, linestyle="none", elinewidth=0.5, **style
        )
    if outside:
        text = "outside, far below:\n" + "\n".join(outside)
        axes.text(0.97, 0.03, text, transform=axes.transAxes, ha="right", fontsize=7, color=GREY)


FIGURE = PaperFigure(
    name="methods",
    title="Does any method distil? Fidelity against generalization",
    caption="A point is a method: mean and standard deviation of its n trials. The line is the teacher's level.",
    sweeps=("methods_digits", "methods_mnist", "methods_cifar100", "methods_online"),
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
