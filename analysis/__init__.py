"""From run records to the paper's figures and tables: one module each, one line here each."""

from collections.abc import Callable
from pathlib import Path

from analysis import digits, figure_2
from repro.store import Store

FIGURES: dict[str, Callable[[Store, Path], list[Path]]] = {
    "2": figure_2.draw,
    "digits": digits.draw,
}
"""Name -> a function that draws it from the runs of a store into a folder and returns the files it wrote."""
