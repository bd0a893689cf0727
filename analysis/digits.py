"""The demo's figure and table: the digits study."""

from pathlib import Path

import pandas as pd

from analysis.fidelity_table import fidelity_table
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
    expected = len(sweep_studies(find_sweep("digits"), {"preset": preset}))
    figure, _, _ = draw_growing_data(table, "Digits: LeNet-5 distilled into LeNet-5", expected, "repro demo")
    return save(figure, table, out, "digits")


def digits_table(store: Store, preset: Preset = "short") -> pd.DataFrame:
    """The study's `fidelity_table`."""
    table = fidelity_table(store, sweep_studies(find_sweep("digits"), {"preset": preset}))
    if table.empty:
        raise BadInput(f"{store.root}: holds no run of the digits study; make them with `repro demo`")
    return table
