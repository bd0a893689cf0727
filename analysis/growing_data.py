"""Fidelity and generalization against the size of the distillation set: the picture of Figure 2 and of the demo."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter
from tabulate import tabulate

from analysis.fidelity_table import METRICS
from analysis.style import CONTROL, STUDENT, TEACHER, WIDTH, draw_trials


def draw_growing_data(table: pd.DataFrame, title: str, expected: int, remedy: str) -> tuple[Figure, Axes, Axes]:
    """Two panels from a `fidelity_table`: test agreement on the left, test accuracy on the right.

    If the table has fewer than the `expected` rows, the picture says so, and that `remedy` makes the rest.
    """
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    fidelity, generalization = figure.subplots(1, 2)
    x = "training_images"
    draw_trials(fidelity, table, x, "student_agreement", STUDENT, "student with its teacher")
    control = table.dropna(subset=["control_agreement"])
    if len(control):
        draw_trials(fidelity, control, x, "control_agreement", CONTROL, "control: with another trial's teacher")
    fidelity.set(title="Fidelity", ylabel="top-1 agreement on test")
    # Side by side, since the two often coincide.
    draw_trials(generalization, table, x, "teacher_accuracy", TEACHER, "teacher", shift=0.97)
    draw_trials(generalization, table, x, "student_accuracy", STUDENT, "student", shift=1.03)
    generalization.set(title="Generalization", ylabel="top-1 accuracy on test")
    for axes in (fidelity, generalization):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(sorted(table[x].unique())))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda images, _: _count(images)))
        axes.set_xlabel("images distilled on (log scale)")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    figure.suptitle("\n".join([title, _spread_of(table), *_missing(table, expected, remedy)]), fontsize="small")
    add_legends(fidelity, generalization)
    return figure, fidelity, generalization


def _spread_of(table: pd.DataFrame) -> str:
    """What the error bars are, and of how many trials."""
    trials = table.groupby("training_images")["trial"].nunique()
    if trials.max() == 1:
        return "n = 1 trial, no spread"
    n = str(trials.max()) if trials.min() == trials.max() else f"{trials.min()} to {trials.max()}"
    return f"mean ± standard deviation of n = {n} trials (dots)"


def _missing(table: pd.DataFrame, expected: int, remedy: str) -> list[str]:
    return [f"partial: {len(table)} of {expected} students; the rest: {remedy}"] if len(table) < expected else []


def add_legends(*panels: Axes) -> None:
    """One legend beneath each panel, where it covers no data."""
    for axes in panels:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize="x-small")


def _count(images: float) -> str:
    return f"{images / 1000:.3g}k" if images >= 10_000 else f"{images:,.0f}"


def comparison(table: pd.DataFrame) -> str:
    """Teacher, students and independent control as aligned text: mean and standard deviation over trials."""
    rows: list[list[str]] = []
    any_size = table["training_images"].min()
    for images, group in table.groupby("training_images"):
        if images == any_size:
            rows.append(["teacher", "", *(_spread(group, f"teacher_{metric}") for metric in METRICS)])
        rows.append(["student", f"{images:,}", *(_spread(group, f"student_{metric}") for metric in METRICS)])
        rows.append(["  control", f"{images:,}", *(_spread(group, f"control_{metric}") for metric in METRICS)])
    return tabulate(rows, headers=["", "images", *METRICS], stralign="left", disable_numparse=True)


def _spread(group: pd.DataFrame, column: str) -> str:
    """Mean and, over several trials, standard deviation; empty where the quantity does not exist."""
    if column not in group or group[column].isna().all():
        return ""
    share = column.endswith(("accuracy", "agreement"))
    mean, deviation = group[column].mean(), group[column].std(ddof=1)
    if len(group) == 1:
        return f"{mean:.1%}" if share else f"{mean:.3f}"
    return f"{mean:.1%} ± {deviation:.1%}" if share else f"{mean:.3f} ± {deviation:.3f}"
