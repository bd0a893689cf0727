"""Records as one JSON line per run (`.jsonl`), without per-example data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.config import parse_config
from repro.errors import BadInput
from repro.records.record import Floats, Labels, Pair, Predictions, Record, Shown, record_of


class LinesFile:
    """Records of what the runs measured themselves, without ensembles and the independent-student control.

    Raises BadInput if the file is not such an export.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            self._records = {line["run_id"]: _record(line) for line in lines}
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path}: is not an export of runs, with a JSON object on every line") from error

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
        return self._metrics(key, "accuracy", "nll", "brier", "ece")

    def pair(self, student: str, teacher: str) -> Pair | None:
        record = self._records.get(student)
        if record is None or record.teacher_key != teacher:
            return None
        metrics = self._metrics(student, "agreement", "kl")
        return None if metrics is None else Pair(**metrics)

    def labels(self, run_id: str) -> Labels | None:  # noqa: ARG002
        return None

    def predictions(self, key: str) -> Predictions | None:  # noqa: ARG002
        return None

    def kl_per_example(self, student: str, teacher: str) -> Floats | None:  # noqa: ARG002
        return None

    def shown_logits(self, run_id: str) -> NDArray[np.float32] | None:  # noqa: ARG002
        return None

    def shown_train(self, run_id: str) -> Shown | None:  # noqa: ARG002
        return None

    def attachment(self, run_id: str, name: str) -> bytes | None:  # noqa: ARG002
        return None

    def _metrics(self, run_id: str, *names: str) -> dict[str, float] | None:
        record = self._records.get(run_id)
        if record is None or f"test/{names[0]}" not in record.summary["metrics"]:
            return None
        return {name: record.summary["metrics"][f"test/{name}"] for name in names}


def _record(line: Mapping[str, Any]) -> Record:
    teachers = [parse_config(teacher).run_id for teacher in line["config"].get("teachers", ())]
    return record_of(line, teachers)
