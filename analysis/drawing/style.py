"""How every figure looks: palette, marks, header, legend, files.

Marks can be told apart without colour. Teacher: square, dashed line. Student: filled mark, solid line. Independent
control: the student's mark, hollow, with a dotted line. Paper: grey cross, thin line.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from analysis.drawing import fonts
from repro.atomic import make_folder, write_atomically

WIDTH = 5.5
"""Inches: the text width of a NeurIPS paper. At this width no text is smaller than SMALL."""
SMALL = 7
"""Points: the smallest type."""
TITLE_WIDTH = 68
"""Characters that fit on a line of the title."""
DOTS_PER_INCH = 200
MOST_COLORS = 20_000
"""The most colours that a drawing has, including those of antialiased edges; a photograph has more."""
LEGEND: dict[str, Any] = {"handlelength": 2.8, "columnspacing": 1.2}


@dataclass(frozen=True)
class Look:
    """How one kind of value is drawn."""

    color: str
    marker: str
    line: str | tuple[float, tuple[float, ...]]
    filled: bool = True
    size: float = 4.5

    def line_style(self) -> dict[str, Any]:
        """Keyword arguments for matplotlib's lines."""
        return {
            "color": self.color,
            "marker": self.marker,
            "linestyle": self.line,
            "markersize": self.size,
            "markerfacecolor": self.color if self.filled else "white",
        }

    def hollow(self) -> "Look":
        """The look of the independent control of students that have this look."""
        return replace(self, line=":", filled=False)


# Okabe & Ito's palette, which colour-blind readers can tell apart.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
GREY, PALE = "#6E6E6E", "#9A9A9A"
STUDENT = Look(BLUE, "o", "-")
TEACHER = Look(VERMILLION, "s", "--")
CONTROL = Look(GREY, "D", ":", filled=False, size=4.0)
PAPER = Look(PALE, "x", "-", size=4.0)
SERIES = (
    STUDENT,
    Look(GREEN, "^", (0, (4, 1.2))),
    Look(PURPLE, "v", (0, (6, 1, 1.2, 1))),
    Look(ORANGE, "P", (0, (1.2, 0.9))),
)
"""Students of several conditions in one panel. Blue and green look the same in grey, so their lines differ."""


def use_style() -> None:
    """Set matplotlib up: no display, small type, quiet grid."""
    mpl.use("agg")
    sns.set_theme(context="paper", style="whitegrid", font=fonts.family())
    mpl.rcParams.update(
        {
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.titleweight": "bold",
            "axes.labelsize": 7.5,
            "xtick.labelsize": SMALL,
            "ytick.labelsize": SMALL,
            "legend.fontsize": SMALL,
            "axes.edgecolor": "0.6",
            "axes.linewidth": 0.7,
            "grid.linewidth": 0.5,
            "grid.color": "0.9",
            "lines.linewidth": 1.2,
            "legend.frameon": False,
            "pdf.fonttype": 42,
            # Text has the same width at every resolution, so one layout fits them all.
            "text.hinting": "none",
        }
    )


def canvas(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, Any]:
    """A figure and its array (rows, columns) of axes; `height` in inches, without header and legend."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def finish(figure: Figure, title: str, notes: Sequence[str]) -> None:
    """Put the title, the `notes` in small grey type and one legend for all panels above the panels.

    The figure grows by the room they take, so they cover no data.
    """
    width, height = figure.get_size_inches()
    line = 0.155  # inches
    titles = textwrap.wrap(title, TITLE_WIDTH)
    handles = _legend_handles(figure.axes)
    columns = _legend_columns(figure, handles)
    rows = -(-len(handles) // columns)
    above_notes = 1.1 * line * len(titles) + 0.02
    header = 0.06 + above_notes + line * len(notes) + 0.175 * rows + (0.1 if rows else 0.04)
    total = height + header
    figure.set_size_inches(width, total)
    engine = figure.get_layout_engine()
    assert engine is not None, "figures come from canvas()"
    engine.set(rect=(0.0, 0.0, 1.0, height / total))  # type: ignore[call-arg]
    top = 1 - 0.05 / total
    figure.suptitle("\n".join(titles), x=0.01, y=top, ha="left", va="top", fontsize=9, fontweight="bold")
    small: dict[str, Any] = {"fontsize": SMALL, "color": "0.3", "linespacing": 1.35}
    text = figure.text(0.01, top - above_notes / total, "\n".join(notes), ha="left", va="top", **small)
    text.set_in_layout(False)
    if handles:
        legend = figure.legend(
            list(handles.values()),
            list(handles),
            loc="upper left",
            bbox_to_anchor=(0.0, top - (above_notes + line * len(notes)) / total),
            ncols=columns,
            **LEGEND,
        )
        legend.set_in_layout(False)
    # Laid out once, not again for every file it is written to. (With "none", an engine that does nothing, matplotlib
    # draws everything twice.)
    engine.execute(figure)
    figure.set_layout_engine(None)


def _legend_columns(figure: Figure, handles: Mapping[str, Any]) -> int:
    """The number of columns that fit side by side."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    for columns in range(len(handles), 1, -1):
        legend = figure.legend(list(handles.values()), list(handles), ncols=columns, **LEGEND)
        fits = legend.get_window_extent(renderer).width <= 0.92 * figure.bbox.width
        legend.remove()
        if fits:
            return columns
    return 1


def _legend_handles(panels: Sequence[Axes]) -> dict[str, Any]:
    """Label -> one artist drawn with it, in the order students, teacher, control, paper."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    last = ("teacher", "independent control", "paper")
    return dict(sorted(handles.items(), key=lambda item: [item[0].startswith(name) for name in last[::-1]]))


def as_png(figure: Figure, dots_per_inch: int) -> bytes:
    """The picture as PNG; with a palette, for a third of the size, unless it shows photographs."""
    drawn, written = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="rgba", dpi=dots_per_inch)
    size = [int(length) for length in dots_per_inch * figure.get_size_inches()]
    picture = Image.frombytes("RGBA", (size[0], size[1]), drawn.getvalue()).convert("RGB")
    if picture.getcolors(MOST_COLORS) is not None:
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    picture.save(written, format="png")
    return written.getvalue()


def save(figure: Figure, table: pd.DataFrame, out: Path, name: str) -> list[Path]:
    """Write `name`.png, `name`.pdf and the table behind them, `name`.csv, into `out`."""
    make_folder(out, "--out")
    pdf = io.BytesIO()
    # Without a date, the same records give the same file.
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    contents = {
        out / f"{name}.png": as_png(figure, DOTS_PER_INCH),
        out / f"{name}.pdf": pdf.getvalue(),
        out / f"{name}.csv": table.to_csv(index=False, float_format="%.6g").encode(),
    }
    for path, content in contents.items():
        write_atomically(path, content)
    return list(contents)
