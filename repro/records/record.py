"""The record of a run, and the interface of a source of records."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]

TEACHER_JOINT = "+"
"""Joins the run ids in the key of an ensemble."""
MERGED_IN = "+merged_in_"
"""Joins, in the key of merged teachers, the teachers' own key and the id of the student whose record holds their merged
predictions."""
KEPT_BITS = 5
"""The number of bits after the leading one that per-example values keep: within 1.6 %, which makes no visible
difference to any interval."""
LARGEST_HALF = (2 - 2.0**-KEPT_BITS) * 2.0**15
"""The largest float16 with so many bits; larger values might be rounded to infinity."""


@dataclass(frozen=True)
class Record:
    """One finished run: the content of `config.json`, `summary.json`, `metrics.jsonl` and `environment.json`.

    `teachers` are the run ids of a student's teachers. `metrics` has a row per evaluation, oldest first. `label` is
    the name under which the run was exported, or "".
    """

    run_id: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]
    teachers: tuple[str, ...]
    label: str = ""

    @property
    def kind(self) -> str:
        kind: str = self.config["kind"]
        return kind

    @property
    def teacher_key(self) -> str:
        """The key of the run's teacher (one network, an ensemble or merged teachers) in a source's `predictions`."""
        key = teacher_key(self.teachers)
        return key if self.config.get("merge") is None else f"{key}{MERGED_IN}{self.run_id}"

    @functools.cached_property
    def condition(self) -> str:
        """Equal for runs that differ only in random seeds, their parents' included: trials of the same condition."""
        return condition_key(self.config)


class Predictions(Protocol):
    """Predictions of a network or an ensemble on its test set: arrays (n,), in the data set's order.

    A source may read each array only when it is first accessed.
    """

    @property
    def top_class(self) -> NDArray[np.int64]: ...

    @property
    def confidence(self) -> Floats:
        """The probability of the top class, rounded to float16."""

    @property
    def nll(self) -> Floats:
        """The negative log-likelihood in nats, rounded (KEPT_BITS)."""


@dataclass(frozen=True)
class PredictionArrays:
    """Predictions in memory."""

    top_class: NDArray[np.int64]
    confidence: Floats
    nll: Floats


@dataclass(frozen=True)
class Pair:
    """How well a student matches a teacher, its own or another trial's, on the whole test set.

    `agreement` is in [0, 1], `kl` (teacher to student) in nats. Both are computed from logits, not from rounded values.
    """

    agreement: float
    kl: float


class Records(Protocol):
    """A source of records. `record` raises KeyError for an unknown run; other methods return None for what is unknown.

    A *key* names a network or an ensemble: a run id, or a record's `teacher_key`.
    """

    @property
    def name(self) -> str:
        """Where the records come from, for messages."""

    def ids(self) -> Sequence[str]:
        """The ids of the finished runs."""

    def has(self, run_id: str) -> bool:
        """Whether the source holds the run and it is finished."""

    def record(self, run_id: str) -> Record: ...

    def scores(self, key: str) -> Mapping[str, float] | None:
        """accuracy, nll, brier and ece on the whole test set, computed from logits, not from rounded values."""

    def pair(self, student: str, teacher: str) -> Pair | None:
        """The match of a student (a run id) with a teacher (a key) on the same test set."""

    def labels(self, run_id: str) -> Labels | None:
        """The labels of the run's test set, (n,)."""

    def predictions(self, key: str) -> Predictions | None:
        """The predictions for each test example."""

    def kl_per_example(self, student: str, teacher: str) -> Floats | None:
        """The per-example terms of the pair's `kl`, (n,), rounded (KEPT_BITS)."""

    def shown_logits(self, run_id: str) -> NDArray[np.float32] | None:
        """The run's logits for the first SHOWN_EXAMPLES test examples, (examples, classes)."""

    def shown_train(self, run_id: str) -> NDArray[np.float32] | None:
        """The run's logits for its first training images, without augmentation, (examples, classes)."""

    def attachment(self, run_id: str, name: str) -> bytes | None:
        """The content of one of ATTACHMENTS, small files that only some kinds of run have."""


def teacher_key(teachers: Sequence[str]) -> str:
    """The key of the ensemble of these runs; for a single run, its id."""
    return TEACHER_JOINT.join(teachers)


def condition_key(config: Mapping[str, Any]) -> str:
    """A hash of a run's config without its seed and the seeds of the runs it is made from."""
    content = json.dumps(_without_run_seeds(config), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _without_run_seeds(value: Any) -> Any:
    if isinstance(value, Mapping):
        # Only runs have a kind. Other seeds, such as that of a selection of images, are part of the condition.
        return {key: _without_run_seeds(v) for key, v in value.items() if not (key == "seed" and "kind" in value)}
    if isinstance(value, list | tuple):
        return [_without_run_seeds(element) for element in value]
    return value


def rounded(values: Floats) -> NDArray[np.float16] | NDArray[np.float32]:
    """Round values to KEPT_BITS mantissa bits, so that they compress to about a byte each.

    float16, or float32 if a value is too large for that, as the NLL of a network that has diverged may be.
    """
    if values.max(initial=0) <= LARGEST_HALF:
        return _keep_bits(values.astype(np.float16).view(np.uint16), mantissa=10).view(np.float16)
    return _keep_bits(values.astype(np.float32).view(np.uint32), mantissa=23).view(np.float32)


def _keep_bits(bits: NDArray[Any], mantissa: int) -> NDArray[Any]:
    dropped = mantissa - KEPT_BITS
    return (bits + (1 << dropped - 1)) >> dropped << dropped
