"""The time to make figures, tables and intervals of many runs, and how it grows with the number of runs.

Measured as a user would see it, on an export of every sweep of the suite with more and more trials: `repro figures` in
its own process, from start to end. The runs' predictions are random; they compress and load like real ones.
"""

import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray
from tabulate import tabulate

from repro.bench.timing import Report
from repro.experiments.study import Preset, Study
from repro.launch.sweep import all_sweeps, find_sweep, sweep_studies
from repro.records import Pair, Predictions, Record, open_records, write_export
from repro.records.record import Floats, Labels, PredictionArrays, rounded
from repro.training.hardware import describe

EXAMPLES, CLASSES = 10_000, 100
TRIALS = (1, 3, 12)
PRESET: Preset = "short"
DIFFERENT = 16
"""The number of different networks that are drawn. Further ones repeat the predictions of one of them."""


class RandomRecords:
    """Finished runs of these studies with random predictions for `examples` test examples."""

    name = "random records"

    def __init__(self, studies: Iterable[Study], examples: int) -> None:
        self._configs: dict[str, Any] = {}
        self.record = functools.cache(self._record)
        for point in studies:
            config = point.config()
            self._configs |= {parent.run_id: parent for parent in config.parents()} | {config.run_id: config}
        generator = default_rng(0)
        self._labels = generator.integers(CLASSES, size=examples)
        self._predictions = [self._draw(generator) for _ in range(DIFFERENT)]
        self._kl = [_halves(generator.lognormal(-2.0, 1.5, examples)) for _ in range(DIFFERENT)]

    def _draw(self, generator: np.random.Generator) -> Predictions:
        examples = len(self._labels)
        wrong = generator.random(examples) < 0.3
        top_class = np.where(wrong, generator.integers(CLASSES, size=examples), self._labels)
        return PredictionArrays(
            top_class, generator.beta(4.0, 1.0, examples), _halves(generator.lognormal(-1, 1.5, examples))
        )

    def ids(self) -> Sequence[str]:
        return list(self._configs)

    def has(self, run_id: str) -> bool:
        return run_id in self._configs

    def _record(self, run_id: str) -> Record:
        config = self._configs[run_id]
        metrics = {f"{part}/{name}": 0.5 for part in ("test", "train") for name in ("accuracy", "nll", "brier", "ece")}
        teachers = tuple(parent.run_id for parent in config.parents())
        if teachers:
            metrics |= {f"test/cka/stage{stage}": 0.9 for stage in (1, 2, 3)}
            metrics |= {f"{part}/{name}": 0.5 for part in ("test", "train") for name in ("agreement", "kl")}
        rows = [{"epoch": epoch, "step": epoch, "learning_rate": 0.1, **metrics} for epoch in range(10)]
        summary = {"run_id": run_id, "metrics": metrics, "training_images": 5000, "seconds": 1.0}
        return Record(run_id, config.model_dump(mode="json"), summary, rows, [], teachers)

    def scores(self, key: str) -> dict[str, float]:  # noqa: ARG002
        return dict.fromkeys(("accuracy", "nll", "brier", "ece"), 0.5)

    def pair(self, student: str, teacher: str) -> Pair:  # noqa: ARG002
        return Pair(0.5, 0.5)

    def labels(self, run_id: str) -> Labels:  # noqa: ARG002
        return self._labels

    def predictions(self, key: str) -> Predictions:
        return self._predictions[_number(key)]

    def kl_per_example(self, student: str, teacher: str) -> Floats:
        return self._kl[_number(student + teacher)]

    def shown_logits(self, run_id: str) -> NDArray[np.float32]:  # noqa: ARG002
        return np.zeros((8, CLASSES), dtype=np.float32)

    def shown_train(self, run_id: str) -> NDArray[np.float32]:  # noqa: ARG002
        return np.zeros((8, CLASSES), dtype=np.float32)

    def attachment(self, run_id: str, name: str) -> bytes | None:  # noqa: ARG002
        return None


def _number(key: str) -> int:
    return sum(key.encode()) % DIFFERENT


def _halves(values: Floats) -> Floats:
    return rounded(values).astype(np.float64)


def every_sweep() -> list[str]:
    """All sweeps except the generator's, which yields pictures instead of numbers."""
    return [path.stem for path in all_sweeps() if path.stem != "sngan"]


def draw_all(path: Path, out: Path) -> float:
    """The seconds that `repro figures` takes on this export."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "repro", "figures", "--runs", str(path), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def make_intervals(path: Path, sweeps: Sequence[str]) -> tuple[float, int]:
    """The seconds to open the export and compute every number of every study table with its interval, and the number of
    these numbers."""
    from analysis.summary import summarize
    from analysis.tables import study_table

    start = time.perf_counter()
    records = open_records(path)
    numbers = sum(len(summarize(study_table(records, sweep, PRESET))) for sweep in sweeps)
    return time.perf_counter() - start, numbers


def measure(trials: Sequence[int] = TRIALS, examples: int = EXAMPLES, sweeps: Sequence[str] | None = None) -> Report:
    """For each number of trials, export all sweeps (or `sweeps`), draw all figures and make all intervals.

    Takes a few minutes, half of them to write the exports.

    The numbers of the report: `machine`, as in `environment.json`; `examples`; and `by_runs`, a list with the `trials`,
    the `runs`, the file's `megabytes`, the number of `figures` drawn, the seconds to `draw` them, how many `numbers`
    with an interval the study tables have, and the seconds to make these `intervals`.
    """
    names = every_sweep() if sweeps is None else sweeps
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for count in trials:
            changes = {"preset": PRESET, "trial": list(range(count))}
            made = RandomRecords(
                (point for name in names for point in sweep_studies(find_sweep(name), changes)), examples
            )
            path, out = Path(folder) / f"{count}.npz", Path(folder) / f"figures_{count}"
            runs = write_export(made, [(run_id, "") for run_id in made.ids()], path)
            row: dict[str, Any] = {
                "trials": count,
                "runs": runs,
                "megabytes": path.stat().st_size / 1e6,
                "draw": draw_all(path, out),
            }
            intervals, numbers = make_intervals(path, names)
            rows.append(row | {"figures": len(list(out.glob("*.png"))), "intervals": intervals, "numbers": numbers})
            path.unlink()
    machine = describe(torch.device("cpu"))
    headers = {
        "trials": "trials",
        "runs": "runs",
        "megabytes": "export (MB)",
        "figures": "figures",
        "draw": "all figures (s)",
        "numbers": "numbers",
        "intervals": "all intervals (s)",
    }
    runs, figures, seconds = (rows[-1][name] for name in ("runs", "figures", "draw"))
    text = f"""analysis: {runs:,} runs aggregated and all {figures} figures drawn in {seconds:.1f} s
{machine["processor"]}, Python {machine["python"]}; {examples:,} test examples; `repro figures` from an export

{tabulate([{name: row[name] for name in headers} for row in rows], headers, floatfmt=",.1f", intfmt=",")}"""
    return Report(text, {"machine": machine, "examples": examples, "by_runs": rows})
