"""From records to one tidy table per sweep: every student, its teacher, and the independent-student control.

Why a control: two networks that classify well agree anyway, so a student's agreement with its teacher says little on
its own. The control is how well students of the *other* trials, distilled in the same way from other teachers, match
this teacher. Only the fidelity above it is specific to the student's own teacher.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pandas as pd

from analysis.changes import UNCHANGED, Changes
from analysis.statistics.quantities import PerExample, measure
from analysis.statistics.sample import Sample
from repro.errors import BadInput, did_you_mean
from repro.experiments.study import Preset, Study, find_study
from repro.launch.sweep import find_sweep, read_sweep, study_of, sweep_studies
from repro.records import Record, Records
from repro.records.record import condition_key

GENERALIZATION = ("accuracy", "nll", "ece", "brier")
FIDELITY = ("agreement", "kl")


@dataclass(frozen=True)
class Missing:
    """A run that a sweep asks for but that is not done: the study's settings, and the command that makes it."""

    run_id: str
    settings: Mapping[str, Any]
    label: str
    command: str


@dataclass(frozen=True)
class StudyTable:
    """The finished runs of a sweep at one preset, and what is missing.

    A table has a single preset, and never mixes runs with and without changes to their configs.

    rows: a row per run. Columns: `preset`, `trial`, the study's settings (`conditions`), `run_id`, `label`,
        `teacher_key`, `training_images`, `seconds`; `student_x` (accuracy, nll, ece, brier, agreement, kl;
        test), `teacher_x` (without the last two), `control_x` and `specific_x` (agreement, kl), `train_x`, and
        `cka_x` (x a stage). NaN where unknown; `teacher_x` also if the teacher was tested on other data. Specific
        fidelity is positive if the student is closer to its own teacher than the control is: agreement minus the
        control's, the control's KL minus KL.
    expected: how many runs the sweep asks for. `rows` also has trials beyond these.
    refusal: why no run of the sweep can have the changes to the configs, as `repro launch` says it, or be told apart by
        settings of the study; otherwise empty.
    """

    sweep: str
    preset: Preset
    conditions: tuple[str, ...]
    rows: pd.DataFrame
    missing: tuple[Missing, ...]
    expected: int
    records: Records
    refusal: str = ""

    def sample(self, quantity: str, **settings: Any) -> Sample:
        """A column of `rows` in the trials of one condition, with its per-example values where it has any.

        The settings have to single out one condition. Raises BadInput for an unknown column or setting, or if more than
        one condition fits. Without a finished run the sample is empty.
        """
        for name in settings:
            if name not in self.conditions:
                raise BadInput(f"{self.sweep} has no setting '{name}'{did_you_mean(name, self.conditions)}")
        rows = self.rows
        for name, value in settings.items():
            rows = rows[rows[name] == value]
        if rows["trial"].duplicated().any():
            raise BadInput(f"{self.sweep}: {settings} fits several conditions; name more of {self.conditions}")
        return self._measure(quantity, rows)

    def every_sample(self, quantities: Sequence[str]) -> Iterator[tuple[dict[str, Any], str, Sample]]:
        """Yield (condition, quantity, sample) for every condition that has a run, in the sweep's order.

        It is fast, since it reads predictions only once.
        """
        if self.rows.empty:
            return
        for values, rows in self.rows.groupby(list(self.conditions), sort=False, dropna=False):
            for quantity in quantities:
                yield dict(zip(self.conditions, values, strict=True)), quantity, self._measure(quantity, rows)

    def _measure(self, quantity: str, rows: pd.DataFrame) -> Sample:
        if len(rows) and quantity not in rows:
            raise BadInput(f"the table {self.sweep} has no column '{quantity}'{did_you_mean(quantity, rows.columns)}")
        return measure(quantity, rows, self._per_example)

    @functools.cached_property
    def _per_example(self) -> PerExample:
        return PerExample(self.records)


