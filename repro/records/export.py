"""Records as one compact file that can be committed or published: an `.npz` archive, which numpy alone can open.

`records.jsonl` holds a header and then one JSON line per run. The arrays are:

    labels/<test set>                     int64 (n,): the labels of a test set, stored once
    <key>/top_class, /confidence, /nll    (n,): predictions of a run or an ensemble on its test set
    <run id>/kl/<teacher key>             (n,): KL per example of a student to its own or another trial's teacher
    <run id>/shown_logits                 (8, classes): logits of the first test examples
    <run id>/shown_train_logits           (8, classes): logits of the first training images, without augmentation

`<run id>/<file>` are copies of some small files of the run.
"""

import contextlib
import functools
import io
import json
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.atomic import DAMAGED_ZIP, make_folder, write_atomically
from repro.errors import BadInput, Damaged
from repro.records.record import Floats, Labels, Pair, Predictions, Record, Records, rounded
from repro.store import ATTACHMENTS

FORMAT = 1
COMPRESSION = 1
"""zlib's fastest level, since an export may hold thousands of runs."""
CACHED = 256
"""The number of networks whose predictions are cached, since teachers are needed with each of their students."""
DAMAGE = (*DAMAGED_ZIP, KeyError)
"""Errors that may be raised by reading a modified or truncated file, or some other zip archive."""
MACHINE_KEYS = ("python", "torch", "processor", "threads", "device", "cuda")
"""The machine's properties that are exported. None of them identifies it or its folders."""


def write_export(
    records: Records,
    runs: Iterable[tuple[str, str]],
    path: Path,
    on_run: Callable[[], object] = lambda: None,
    examples: bool = True,
) -> int:
    """Write the runs, given as (run id, label), to `path`, and return the number of runs written.

    A student is exported with its ensemble's predictions, and with its agreement and KL to the teachers of all other
    exported runs that differ from it only in seeds (the independent-student control). `on_run` is called after each
    run. Without `examples`, no arrays are written: metrics, agreement and KL are kept, per-example data is left out.
    """
    chosen = {run_id: label for run_id, label in runs if records.has(run_id)}
    teachers = _teachers_by_condition(records, chosen)
    archive = _Archive(examples)
    lines = []
    for run_id, label in chosen.items():
        lines.append(_line(records, records.record(run_id), label, teachers, archive))
        on_run()
    make_folder(path.parent, "--out")
    write_atomically(path, archive.close({"format": FORMAT, "ensembles": archive.ensembles}, lines))
    return len(lines)


def _teachers_by_condition(records: Records, runs: Iterable[str]) -> dict[str, set[str]]:
    teachers = defaultdict(set)
    for run_id in runs:
        record = records.record(run_id)
        if record.teachers:
            teachers[record.condition].add(record.teacher_key)
    return teachers


class _Archive:
    """The file while it is assembled in memory."""

    def __init__(self, examples: bool) -> None:
        self.examples = examples
        self.buffer = io.BytesIO()
        self.zip = zipfile.ZipFile(self.buffer, "w", zipfile.ZIP_DEFLATED)
        self.names: set[str] = set()
        self.ensembles: dict[str, Mapping[str, float] | None] = {}

    def add(self, name: str, array: NDArray[Any] | None) -> None:
        """Add an array, unless it is None or already included."""
        if self.examples and array is not None and name not in self.names:
            self.names.add(name)
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            self.write(f"{name}.npy", content.getvalue())

    def add_predictions(self, records: Records, key: str) -> None:
        predictions = records.predictions(key) if f"{key}/nll" not in self.names else None
        if predictions is None:
            return
        narrow = np.uint8 if predictions.top_class.max(initial=0) < 256 else np.uint16
        self.add(f"{key}/top_class", predictions.top_class.astype(narrow))
        self.add(f"{key}/confidence", predictions.confidence.astype(np.float16))
        self.add(f"{key}/nll", _narrow(predictions.nll))

    def add_labels(self, labels: Labels) -> str:
        """Add the labels of a test set and return the test set's name."""
        name = f"{zlib.crc32(labels.tobytes()):08x}"
        self.add(f"labels/{name}", labels)
        return name

    def close(self, header: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> bytes:
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in (header, *lines))
        self.write("records.jsonl", text.encode())
        self.zip.close()
        return self.buffer.getvalue()

    def write(self, name: str, content: bytes) -> None:
        # A fixed date, so that the same records give the same file.
        entry = zipfile.ZipInfo(name, date_time=(2021, 1, 1, 0, 0, 0))
        self.zip.writestr(entry, content, zipfile.ZIP_DEFLATED, COMPRESSION)


def _line(
    records: Records, record: Record, label: str, teachers: Mapping[str, set[str]], archive: _Archive
) -> dict[str, Any]:
    """The run as JSON-like data. Its arrays are added to the archive."""
    line: dict[str, Any] = {
        "run_id": record.run_id,
        "label": label or record.label,
        "config": record.config,
        "summary": record.summary,
        "metrics": record.metrics,
        "attempts": [_published(attempt) for attempt in record.attempts],
        "teachers": record.teachers,
        "test_set": None,
        "scores": records.scores(record.run_id),
        "pairs": {},
    }
    for name in ATTACHMENTS:
        content = records.attachment(record.run_id, name)
        if content is not None:
            archive.write(f"{record.run_id}/{name}", content)
    labels = records.labels(record.run_id)
    if labels is not None:
        line["test_set"] = archive.add_labels(labels)
    archive.add_predictions(records, record.run_id)
    archive.add(f"{record.run_id}/shown_logits", records.shown_logits(record.run_id))
    archive.add(f"{record.run_id}/shown_train_logits", records.shown_train(record.run_id))
    if len(record.teachers) > 1:
        archive.ensembles[record.teacher_key] = records.scores(record.teacher_key)
        archive.add_predictions(records, record.teacher_key)
    for teacher in sorted(teachers[record.condition]) if record.teachers else ():
        pair = records.pair(record.run_id, teacher)
        if pair is not None:
            line["pairs"][teacher] = asdict(pair)
            archive.add(f"{record.run_id}/kl/{teacher}", _narrow(records.kl_per_example(record.run_id, teacher)))
    return line


