"""Every figure and table of the suite, in the order of the paper."""

import importlib

from analysis.figure import PaperFigure
from repro.errors import BadInput, did_you_mean

MODULES = {
    "1a": "figure_1a",
    "1b": "figure_1b",
    "2": "figure_2",
    "3": "figure_3",
    "4": "figure_4",
    "5": "figure_5",
    "6a": "figure_6a",
    "6b": "figure_6b",
    "6c": "figure_6c",
    "7": "figure_7",
    "8": "figure_8",
    "9": "figure_9",
    "10": "figure_10",
    "11": "figure_11",
    "12": "figure_12",
    "13": "figure_13",
    "14": "figure_14",
    "table_1": "table_1",
    "table_2": "table_2",
    "digits": "digits",
    "fidelity_vs_generalization": "fidelity_vs_generalization",
    "by_teacher_confidence": "by_teacher_confidence",
    "by_class": "by_class",
    "reliability": "reliability",
    "learning_curves": "learning_curves",
    "methods": "methods",
    "transfer": "transfer",
    "text_transformer": "text_transformer",
}
"""Name -> module. Each module's FIGURE says what it shows."""


def find_figure(name: str) -> PaperFigure:
    """The figure called `name`. Raises BadInput, with the nearest name, if there is none."""
    if name not in MODULES:
        raise BadInput(f"no figure is called '{name}'{did_you_mean(name, MODULES)}")
    figure: PaperFigure = importlib.import_module(f"analysis.{MODULES[name]}").FIGURE
    return figure
