"""A study table in numbers: mean, standard deviation and interval of every quantity in every condition."""

from collections.abc import Sequence

import pandas as pd

from analysis.intervals import LEVEL, interval
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


def summarize(table: StudyTable, quantities: Sequence[str] = SUMMARIZED, level: float = LEVEL) -> pd.DataFrame:
    """One row for every condition that has a run and every quantity that it has.

    Columns: preset, the condition's settings, `quantity`, `n` (trials), `mean`, `std` (over trials, as the paper
    reports), `low` and `high` (`analysis.intervals.interval`), `scope` (what the interval accounts for), `caution`
    (what to know of few trials) and `runs` (the ids behind the number).
    """
    rows = []
    for quantity in quantities:
        if quantity not in table.rows:
            continue
        for condition, sample in table.samples(quantity):
            found = interval(sample, level)
            if not found.trials:
                continue
            rows.append(
                {
                    "preset": table.preset,
                    **condition,
                    "quantity": quantity,
                    "n": found.trials,
                    "mean": found.estimate,
                    "std": found.std,
                    "low": found.low,
                    "high": found.high,
                    "scope": found.scope,
                    "caution": found.caution,
                    "runs": sample.runs,
                }
            )
    return pd.DataFrame(rows)
