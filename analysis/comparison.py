"""Teacher, students and control as a text table, for a terminal and the README."""

import pandas as pd
from tabulate import tabulate

METRICS = ("accuracy", "agreement", "kl", "nll", "ece")


def comparison(table: pd.DataFrame) -> str:
    """A study table by the number of images that students were distilled on: means and standard deviations."""
    rows: list[list[str]] = []
    any_size = table["training_images"].min()
    for images, group in table.groupby("training_images"):
        if images == any_size:
            rows.append(["teacher", "", *(_spread(group, f"teacher_{metric}") for metric in METRICS)])
        rows.append(["student", f"{images:,}", *(_spread(group, f"student_{metric}") for metric in METRICS)])
        rows.append(["  control", f"{images:,}", *(_spread(group, f"control_{metric}") for metric in METRICS)])
    return tabulate(rows, headers=["", "images", *METRICS], stralign="left", disable_numparse=True)


def _spread(group: pd.DataFrame, column: str) -> str:
    """The mean and, with several trials, the standard deviation; empty if the quantity does not exist."""
    if column not in group or group[column].isna().all():
        return ""
    share = column.endswith(("accuracy", "agreement"))
    mean, deviation = group[column].mean(), group[column].std(ddof=1)
    if len(group) == 1:
        return f"{mean:.1%}" if share else f"{mean:.3f}"
    return f"{mean:.1%} ± {deviation:.1%}" if share else f"{mean:.3f} ± {deviation:.3f}"
