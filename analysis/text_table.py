"""Teacher, students and control as a text table, for a terminal and the README."""

import pandas as pd
from tabulate import tabulate

METRICS = ("accuracy", "agreement", "kl", "nll", "ece")


def text_table(table: pd.DataFrame) -> str:
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
    """The mean and, with several trials, the standard deviation; empty if no trial has the quantity."""
    values = group[column].dropna() if column in group else pd.Series()
    if values.empty:
        return ""
    digits = ".1%" if column.endswith(("accuracy", "agreement")) else ".3f"
    spread = f" ± {values.std(ddof=1):{digits}}" if len(values) > 1 else ""
    return f"{values.mean():{digits}}{spread}"
