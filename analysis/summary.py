"""A study table in numbers: mean, standard deviation and interval of every quantity in every condition."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.statistics.intervals import Interval, interval
from analysis.tables import StudyTable

SUMMARIZED = (
    "student_accuracy",
    "student_nll",
    "student_ece",
    "student_agreement",
    "student_kl",
    "control_agreement",
    "control_kl",
    "specific_agreement",
    "specific_kl",
    "teacher_accuracy",
    "teacher_nll",
    "teacher_ece",
    "train_agreement",
)


def summarize(table: StudyTable, quantities: Sequence[str] = SUMMARIZED) -> pd.DataFrame:
    """One row for every quantity and every condition that has it.

    Columns: preset, the condition's settings, `quantity`, `n` (trials), `mean`, `std` (over trials, as the paper
    reports), `low` and `high` (`analysis.statistics.intervals.interval`), `scope` (what the interval accounts for),
    `caution` (a warning about few trials) and `runs` (the ids behind the number).
    """
    known = [quantity for quantity in quantities if quantity in table.rows]
    rows: list[dict[str, Any]] = [
        {
            "preset": table.preset,
            **condition,
            "quantity": quantity,
            **_numbers(interval(sample), quantity),
            "runs": sample.runs,
        }
        for condition, quantity, sample in table.every_sample(known)
        if len(sample)
    ]
    rows.sort(key=lambda row: known.index(row["quantity"]))
    return pd.DataFrame(rows)


def _numbers(found: Interval, quantity: str) -> dict[str, Any]:
    # Intervals are clipped to possible values: at most 100 %, at least 0 or, for a difference, -100 %.
    is_share = quantity.endswith(("accuracy", "agreement", "ece")) or quantity.startswith("cka")
    largest = 1.0 if is_share else math.inf
    smallest = -largest if quantity.startswith("specific") else 0.0
    return {
        "n": found.trials,
        "mean": found.estimate,
        "std": found.std,
        "low": found.low if math.isnan(found.low) else max(found.low, smallest),
        "high": found.high if math.isnan(found.high) else min(found.high, largest),
        "scope": found.scope,
        "caution": found.caution,
    }