def _narrow(values: Floats | None) -> NDArray[np.float16] | NDArray[np.float32] | None:
    """`rounded` values in the type that they had, which changes nothing more."""
    return None if values is None else rounded(values)


def _published(attempt: Mapping[str, Any]) -> dict[str, Any]:
    machine = {key: attempt["machine"][key] for key in MACHINE_KEYS if key in attempt["machine"]}
    return {"started": attempt["started"], "step": attempt["step"], "code": attempt["code"], "machine": machine}


def _record(line: Mapping[str, Any]) -> Record:
    """The record in a line of an export. Raises KeyError or TypeError if the line is not from an export."""
    line["config"]["kind"], line["summary"]["metrics"]  # every reader of records needs these
    kept = {key: line[key] for key in ("run_id", "label", "config", "summary", "metrics", "attempts")}
    return Record(**kept, teachers=tuple(line["teachers"]))


class ExportFile:
    """The records of an export. Raises BadInput if the file is not an export."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.predictions = functools.lru_cache(CACHED)(self._predictions)
        self._labels = functools.cache(self._array)
        try:
            self._zip = zipfile.ZipFile(path)
            header, *lines = (json.loads(line) for line in self._zip.read("records.jsonl").splitlines())
            if header["format"] != FORMAT:
                raise BadInput(f"{path}: has the format {header['format']}, this version reads {FORMAT}")
            self._records = {line["run_id"]: _record(line) for line in lines}
            self._test_sets: dict[str, str | None] = {line["run_id"]: line["test_set"] for line in lines}
            self._pairs = {line["run_id"]: {key: Pair(**pair) for key, pair in line["pairs"].items()} for line in lines}
            runs = {line["run_id"]: line["scores"] for line in lines}
            self._scores: dict[str, dict[str, float] | None] = header["ensembles"] | runs
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
        except (*DAMAGE, TypeError, AttributeError) as error:
            raise BadInput(f"{path}: is not an export of runs; `repro export --out FILE.npz` writes one") from error
        self._names = set(self._zip.namelist())

    @property
    def name(self) -> str:
        return str(self.path)

    def ids(self) -> Sequence[str]:
        return list(self._records)

    def has(self, run_id: str) -> bool:
        return run_id in self._records

    def record(self, run_id: str) -> Record:
        return self._records[run_id]

    def scores(self, key: str) -> Mapping[str, float] | None:
        return self._scores.get(key)

    def pair(self, student: str, teacher: str) -> Pair | None:
        return self._pairs.get(student, {}).get(teacher)

    def labels(self, run_id: str) -> Labels | None:
        return self._labels(f"labels/{self._test_sets.get(run_id)}")

    def _predictions(self, key: str) -> Predictions | None:
        return _Stored(self._read, key) if f"{key}/nll.npy" in self._names else None

    def kl_per_example(self, student: str, teacher: str) -> Floats | None:
        values = self._array(f"{student}/kl/{teacher}")
        return None if values is None else values.astype(np.float64)

    def shown_logits(self, run_id: str) -> NDArray[np.float32] | None:
        return self._array(f"{run_id}/shown_logits")

    def shown_train(self, run_id: str) -> NDArray[np.float32] | None:
        return self._array(f"{run_id}/shown_train_logits")

    def attachment(self, run_id: str, name: str) -> bytes | None:
        member = f"{run_id}/{name}"
        if name not in ATTACHMENTS or member not in self._names:
            return None
        with self._undamaged():
            return self._zip.read(member)

    def _array(self, name: str) -> NDArray[Any] | None:
        return self._read(name) if f"{name}.npy" in self._names else None

    def _read(self, name: str) -> NDArray[Any]:
        with self._undamaged():
            content = self._zip.read(f"{name}.npy")
            start = 10 + int.from_bytes(content[8:10], "little")
            shape, dtype = _read_header(content[:start])
            return np.frombuffer(content, dtype=dtype, offset=start).reshape(shape)

    @contextlib.contextmanager
    def _undamaged(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise Damaged(f"{self.path}: damaged ({error}); copy it, or export the runs, again") from error


@dataclass(frozen=True)
class _Stored:
    """Predictions in an export. Each array is read when it is first accessed."""

    read: Callable[[str], NDArray[Any]]
    key: str

    @functools.cached_property
    def top_class(self) -> NDArray[np.int64]:
        return self.read(f"{self.key}/top_class").astype(np.int64)

    @functools.cached_property
    def confidence(self) -> Floats:
        return self.read(f"{self.key}/confidence").astype(np.float64)

    @functools.cached_property
    def nll(self) -> Floats:
        return self.read(f"{self.key}/nll").astype(np.float64)


@functools.cache
def _read_header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array in numpy's format, version 1.0. Cached, as the same few headers recur thousands of
    times."""
    shape, _, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
    return shape, dtype
