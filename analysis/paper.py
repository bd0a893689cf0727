"""The paper's own values, from `paper_values.yaml`."""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import pandas as pd
import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from repro.component import Schema
from repro.config import as_json
from repro.errors import BadInput

PATH = Path(__file__).parent / "paper_values.yaml"
Source = Literal["text", "table", "plot"]
Setting = str | int | float


class Bounds(Schema):
    """What the paper gives instead of a number: it is above, below or between these."""

    above: float | None = None
    below: float | None = None


Number = float | tuple[float, float] | Bounds | None


class Series(Schema):
    """One entry of the file: numbers for several conditions of a sweep."""

    figure: str
    sweep: str
    source: Source
    where: dict[str, Setting] = Field(default_factory=dict)
    at: dict[str, tuple[Setting, ...]]
    values: dict[str, tuple[Number, ...]] = Field(min_length=1)

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        lengths = {len(row) for row in (*self.at.values(), *self.values.values())}
        if len(lengths) > 1:
            raise ValueError(f"figure {self.figure}: its rows have different lengths {sorted(lengths)}")
        return self


@dataclass(frozen=True)
class PaperValue:
    """One number of the paper.

    settings: those of the sweep's study. quantity: a column of a study table. value: NaN if only bounds are given.
    std: over trials, NaN if not given. low, high: the bounds, NaN if not given.
    """

    figure: str
    sweep: str
    settings: dict[str, Setting]
    quantity: str
    value: float
    std: float
    low: float
    high: float
    source: Source

    @property
    def reference(self) -> str:
        """`Figure 3 (plot)`."""
        name = self.figure if self.figure.startswith("Table") else f"Figure {self.figure}"
        return f"{name} ({self.source})"


@functools.cache
def paper_values(path: Path = PATH) -> tuple[PaperValue, ...]:
    """Every number of the file. Raises BadInput with the file's name if it does not fit the schema."""
    try:
        content = as_json(yaml.safe_load(path.read_text()))
        series = TypeAdapter(tuple[Series, ...]).validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{path}: entry {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return tuple(value for one in series for value in _expand(one))


def paper_table(sweep: str) -> pd.DataFrame:
    """A sweep's numbers, tidy: the study's settings, and quantity, value, std, low, high, source, figure, reference.

    A setting that the paper leaves open is NaN. Empty if there are none.
    """
    rows = [
        {**value.settings, **{name: getattr(value, name) for name in _COLUMNS}}
        for value in paper_values()
        if value.sweep == sweep
    ]
    return pd.DataFrame(rows, columns=None if rows else list(_COLUMNS))


_COLUMNS = ("quantity", "value", "std", "low", "high", "source", "figure", "reference")


def _expand(series: Series) -> list[PaperValue]:
    values = []
    for quantity, numbers in series.values.items():
        for index, number in enumerate(numbers):
            if number is None:
                continue
            settings = series.where | {name: choices[index] for name, choices in series.at.items()}
            value, std, low, high = _parts(number)
            values.append(
                PaperValue(series.figure, series.sweep, settings, quantity, value, std, low, high, series.source)
            )
    return values


def _parts(number: float | tuple[float, float] | Bounds) -> tuple[float, float, float, float]:
    """Value, standard deviation, low, high."""
    if isinstance(number, Bounds):
        low, high = (math.nan if bound is None else bound for bound in (number.above, number.below))
        return math.nan, math.nan, low, high
    value, std = number if isinstance(number, tuple) else (number, math.nan)
    return value, std, math.nan, math.nan
