"""Records from a folder of run directories, computed from the logits that every run stores."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from repro.atomic import reading
from repro.config import RunConfig
from repro.distill.ensemble import ensemble_logits
from repro.errors import BadInput, Damaged
from repro.metrics.fidelity import evaluate_fidelity, kl_per_example
from repro.metrics.generalization import evaluate, negative_log_likelihood_per_example
from repro.records.record import (
    MERGED_IN,
    TEACHER_JOINT,
    Floats,
    Labels,
    Pair,
    PredictionArrays,
    Predictions,
    Record,
    rounded,
)
from repro.store import ATTACHMENTS, SHOWN_EXAMPLES, RunDirectory, Store
from repro.tested import Tested

CACHED_LOGITS = 48
"""The number of networks whose test logits are cached (4 MB each on CIFAR-100): an ensemble's members in all trials."""


class LabelledLogits(NamedTuple):
    """Test logits (n, classes) of a run or an ensemble, the labels (n,), and the `test_set` of the summary, which
    earlier records lack."""

    logits: Tensor
    labels: Tensor
    test_set: str | None = None

    @property
    def tested(self) -> Tested:
        return Tested(self.labels.numpy(), self.test_set)


class RunFolder:
    """Records of the finished runs in a folder. Results are cached for the lifetime of the object.

    Runs of parts that the suite does not have are left out, as of a colleague's network or of one that was renamed.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._test_set = functools.lru_cache(CACHED_LOGITS)(self._read_test_set)
        self._config = functools.cache(self._read_config)
        self.record = functools.cache(self._record)
        self.scores = functools.cache(self._scores)
        self.pair = functools.cache(self._pair)
        self.predictions = functools.cache(self._predictions)
        self.kl_per_example = functools.cache(self._kl_per_example)

    @property
    def name(self) -> str:
        return str(self.store.root)

    def ids(self) -> Sequence[str]:
        return [run_id for run_id in self._done() if not self._is_foreign(run_id)]

    def left_out(self) -> Mapping[str, str]:
        """The finished runs whose configs are not valid in this suite, and why."""
        return {run_id: str(self._config(run_id)) for run_id in self._done() if self._is_foreign(run_id)}

    def _is_foreign(self, run_id: str) -> bool:
        config = self._config(run_id)
        return isinstance(config, BadInput) and not isinstance(config, Damaged)

    def _done(self) -> list[str]:
        return [run.run_id for run in self.store.runs() if run.is_done()]

    def _read_config(self, run_id: str) -> RunConfig | BadInput:
        """The config, or why it cannot be read."""
        run = self.store.run(run_id)
        try:
            return run.config()
        except FileNotFoundError:  # as after a copy or a clean-up that was stopped half-way
            return _lost(run, "config.json")
        except BadInput as error:
            return error

    def has(self, run_id: str) -> bool:
        return self.store.run(run_id).is_done()

    def _record(self, run_id: str) -> Record:
        run = self.store.run(run_id)
        if not run.is_done():
            raise KeyError(run_id)
        config = self._config(run_id)
        if isinstance(config, BadInput):
            raise config
        for name in ("environment.json", "metrics.jsonl"):
            if not (run.path / name).exists():
                raise _lost(run, name)
        return Record(
            run_id=run_id,
            config=config.model_dump(mode="json"),
            summary=run.read_json("summary.json"),
            metrics=run.metrics(),
            attempts=run.read_json("environment.json")["attempts"],
            teachers=tuple(teacher.run_id for teacher in getattr(config, "teachers", ())),
        )

    def _scores(self, key: str) -> Mapping[str, float] | None:
        test_set = self._test_set(key)
        if test_set is None:
            return None
        return {name: float(value) for name, value in evaluate(test_set.logits, test_set.labels).items()}

    def _pair(self, student: str, teacher: str) -> Pair | None:
        both = self._same_test_set(student, teacher)
        if both is None:
            return None
        ours, theirs = both
        metrics = evaluate_fidelity(ours.logits, theirs.logits)
        return Pair(agreement=float(metrics["agreement"]), kl=float(metrics["kl"]))

    def labels(self, run_id: str) -> Labels | None:
        test_set = self._test_set(run_id)
        return None if test_set is None else test_set.labels.numpy()

    def _predictions(self, key: str) -> Predictions | None:
        test_set = self._test_set(key)
        if test_set is None:
            return None
        return PredictionArrays(
            top_class=test_set.logits.argmax(dim=1).numpy(),
            confidence=test_set.logits.double()
            .softmax(dim=1)
            .amax(dim=1)
            .numpy()
            .astype(np.float16)
            .astype(np.float64),
            nll=_rounded(negative_log_likelihood_per_example(test_set.logits, test_set.labels)),
        )

    def _kl_per_example(self, student: str, teacher: str) -> Floats | None:
        both = self._same_test_set(student, teacher)
        return None if both is None else _rounded(kl_per_example(both[1].logits, both[0].logits))

    def _same_test_set(self, student: str, teacher: str) -> tuple[LabelledLogits, LabelledLogits] | None:
        """The test sets of both; None if one is missing, or if the teacher was tested on other data than the student,
        as with `data.train.dataset.name=mnist` alone."""
        ours, theirs = self._test_set(student), self._test_set(teacher)
        if ours is None or theirs is None or not ours.tested.same_as(theirs.tested):
            return None
        return ours, theirs

    def shown_logits(self, run_id: str) -> NDArray[np.float32] | None:
        test_set = self._test_set(run_id)
        return None if test_set is None else test_set.logits[:SHOWN_EXAMPLES].numpy()

    def shown_train(self, run_id: str) -> NDArray[np.float32] | None:
        path = self.store.run(run_id).path / "predictions.safetensors"
        if not self.has(run_id) or not path.exists():
            return None
        with reading(path), safe_open(path, "pt") as file:
            if "shown_train_logits" not in file.keys():  # noqa: SIM118  (no mapping)
                return None
            logits: NDArray[np.float32] = file.get_tensor("shown_train_logits").numpy()
            return logits

    def attachment(self, run_id: str, name: str) -> bytes | None:
        path = self.store.run(run_id).path / name
        return path.read_bytes() if name in ATTACHMENTS and path.exists() else None

    def _read_test_set(self, key: str) -> LabelledLogits | None:
        """Test logits and labels of a run, or of the teachers that a key names.

        None if any are missing, or if the teachers were not tested on the same data.
        """
        if MERGED_IN in key:
            return self._read_run(key.partition(MERGED_IN)[2], "test_teacher_logits")
        members = key.split(TEACHER_JOINT)
        if len(members) > 1:
            sets = [self._test_set(member) for member in members]
            present = [test_set for test_set in sets if test_set is not None]
            if len(present) < len(sets) or not all(present[0].tested.same_as(one.tested) for one in present):
                return None
            return present[0]._replace(logits=ensemble_logits(torch.stack([one.logits for one in present])))
        return self._read_run(key)

    def _read_run(self, run_id: str, logits: str = "test_logits") -> LabelledLogits | None:
        path = self.store.run(run_id).path / "predictions.safetensors"
        if not self.has(run_id) or not path.exists():
            return None
        test_set = self.record(run_id).summary.get("test_set")
        with reading(path), safe_open(path, "pt") as file:  # reads only these two: training predictions are as large
            return LabelledLogits(file.get_tensor(logits), file.get_tensor("test_labels"), test_set)


def _rounded(values: Tensor) -> Floats:
    return rounded(values.double().numpy()).astype(np.float64)


def _lost(run: RunDirectory, name: str) -> Damaged:
    return Damaged(f"{run.path / name}: is missing from a finished run; remove {run.path} to make it again")
