"""Merge several sources of records into one, and open records by path."""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from repro.records.export import ExportFile
from repro.records.folder import RunFolder
from repro.records.record import TEACHER_JOINT, Floats, Labels, Pair, Predictions, Record, Records
from repro.store import Store

Answer = TypeVar("Answer")
OF_SOURCE = "@"
"""`<run id>@2` is source 2's copy of a run of which another source's copy counts."""


@dataclass(frozen=True)
class Disagreement:
    """A run that two sources hold with different final metrics, for example because it was repeated on another machine.

    The copy in the source named `first` counts. `metric` is test accuracy or, if that is equal, the metric that
    differs most. `difference` is the other's value minus the first's, NaN if one of them is not a number.
    """

    run_id: str
    label: str
    first: str
    other: str
    metric: str
    difference: float


class Merged:
    """Several sources as one: each answer is that of the first source that has it.

    Where sources disagree about a run, the first one's copy counts, and no other source is asked about it. The teachers
    of a student, however, are the copies in its own source: it was not distilled from another machine's copies.
    """

    def __init__(self, name: str, sources: Sequence[Records]) -> None:
        self.name = name
        self.sources = sources
        self._home = {run_id: source for source in reversed(sources) for run_id in source.ids()}
        self.disagreements = [found for source in sources for found in self._disagreements_with(source)]
        self._overruled = defaultdict[str, set[str]](set)
        for found in self.disagreements:
            self._overruled[found.other].add(found.run_id)
        self.record = functools.cache(self._record)  # a record knows its condition once that was asked for

    def _disagreements_with(self, other: Records) -> Iterator[Disagreement]:
        """The disagreements of `other` with the sources before it."""
        for run_id in other.ids():
            first = self._home[run_id]
            if first is other:
                continue
            record = first.record(run_id)
            differences = _differences(record.summary["metrics"], other.record(run_id).summary["metrics"])
            if differences:
                largest = max(differences, key=lambda name: abs(differences[name]))
                metric = "test/accuracy" if "test/accuracy" in differences else largest
                yield Disagreement(run_id, record.label, first.name, other.name, metric, differences[metric])

    def ids(self) -> Sequence[str]:
        return list(self._home)

    def has(self, run_id: str) -> bool:
        return _parts(run_id)[0] in self._home

    def _record(self, run_id: str) -> Record:
        own, number = _parts(run_id)
        source = self._home[own] if number is None else self.sources[number]
        record, overruled = source.record(own), self._overruled[source.name]
        if overruled.isdisjoint(record.teachers):
            return record
        place = self.sources.index(source)
        teachers = (f"{one}{OF_SOURCE}{place}" if one in overruled else one for one in record.teachers)
        return replace(record, teachers=tuple(teachers))

    def scores(self, key: str) -> Mapping[str, float] | None:
        return self._first(lambda source, own: source.scores(own), key)

    def pair(self, student: str, teacher: str) -> Pair | None:
        return self._first(lambda source, *own: source.pair(*own), student, teacher)

    def labels(self, run_id: str) -> Labels | None:
        return self._first(lambda source, own: source.labels(own), run_id)

    def predictions(self, key: str) -> Predictions | None:
        return self._first(lambda source, own: source.predictions(own), key)

    def kl_per_example(self, student: str, teacher: str) -> Floats | None:
        return self._first(lambda source, *own: source.kl_per_example(*own), student, teacher)

    def shown_logits(self, run_id: str) -> NDArray[np.float32] | None:
        return self._first(lambda source, own: source.shown_logits(own), run_id)

    def shown_train(self, run_id: str) -> NDArray[np.float32] | None:
        return self._first(lambda source, own: source.shown_train(own), run_id)

    def attachment(self, run_id: str, name: str) -> bytes | None:
        return self._first(lambda source, own: source.attachment(own, name), run_id)

    def _first(self, ask: Callable[..., Answer | None], *keys: str) -> Answer | None:
        """The first answer to `ask(source, *keys)` from a source whose copies of all these runs count."""
        own = [TEACHER_JOINT.join(_parts(member)[0] for member in key.split(TEACHER_JOINT)) for key in keys]
        willing = (source for source in self.sources if all(self._counts(source, key) for key in keys))
        return next((answer for source in willing if (answer := ask(source, *own)) is not None), None)

    def _counts(self, source: Records, key: str) -> bool:
        """Whether the key refers to this source's copies of the run, or of all runs of the ensemble."""
        members = key.split(TEACHER_JOINT)
        numbers = {number for _, number in map(_parts, members) if number is not None}
        if numbers:
            return all(self.sources[number] is source for number in numbers)
        return self._overruled[source.name].isdisjoint(members)


def _differences(one: Mapping[str, float | None], other: Mapping[str, float | None]) -> dict[str, float]:
    """The differences of the metrics that both hold with different values.

    A metric that only one of them holds is ignored: it was introduced after the other was made.
    """
    values = {name: (one[name], other[name]) for name in one.keys() & other.keys() if one[name] != other[name]}
    return {name: math.nan if a is None or b is None else b - a for name, (a, b) in sorted(values.items())}


def _parts(run_id: str) -> tuple[str, int | None]:
    """`<run id>@2` -> the run id and the number of the source."""
    own, _, number = run_id.partition(OF_SOURCE)
    return own, int(number) if number else None


def disagreements(records: Records) -> Sequence[Disagreement]:
    """The runs about which the sources of these records disagree, one entry per overruled copy."""
    return records.disagreements if isinstance(records, Merged) else ()


def left_out(records: Records) -> Mapping[str, str]:
    """The finished runs that are not among these records, since this suite cannot read their configs, and why."""
    return records.left_out() if isinstance(records, RunFolder) else {}


def open_records(path: Path) -> Records:
    """The records of a runs folder, of an export (`.npz`), or of all exports in and below a folder.

    If several exports hold the same run, the copy in the first export, in the order of paths, counts. `disagreements`
    lists the runs for which that makes a difference.

    An empty or missing folder has no records. Raises BadInput for a file that is not an export.
    """
    if path.is_file():
        return ExportFile(path)
    folder = RunFolder(Store(path))
    exports = [] if folder.store.runs() else sorted(path.rglob("*.npz"))
    if not exports:
        return folder
    return Merged(str(path), [ExportFile(export) for export in exports])
