"""Several sources of records as one, and the way from a path to records."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from repro.records.export import ExportFile
from repro.records.folder import RunFolder
from repro.records.lines import LinesFile
from repro.records.record import Floats, Labels, Pair, Predictions, Record, Records, Shown
from repro.store import Store

Answer = TypeVar("Answer")


class Merged:
    """Sources one after another: each answer is that of the first source which knows it."""

    def __init__(self, name: str, sources: Sequence[Records]) -> None:
        self.name = name
        self.sources = sources
        self._home = {run_id: source for source in reversed(sources) for run_id in source.ids()}

    def ids(self) -> Sequence[str]:
        return list(self._home)

    def has(self, run_id: str) -> bool:
        return run_id in self._home

    def record(self, run_id: str) -> Record:
        return self._home[run_id].record(run_id)

    def scores(self, key: str) -> Mapping[str, float] | None:
        return self._first(lambda source: source.scores(key))

    def pair(self, student: str, teacher: str) -> Pair | None:
        return self._first(lambda source: source.pair(student, teacher))

    def labels(self, run_id: str) -> Labels | None:
        return self._first(lambda source: source.labels(run_id))

    def predictions(self, key: str) -> Predictions | None:
        return self._first(lambda source: source.predictions(key))

    def kl_per_example(self, student: str, teacher: str) -> Floats | None:
        return self._first(lambda source: source.kl_per_example(student, teacher))

    def shown_logits(self, run_id: str) -> NDArray[np.float32] | None:
        return self._first(lambda source: source.shown_logits(run_id))

    def shown_train(self, run_id: str) -> Shown | None:
        return self._first(lambda source: source.shown_train(run_id))

    def attachment(self, run_id: str, name: str) -> bytes | None:
        return self._first(lambda source: source.attachment(run_id, name))

    def _first(self, ask: Callable[[Records], Answer | None]) -> Answer | None:
        return next((answer for answer in map(ask, self.sources) if answer is not None), None)


def open_records(path: Path) -> Records:
    """The records of a runs folder, of an export (`.npz`, `.jsonl`), or of all exports in and beneath a folder.

    A run that several exports hold, made again on another machine, is the one of the first in the order of their paths.

    An empty folder, or one that is not there, has no records. Raises BadInput for a file that is no export.
    """
    if path.is_file():
        return _open_export(path)
    folder = RunFolder(Store(path))
    exports = [] if folder.store.runs() else sorted([*path.rglob("*.npz"), *path.rglob("*.jsonl")])
    if not exports:
        return folder
    return Merged(str(path), [_open_export(export) for export in exports])


def _open_export(path: Path) -> Records:
    return LinesFile(path) if path.suffix == ".jsonl" else ExportFile(path)
