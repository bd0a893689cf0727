"""What a panel shows: a metric of teacher, student and control, for the conditions of a study.

Tables are tidy: a row per trained student, the study's settings as columns, and `student_x`, `teacher_x`,
`control_x` for a metric x (control: students of the other trials, compared with this teacher).
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import pandas as pd

from analysis.changes import Changes
from repro.errors import Damaged
from repro.records import Records

Content = TypeVar("Content")
Role = Literal["student", "teacher", "control"]


@dataclass(frozen=True)
class Metric:
    """A quantity to draw; `columns` maps each role to the table's column with its value."""

    name: str
    label: str
    columns: Mapping[Role, str]
    unit: str = ""

    @property
    def factor(self) -> int:
        """Multiplying a column's value by this gives it in `unit`."""
        return 100 if self.unit == "%" else 1

    @property
    def digits(self) -> int:
        """The number of decimals shown."""
        return 1 if self.unit == "%" else 3

    def text(self, value: float, spread: float = math.nan) -> str:
        """`77.1 ± 0.4`: a column's value in `unit` and, if there is one, its spread."""
        return " ± ".join(f"{self.factor * one:.{self.digits}f}" for one in (value, spread) if pd.notna(one))


AGREEMENT = Metric(
    "agreement",
    "test agreement (%) ↑",
    {"student": "student_agreement", "control": "control_agreement"},
    unit="%",
)
TRAIN_AGREEMENT = Metric("train agreement", "train agreement (%) ↑", {"student": "train_agreement"}, unit="%")
KL = Metric("KL", "test KL (nats) ↓", {"student": "student_kl", "control": "control_kl"}, unit="nats")
ACCURACY = Metric(
    "accuracy",
    "test accuracy (%) ↑",
    {"teacher": "teacher_accuracy", "student": "student_accuracy"},
    unit="%",
)
NLL = Metric("NLL", "test NLL (nats) ↓", {"teacher": "teacher_nll", "student": "student_nll"}, unit="nats")
ECE = Metric("ECE", "test ECE ↓", {"teacher": "teacher_ece", "student": "student_ece"})


@dataclass(frozen=True)
class Scale:
    """A numeric setting along an axis."""

    column: str
    label: str
    spacing: Literal["linear", "log", "even"] = "linear"  # even: equal steps between values


@dataclass(frozen=True)
class Names:
    """A setting with names to display for its values, in the order they are drawn."""

    column: str
    names: Mapping[Any, str]


@dataclass(frozen=True)
class Panel:
    """One pair of axes: `metric` `along` a setting, one series per value of `by`, from the rows that match `where`."""

    metric: Metric
    along: Scale | Names
    by: Names | None = None
    where: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""

    @property
    def keys(self) -> list[str]:
        """The settings that tell the panel's conditions apart."""
        return ([self.by.column] if self.by else []) + [self.along.column]


@dataclass(frozen=True)
class Evidence:
    """Everything that a figure is drawn from, at one preset."""

    table: pd.DataFrame
    """The finished students; a run that several sweeps or conditions ask for has a row for each."""
    expected: pd.DataFrame
    """Run id and settings of every student there should be, with rows repeated in the same way."""
    paper: pd.DataFrame
    """The paper's values: settings, `metric` (a column of the table), `value`, `std`, `source`."""
    records: Records
    """The table's source, with the predictions and histories of its runs."""
    changes: Changes
    """The changes to the configs of all these runs."""
    left_out: Sequence[str]
    """The sweeps whose runs cannot have these changes, so that they are not included."""

    @property
    def counts(self) -> tuple[int, int]:
        """How many runs are done, and how many there should be."""
        return self.table["run_id"].nunique(), self.expected["run_id"].nunique()

    def attachment(self, run_id: str, name: str, read: Callable[[bytes], Content]) -> Content | None:
        """The run's file `name`, parsed by `read`; None if the run has none. Raises Damaged if `read` fails."""
        content = self.records.attachment(run_id, name)
        try:
            return None if content is None else read(content)
        except (ValueError, TypeError, KeyError, OSError, SyntaxError) as error:  # PIL raises the last two
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise Damaged(f"{self.records.name}: {name} of run {run_id} is damaged ({reason}); remove it") from error

    def where(self, settings: Mapping[str, Any]) -> "Evidence":
        """The part with these settings, including the paper's values for which one of the settings is not given."""
        return replace(
            self,
            table=matching(self.table, settings),
            expected=matching(self.expected, settings),
            paper=matching(self.paper, settings, or_missing=True),
        )


