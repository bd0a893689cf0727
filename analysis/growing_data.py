"""Fidelity and generalization against the size of the distillation set: the picture of Figure 2 and of the demo."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from analysis.style import CONTROL, STUDENT, TEACHER, WIDTH, draw_trials


def draw_growing_data(table: pd.DataFrame, title: str) -> tuple[Figure, Axes, Axes]:
    """Two panels from a `fidelity_table`: test agreement on the left, test accuracy on the right."""
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    fidelity, generalization = figure.subplots(1, 2)
    x = "training_images"
    trials = table["trial"].nunique()
    draw_trials(fidelity, table, x, "student_agreement", STUDENT, "student and its teacher")
    control = table.dropna(subset=["control_agreement"])
    if len(control):
        draw_trials(fidelity, control, x, "control_agreement", CONTROL, "control: student of another teacher")
    fidelity.set(title="Fidelity", ylabel="top-1 agreement on test")
    draw_trials(generalization, table, x, "teacher_accuracy", TEACHER, "teacher")
    draw_trials(generalization, table, x, "student_accuracy", STUDENT, "student")
    generalization.set(title="Generalization", ylabel="top-1 accuracy on test")
    for axes in (fidelity, generalization):
        axes.set_xlabel("images distilled on")
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value >= 1000 else f"{value:g}")
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    fidelity.legend(loc="best")
    generalization.legend(loc="best")
    spread = f"mean and standard deviation over n = {trials} trials" if trials > 1 else "n = 1 trial, no spread"
    figure.suptitle(f"{title}\n{spread}", fontsize="small")
    return figure, fidelity, generalization
