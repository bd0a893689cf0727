"""From rows of a study table to samples: a column's value in every trial, and what each test example contributes."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pandas as pd

from analysis.statistics.control import control_values
from analysis.statistics.sample import Sample
from repro.metrics.confidence_bins import confidence_bins
from repro.records import Predictions, Records
from repro.records.record import Floats

ECE_BINS = 15
CACHED = 64
"""Networks whose predictions are cached: all of one condition, which is measured quantity by quantity."""
CACHED_PAIRS = 256
"""Pairs whose KL is cached: every student with every teacher for a condition of 16 trials."""


class PerExample:
    """Per-example values of runs, each of shape (N,); None if the records do not hold them.

    A student has none in common with a teacher that was tested on other data, which is no pair of the records.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self.predictions = functools.lru_cache(CACHED)(records.predictions)
        self.labels = functools.lru_cache(CACHED)(records.labels)
        self.kl = functools.lru_cache(CACHED_PAIRS)(records.kl_per_example)

    def correct(self, key: str, run_id: str) -> Floats | None:
        """1 where `key`, the run itself or its teacher, predicts the label of the run's example."""
        predictions, labels = self.predictions(key), self.labels(run_id)
        if predictions is None or labels is None or (key != run_id and self.records.pair(run_id, key) is None):
            return None
        return np.asarray(predictions.top_class == labels, dtype=np.float64)

    def nll(self, key: str) -> Floats | None:
        predictions = self.predictions(key)
        return None if predictions is None else predictions.nll

    def agreement(self, student: str, teacher: str) -> Floats | None:
        """1 where both have the same top class."""
        ours, theirs = self.predictions(student), self.predictions(teacher)
        if ours is None or theirs is None or self.records.pair(student, teacher) is None:
            return None
        return np.asarray(ours.top_class == theirs.top_class, dtype=np.float64)

    def calibration_error(self, key: str, run_id: str) -> Floats | None:
        """What each example contributes to the ECE: its accuracy minus confidence, with the sign of its bin's sum.

        ECE = 1/N sum_bins |sum_{e in bin} (correct_e - confidence_e)| is the mean of these, with signs taken as given.
        """
        predictions, correct = self.predictions(key), self.correct(key, run_id)
        if predictions is None or correct is None:
            return None
        return _signed_by_bin(predictions, correct)


def _signed_by_bin(predictions: Predictions, correct: Floats) -> Floats:
    gap = correct - predictions.confidence
    bins = confidence_bins(predictions.confidence, ECE_BINS)
    signs = np.sign(np.bincount(bins, weights=gap, minlength=ECE_BINS))
    result: Floats = gap * signs[bins]
    return result


Contribution: TypeAlias = Callable[[PerExample, str, str], Floats | None]

CONTRIBUTIONS: dict[str, Contribution] = {
    "student_accuracy": lambda per_example, run, _: per_example.correct(run, run),
    "student_nll": lambda per_example, run, _: per_example.nll(run),
    "student_ece": lambda per_example, run, _: per_example.calibration_error(run, run),
    "student_agreement": lambda per_example, run, teacher: per_example.agreement(run, teacher),
    "student_kl": lambda per_example, run, teacher: per_example.kl(run, teacher),
    "teacher_accuracy": lambda per_example, run, teacher: per_example.correct(teacher, run),
    "teacher_nll": lambda per_example, _, teacher: per_example.nll(teacher),
    "teacher_ece": lambda per_example, run, teacher: per_example.calibration_error(teacher, run),
}
"""Column -> its per-example values, given run id and teacher key. Other columns have no per-example values."""
CONTROLS = ("control_agreement", "control_kl", "specific_agreement", "specific_kl")


def measure(quantity: str, rows: pd.DataFrame, per_example: PerExample) -> Sample:
    """The column `quantity` of the rows, which are the trials of one condition. Rows where it is NaN are left out."""
    if rows.empty:
        return Sample((), np.zeros(0), None)
    if quantity in CONTROLS:
        return _measure_control(quantity, rows, per_example)
    values = rows[quantity].to_numpy(dtype=np.float64)
    known = np.isfinite(values)
    trials, runs, teachers = (tuple(rows[name].array[known]) for name in ("trial", "run_id", "teacher_key"))
    arrays = []
    if quantity in CONTRIBUTIONS:
        contribution = CONTRIBUTIONS[quantity]
        arrays = [contribution(per_example, run, key) for run, key in zip(runs, teachers, strict=True)]
    return Sample(trials, values[known], stacked(arrays), runs)


def _measure_control(quantity: str, rows: pd.DataFrame, per_example: PerExample) -> Sample:
    """The control, or the specific fidelity, with values whose spread is that of independent trials."""
    kind, metric = quantity.split("_")
    students, teachers = list(rows["run_id"]), list(rows["teacher_key"])
    if len(rows) < 2:
        return Sample((), np.zeros(0), None)
    pairs = np.full((len(rows), len(rows)), np.nan)
    arrays: list[Floats | None] = []
    for i, teacher in enumerate(teachers):
        for j, student in enumerate(students):
            pair = per_example.records.pair(student, teacher) if i == j or teachers[j] != teacher else None
            pairs[i, j] = np.nan if pair is None else getattr(pair, metric)
        others = [_fidelity(per_example, metric, student, teacher) for j, student in enumerate(students) if j != i]
        arrays.append(_mean(others))
    own = rows[f"student_{metric}"].to_numpy(dtype=np.float64)
    shown = rows[f"control_{metric}"].to_numpy(dtype=np.float64)
    values, examples = control_values(pairs), stacked(arrays)
    if kind == "specific":
        sign = 1.0 if metric == "agreement" else -1.0
        values, shown = sign * (own - values), sign * (own - shown)
        own_arrays = stacked([_fidelity(per_example, metric, s, t) for s, t in zip(students, teachers, strict=True)])
        examples = None if examples is None or own_arrays is None else sign * (own_arrays - examples)
    if not np.isfinite(values).all():
        return Sample((), np.zeros(0), None, tuple(students))
    return Sample(tuple(rows["trial"]), values, examples, tuple(students), shown=shown)


def _fidelity(per_example: PerExample, metric: str, student: str, teacher: str) -> Floats | None:
    of_example = per_example.agreement if metric == "agreement" else per_example.kl
    return of_example(student, teacher)


def _mean(arrays: list[Floats | None]) -> Floats | None:
    together = stacked(arrays)
    return None if together is None else together.mean(axis=0)


def stacked(arrays: list[Floats | None]) -> Floats | None:
    """The arrays stacked as rows; None if one is missing, there are none, or they have different shapes."""
    present = [array for array in arrays if array is not None]
    if not present or len(present) < len(arrays) or len({array.shape for array in present}) > 1:
        return None
    return np.stack(present)