def study_table(records: Records, sweep: str, preset: Preset, changes: Changes = UNCHANGED) -> StudyTable:
    """The table of `sweeps/<sweep>.yaml` at a preset, for the runs with these changes to their configs.

    If the sweep's runs cannot have the changes (a generator has no teachers), or the sweep compares values of a config
    key, which is no setting of its study, the table is empty and its `refusal` says why.
    """
    path = find_sweep(sweep)
    try:
        asked = sweep_studies(path, {"preset": preset})
    except BadInput as error:
        read_sweep(path, {"preset": preset})  # raises for a sweep that cannot be launched either
        columns = ["preset", "trial", "run_id", "label", "teacher_key"]
        return StudyTable(sweep, preset, (), pd.DataFrame(columns=columns), (), 0, records, str(error))
    refusal = ""
    try:
        ids = changes.run_ids(asked)
    except BadInput as error:
        if not changes:
            raise
        # Only the schema can tell whether a whole config can have a change, and it raises. The reason is shown; if no
        # sweep of a command can have the change, `StudyTables.check` ends the command with it.
        ids, refusal = {}, str(error)
    more = _more_trials(ids, records, changes) if ids else {}
    done = {point: run_id for point, run_id in (ids | more).items() if records.has(run_id)}
    rows = rows_of(done, records)
    for row in rows:
        row["label"] += changes.arguments
    first = asked[0].settings()
    return StudyTable(
        sweep=sweep,
        preset=preset,
        conditions=tuple(name for name in first if name not in ("preset", "trial")),
        rows=pd.DataFrame(rows, columns=None if rows else [*first, "run_id", "label", "teacher_key"]),
        missing=tuple(_missing(point, run_id, changes) for point, run_id in ids.items() if point not in done),
        expected=len(ids),
        records=records,
        refusal=refusal,
    )


class StudyTables:
    """The study tables of one source of records, each made only once for all figures that show it.

    changes: the changes to the configs of all runs in them.
    """

    def __init__(self, records: Records, changes: Changes = UNCHANGED) -> None:
        self.records = records
        self.changes = changes
        self._tables: dict[tuple[str, Preset], StudyTable] = {}

    def __call__(self, sweep: str, preset: Preset) -> StudyTable:
        if (sweep, preset) not in self._tables:
            self._tables[sweep, preset] = study_table(self.records, sweep, preset, self.changes)
        return self._tables[sweep, preset]

    def refusal(self, sweeps: Sequence[str]) -> str:
        """Why none of these sweeps can have the changes, at any preset; empty if one can."""
        known = list[str]()
        if self.changes:  # the most helpful reason comes from a sweep whose study has the key as a setting
            studies = {sweep: find_study(study_of(find_sweep(sweep))) for sweep in sweeps}
            known = [sweep for sweep, study in studies.items() if set(self.changes.values) & set(study.model_fields)]
        reasons = list[str]()
        for sweep in (*known, *sweeps):
            for preset in get_args(Preset):
                if not (reason := self(sweep, preset).refusal):
                    return ""
                reasons.append(reason)
        return reasons[0]

    def check(self, sweeps_of_figures: Sequence[Sequence[str]]) -> None:
        """Raises BadInput if none of these figures can have the changes."""
        refusal = self.refusal([sweep for sweeps in sweeps_of_figures for sweep in sweeps])
        if refusal:
            raise BadInput(refusal)

    def run_ids(self) -> set[str]:
        """All finished runs in the tables that were made."""
        return {run_id for table in self._tables.values() for run_id in table.rows["run_id"]}


def rows_of(done: Mapping[Study, str], records: Records) -> list[dict[str, Any]]:
    """A table's rows for these points, given the ids of their runs; the control is from the other trials among them."""
    rows = [_row(point, records.record(run_id), records) for point, run_id in done.items()]
    _add_control(rows, list(done), records)
    return rows