def matching(table: pd.DataFrame, settings: Mapping[str, Any], or_missing: bool = False) -> pd.DataFrame:
    """The rows with these settings; a tuple matches any of its values.

    Settings that are not columns of the table are ignored. or_missing: NaN matches every value.
    """
    keep = pd.Series(True, index=table.index)
    for column, value in settings.items():
        if column in table:
            same = table[column].isin(value) if isinstance(value, tuple) else table[column] == value
            keep &= (same | table[column].isna()) if or_missing else same
    return table[keep]


def of_panel(panel: Panel, evidence: Evidence) -> Evidence:
    """The part that the panel shows, each run once in each of its conditions."""
    here = evidence.where(panel.where)
    keys = ["run_id", *(key for key in panel.keys if key in here.table)]
    return replace(here, table=here.table.drop_duplicates(keys))


def conditions(panel: Panel, evidence: Evidence) -> pd.DataFrame:
    """The settings of every condition of the panel, those without a run included, in the order they are drawn."""
    settings = evidence.where(panel.where).expected
    found = settings[panel.keys].drop_duplicates() if set(panel.keys) <= set(settings) else pd.DataFrame()
    for names in (panel.by, panel.along):
        if isinstance(names, Names) and len(found):
            found = found[found[names.column].isin(list(names.names))]
    orders = {
        names.column: {value: place for place, value in enumerate(names.names)}
        for names in (panel.by, panel.along)
        if isinstance(names, Names)
    }
    if found.empty:
        return pd.DataFrame(columns=panel.keys)
    return found.sort_values(
        panel.keys, key=lambda column: column.map(orders[str(column.name)]) if column.name in orders else column
    ).reset_index(drop=True)


def cells(panel: Panel, evidence: Evidence, role: Role) -> pd.DataFrame:
    """What the panel shows for one role: a row per condition, in order.

    Columns: the panel's keys; `mean`, `sd` (over trials, ddof 1; missing for one trial), `n` (trials), `run_ids`;
    `paper` and `paper_std`, the paper's value and its spread; `paper_low` and `paper_high`, where it only gives bounds;
    `source`, where the paper gives them; `open` (for students only), the panel's keys that the paper does not specify
    for its value. What the paper does not give is NaN, or an empty `source`. A condition without a run has n = 0 and no
    mean.
    """
    column = panel.metric.columns[role]
    here = of_panel(panel, evidence)
    rows = conditions(panel, evidence)
    if column in here.table and here.table[column].notna().any():
        grouped = here.table.dropna(subset=[column]).groupby(panel.keys, observed=True)
        summary = grouped.agg(
            mean=(column, "mean"), sd=(column, "std"), n=("trial", "nunique"), run_ids=("run_id", tuple)
        )
        rows = rows.merge(summary.reset_index(), on=panel.keys, how="left")
    else:
        rows = rows.assign(mean=float("nan"), sd=float("nan"), n=0, run_ids=None)
    rows["n"] = rows["n"].fillna(0).astype(int)
    rows["run_ids"] = [ids if isinstance(ids, tuple) else () for ids in rows["run_ids"]]
    stated = here.paper[here.paper["quantity"] == column].to_dict("records") if len(here.paper) else []
    found = [_stated(stated, settings) for settings in rows[panel.keys].to_dict("records")]
    rows["open"] = [
        tuple(key for key in panel.keys if role == "student" and row["reference"] and pd.isna(row.get(key)))
        for row in found
    ]
    return rows.assign(**{name: [row[key] for row in found] for name, key in PAPER_COLUMNS.items()})


PAPER_COLUMNS = {"paper": "value", "paper_std": "std", "paper_low": "low", "paper_high": "high", "source": "reference"}
_NOTHING = {"value": math.nan, "std": math.nan, "low": math.nan, "high": math.nan, "reference": ""}
_BEST_FIRST = ("table", "text", "plot")


def _stated(paper: Sequence[Mapping[Hashable, Any]], settings: Mapping[Hashable, Any]) -> Mapping[Any, Any]:
    """What the paper gives for these settings; numbers are preferred to bounds, then tables to text to plots."""
    fitting = [
        row for row in paper if all(pd.isna(row.get(key)) or row[key] == value for key, value in settings.items())
    ]
    order = sorted(fitting, key=lambda row: (pd.isna(row["value"]), _BEST_FIRST.index(row["source"])))
    return order[0] if order else _NOTHING
