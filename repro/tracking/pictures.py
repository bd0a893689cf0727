"""The figures that a finished run shows in W&B, drawn from its predictions. torch is not imported."""

from typing import Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from safetensors.numpy import load_file
from scipy.special import softmax

from repro.store import RunDirectory

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
BINS = 10


def final_figures(record: RunDirectory) -> dict[str, Figure]:
    """The reliability diagram and the accuracy by class, both on test, by name; none for runs without predictions."""
    path = record.path / "predictions.safetensors"
    if not path.exists():
        return {}
    predictions = load_file(path)
    logits, labels = predictions["test_logits"], predictions["test_labels"]
    return {
        "figures/reliability": draw_reliability(*reliability(softmax(logits, axis=-1), labels)),
        "figures/accuracy_by_class": draw_accuracy_by_class(logits.argmax(-1) == labels, labels),
    }


def reliability(probabilities: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Of the top class, in equal-width bins of confidence: mean confidence, accuracy, number of examples.

    The first two are NaN where a bin is empty. probabilities: (n, classes); labels: (n,).
    """
    confidence = probabilities.max(-1)
    correct = probabilities.argmax(-1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(bins, confidence, BINS) / counts
        accuracy = np.bincount(bins, correct, BINS) / counts
    return mean_confidence, accuracy, counts


def draw_reliability(confidence: Array, accuracy: Array, counts: Array) -> Figure:
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="calibrated")
    axes.plot(confidence[counts > 0], accuracy[counts > 0], marker="o", color="#0072B2", label="this run")
    centers = (np.arange(BINS) + 0.5) / BINS
    axes.bar(centers, counts / counts.sum(), width=0.9 / BINS, color="0.85", zorder=0, label="share of examples")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"Reliability on test, n = {counts.sum():,}")
    axes.legend(loc="upper left", frameon=False)
    return figure


def draw_accuracy_by_class(correct: Array, labels: Array) -> Figure:
    counts = np.bincount(labels)
    accuracy = np.sort((np.bincount(labels, correct) / np.maximum(counts, 1))[counts > 0])
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(accuracy)), accuracy, color="#0072B2")
    axes.set(xlabel="class, by accuracy", ylabel="accuracy on test", ylim=(0, 1), title=f"{len(accuracy)} classes")
    return figure
