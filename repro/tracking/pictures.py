"""The pictures of a finished run in W&B, drawn from its predictions. Neither torch nor matplotlib is imported."""

import contextlib
import functools
import json
from typing import Any

import numpy as np
from PIL import Image
from safetensors import safe_open

from repro.atomic import reading
from repro.errors import Damaged
from repro.metrics.confidence_bins import confidence_bins
from repro.store import RunDirectory, Store
from repro.tested import Tested
from repro.tracking.charts import BLUE, LIGHT, Array, chart

BINS = 10


def final_pictures(record: RunDirectory) -> dict[str, Image.Image]:
    """Draw a run's pictures on the test set, by name: a reliability diagram, the accuracy by class and, for a student,
    the agreement with its teacher by class (if the teachers' records are in the same folder). For a generator, its
    samples. Raises Damaged if its predictions, or those of a teacher, are damaged.
    """
    if (record.path / "samples.png").exists():
        return {"figures/samples": Image.open(record.path / "samples.png")}
    on_test = _on_test(record)
    if on_test is None:
        return {}
    logits, (labels, _) = on_test
    top_class = logits.argmax(-1)
    pictures = {
        "figures/reliability": draw_reliability(*reliability(softmax(logits), labels)),
        "figures/accuracy_by_class": draw_by_class("accuracy on test", top_class == labels, labels),
    }
    teacher = teacher_probabilities(record)
    if teacher is not None:
        agrees = top_class == teacher.argmax(-1)
        pictures["figures/agreement_by_class"] = draw_by_class("agreement with the teacher on test", agrees, labels)
    return pictures


def reliability(probabilities: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Mean confidence in the top class, accuracy, and number of examples, in bins of confidence of equal width.

    probabilities: (n, classes); labels: (n,). Returns three arrays of shape (BINS,); in empty bins the first two are
    NaN.
    """
    confidence = probabilities.max(-1)
    correct = probabilities.argmax(-1) == labels
    bins = confidence_bins(confidence, BINS)
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(bins, confidence, BINS) / counts
        accuracy = np.bincount(bins, correct, BINS) / counts
    return mean_confidence, accuracy, counts


def share_by_class(hits: Array, labels: Array) -> Array:
    """The fraction of hits in each class that has examples, in class order. hits, labels: (n,)."""
    counts = np.bincount(labels)
    shares: Array = (np.bincount(labels, hits) / np.maximum(counts, 1))[counts > 0]
    return shares


def teacher_probabilities(record: RunDirectory) -> Array | None:
    """The probabilities on test of the student's teachers, (n, classes): their mean, or those of merged teachers.

    None if a teacher's record is missing or holds predictions on other data. Raises Damaged if a teacher's predictions
    are damaged.
    """
    if _config(record).get("merge") is not None:  # only the student's own record holds what its rule made of them
        merged = _on_test(record, "test_teacher_logits")
        return None if merged is None else softmax(merged[0])
    teachers = [_run_of(Store(record.path.parent), teacher) for teacher in _config(record).get("teachers", ())]
    own, members = _on_test(record), []
    for teacher in teachers:
        on_test = None if teacher is None else _on_test(teacher)
        if on_test is None or own is None or not on_test[1].same_as(own[1]):
            return None
        members.append(on_test[0])
    if not members:
        return None
    mean: Array = np.mean([softmax(logits) for logits in members], axis=0)
    return mean


def softmax(logits: Array) -> Array:
    """Probabilities from logits, both (n, classes)."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities: Array = powers / powers.sum(-1, keepdims=True)
    return probabilities


def draw_reliability(confidence: Array, accuracy: Array, counts: Array) -> Image.Image:
    there = counts > 0
    line = np.stack([confidence[there], accuracy[there]], axis=1)
    title = f"Reliability on test, n = {counts.sum():,}; bars: share of examples"
    ticks = ("0.0", "0.2", "0.4", "0.6", "0.8", "1.0")
    return chart(title, "confidence", "accuracy", counts / counts.sum(), LIGHT, ticks, line)


def draw_by_class(name: str, hits: Array, labels: Array) -> Image.Image:
    shares = share_by_class(hits, labels)
    return chart(f"By class, n = {len(labels):,}", f"the {len(shares)} classes, in order", name, shares, BLUE)


def _on_test(record: RunDirectory, logits: str = "test_logits") -> tuple[Array, Tested] | None:
    """Logits (n, classes) on test, and what that is; None unless the run is done and has predictions."""
    path = record.path / "predictions.safetensors"
    if not record.is_done() or not path.exists():
        return None
    test_set = record.read_json("summary.json").get("test_set")
    with reading(path), safe_open(path, "numpy") as file:
        return file.get_tensor(logits), Tested(file.get_tensor("test_labels"), test_set)


def _run_of(store: Store, config: dict[str, Any]) -> RunDirectory | None:
    """The run with this config, found by comparing configs, since computing its id would require torch."""
    wanted = json.dumps(config, sort_keys=True)
    for run in store.runs():
        with contextlib.suppress(Damaged):  # whatever it was, it is a problem of that run, not of the one that is sent
            if _canonical_config(run) == wanted:
                return run
    return None


@functools.lru_cache(4096)
def _canonical_config(record: RunDirectory) -> str:
    return json.dumps(_config(record), sort_keys=True)


def _config(record: RunDirectory) -> dict[str, Any]:
    config: dict[str, Any] = record.read_json("config.json")["config"]
    return config
