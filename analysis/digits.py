"""The demo's figure and table: the digits study."""

from pathlib import Path

import pandas as pd
from tabulate import tabulate

from analysis.fidelity_table import METRICS, fidelity_table
from analysis.growing_data import draw_growing_data
from analysis.style import save, use_style
from repro.errors import BadInput
from repro.experiments.study import Preset
from repro.launch.sweep import find_sweep, sweep_studies
from repro.store import Store


def draw(store: Store, out: Path, preset: Preset = "short") -> list[Path]:
    """Draw the figure and write the table behind it. Raises BadInput if no run of the study is done."""
    use_style()
    table = digits_table(store, preset)
    figure, _, _ = draw_growing_data(table, "Digits: LeNet-5 distilled into LeNet-5")
    return save(figure, table, out, "digits")


def digits_table(store: Store, preset: Preset = "short") -> pd.DataFrame:
    """The study's `fidelity_table`."""
    table = fidelity_table(store, sweep_studies(find_sweep("digits"), {"preset": preset}))
    if table.empty:
        raise BadInput(f"{store.root}: holds no run of the digits study; make them with `repro demo`")
    return table


def comparison(table: pd.DataFrame) -> str:
    """Teacher, students and independent control as aligned text: mean and standard deviation over trials."""
    rows: list[list[str]] = []
    any_size = table["training_images"].min()
    for size, group in table.groupby("training_images"):
        if size == any_size:
            rows.append(["teacher", "", *(_spread(group, f"teacher_{metric}") for metric in METRICS)])
        rows.append(["student", str(size), *(_spread(group, f"student_{metric}") for metric in METRICS)])
        rows.append(["  control", str(size), *(_spread(group, f"control_{metric}") for metric in METRICS)])
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
