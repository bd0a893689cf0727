"""Every figure and table of the suite: a module each, whose FIGURE says what it shows."""

import importlib

from analysis.figure import PaperFigure, file_stem
from repro.errors import BadInput, did_you_mean

NAMES = (
    "1a",
    "1b",
    "2",
    "3",
    "4",
    "5",
    "6a",
    "6b",
    "6c",
    "7",
    "8",
    "9",
    "10",
    "11",
    "12",
    "13",
    "14",
    "table_1",
    "table_2",
    "digits",
    "fidelity_vs_generalization",
    "by_teacher_confidence",
    "by_class",
    "reliability",
    "learning_curves",
    "methods",
    "transfer",
    "text_transformer",
)
"""In the order of the paper. The module of a number is called `figure_<number>`, that of a name as its figure."""


def find_figure(name: str) -> PaperFigure:
    """The figure called `name`. Raises BadInput, with the nearest name, if there is none."""
    if name not in NAMES:
        raise BadInput(f"no figure is called '{name}'{did_you_mean(name, NAMES)}")
    figure: PaperFigure = importlib.import_module(f"{__name__}.{file_stem(name)}").FIGURE
    return figure