def _more_trials(asked: Mapping[Study, str], records: Records, changes: Changes) -> dict[Study, str]:
    """Finished runs of the same conditions with higher trial numbers than the sweep's, whichever trials are missing."""
    last = max(point.trial for point in asked)
    others: dict[str, list[Record]] = {}
    for record in map(records.record, set(records.ids()) - set(asked.values())):
        others.setdefault(record.condition, []).append(record)
    found: dict[Study, str] = {}
    for zeroth in dict.fromkeys(point.model_copy(update={"trial": 0}) for point in asked):
        config = changes.config(zeroth).model_dump(mode="json")
        known = {seeds_of(record.config) for record in others.get(condition_key(config), ())}
        if not known:
            continue
        # In every study, a run's seeds grow linearly with the trial, so the records' seeds say which trials they are.
        # (With a changed seed, every trial may be the same run.)
        first = changes.config(zeroth.model_copy(update={"trial": 1})).model_dump()
        starts = enumerate(zip(seeds_of(config), seeds_of(first), strict=True))
        place, start, step = next(((at, one, two - one) for at, (one, two) in starts if two != one), (0, 0, 0))
        trials = {(seeds[place] - start) // step for seeds in known} if step else set()
        for trial in sorted(trial for trial in trials if trial > last):
            point = zeroth.model_copy(update={"trial": trial})
            if records.has(run_id := changes.config(point).run_id):
                found[point] = run_id
    return dict(sorted(found.items(), key=lambda run: run[0].trial))


def seeds_of(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The seeds of a run and of its teachers."""
    return (config["seed"], *(teacher["seed"] for teacher in config.get("teachers", ())))


def _missing(point: Study, run_id: str, changes: Changes) -> Missing:
    settings = " ".join(f"{name}={value}" for name, value in point.settings().items())
    label, command = point.label() + changes.arguments, f"repro run {point.name} {settings}{changes.arguments}"
    return Missing(run_id, point.settings(), label, command)


def _row(point: Study, record: Record, records: Records) -> dict[str, Any]:
    row: dict[str, Any] = {**point.settings(), "run_id": record.run_id, "label": point.label()}
    is_student = bool(record.teachers)
    row["teacher_key"] = record.teacher_key if is_student else record.run_id
    row |= {name: record.summary[name] for name in ("training_images", "seconds") if name in record.summary}
    for name, value in record.summary["metrics"].items():
        row[_column(name, "student" if is_student else "teacher")] = math.nan if value is None else value
    if is_student:
        comparable = records.pair(record.run_id, record.teacher_key) is not None
        scores = (records.scores(record.teacher_key) if comparable else None) or {}
        row |= {f"teacher_{metric}": scores.get(metric, math.nan) for metric in GENERALIZATION}
    return row


def _column(metric: str, owner: str) -> str:
    """`test/accuracy` -> `student_accuracy`, `test/cka/stage1` -> `cka_stage1`, `train/kl` -> `train_kl`."""
    name = metric.replace("test/cka/", "cka/").replace("test/", f"{owner}/")
    return name.replace("/", "_")


def _add_control(rows: Sequence[dict[str, Any]], points: Sequence[Study], records: Records) -> None:
    """Add to each row the mean match of its teacher with the students of the condition's other trials.

    NaN if one of these matches is not known (the runs were exported separately) or if one of the students has the same
    teacher (as with `teachers.seed=4`), and so is no control.
    """
    trials: dict[Study, list[dict[str, Any]]] = {}
    for row, point in zip(rows, points, strict=True):
        if "student_agreement" in row:
            trials.setdefault(point.model_copy(update={"trial": 0}), []).append(row)
    for same in trials.values():
        for row in same:
            key = row["teacher_key"]
            pairs = [
                records.pair(other["run_id"], key) if other["teacher_key"] != key else None
                for other in same
                if other is not row
            ]
            for metric in FIDELITY:
                values = [math.nan if pair is None else getattr(pair, metric) for pair in pairs]
                row[f"control_{metric}"] = sum(values) / len(values) if values else math.nan
            row["specific_agreement"] = row["student_agreement"] - row["control_agreement"]
            row["specific_kl"] = row["control_kl"] - row["student_kl"]
