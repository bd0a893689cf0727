"""How every figure looks and how it is saved."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart by colour-blind readers; each has its own marker too, for grey prints.
STUDENT, TEACHER, CONTROL, PAPER = "#0072B2", "#D55E00", "#7F7F7F", "#000000"
MARKERS = {STUDENT: "o", TEACHER: "s", CONTROL: "D"}
WIDTH = 6.75
"""Inches: the text width of a two-column paper."""


def use_style() -> None:
    """Set matplotlib up: no display, small type, quiet grid."""
    mpl.use("agg")
    sns.set_theme(context="paper", style="whitegrid")
    mpl.rcParams.update(
        {
            "axes.titleweight": "bold",
            "axes.edgecolor": "0.6",
            "grid.linewidth": 0.5,
            "lines.linewidth": 1.2,
            "legend.frameon": False,
            "pdf.fonttype": 42,
        }
    )


def draw_trials(axes: Axes, table: pd.DataFrame, x: str, y: str, color: str, label: str, shift: float = 1.0) -> None:
    """Mean over trials with one standard deviation, and every trial as a small dot; x is multiplied by `shift`."""
    groups = table.groupby(x)[y]
    means, deviations = groups.mean(), groups.std(ddof=1)
    axes.errorbar(
        means.index * shift,
        means,
        yerr=deviations,
        color=color,
        marker=MARKERS[color],
        markersize=4,
        capsize=3,
        label=label,
    )
    axes.plot(table[x] * shift, table[y], linestyle="none", marker=".", markersize=4, color=color, alpha=0.5)


def save(figure: Figure, table: pd.DataFrame, out: Path, name: str) -> list[Path]:
    """Write `name`.png, `name`.pdf and the table behind them, `name`.csv, into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{name}{suffix}" for suffix in (".png", ".pdf", ".csv")]
    figure.savefig(paths[0], dpi=200)
    # Without a date, the same records give the same file.
    figure.savefig(paths[1], metadata={"CreationDate": None})
    table.to_csv(paths[2], index=False, float_format="%.6g")
    return paths
