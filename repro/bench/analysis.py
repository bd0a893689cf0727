"""How long it takes to make tables, intervals and figures of many runs, and how that grows with their number.

Once from an export of the runs of one study: 10,000 test examples, three trials of every condition, so that every
student has its own teacher and two controls. And once every figure of the suite from records in memory, of all sweeps
with more and more trials. What the runs say is random, which compresses and reads like the real thing.
"""

import functools
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
from repro.experiments.study import Study
from repro.launch.sweep import find_sweep, sweep_studies
from repro.records import Pair, Predictions, Record, Records, open_records, write_export
from repro.records.record import Floats, Labels, Shown, rounded
from repro.training.hardware import describe

SIZES = (625, 1250, 5000)
EXAMPLES, CLASSES = 10_000, 100
TRIALS = (3, 13)
SWEEP, STUDENTS_PER_TEMPERATURE = "data_recycling_resnet20", 27  # 3 splits, 3 ensembles, 3 trials
DIFFERENT = 16
"""So many networks are drawn; further ones say the same as one of them."""


class RandomRecords:
    """Finished runs of these studies, which say random things about `examples` test examples."""

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
        return Predictions(
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

    def shown_train(self, run_id: str) -> Shown:  # noqa: ARG002
        return Shown(np.arange(8), np.zeros((8, CLASSES), dtype=np.float32))

    def attachment(self, run_id: str, name: str) -> bytes | None:  # noqa: ARG002
        return None


def _number(key: str) -> int:
    return sum(key.encode()) % DIFFERENT


def _halves(values: Floats) -> Floats:
    return rounded(values).astype(np.float64)


def at_temperatures(temperatures: Sequence[float]) -> list[Study]:
    """One sweep of three trials at these temperatures."""
    return sweep_studies(find_sweep(SWEEP), {"preset": "short", "temperature": list(temperatures)})


def of_all_sweeps(trials: int) -> list[Study]:
    """Every sweep but the generator's, with so many trials."""
    sweeps = sorted(path for path in find_sweep(SWEEP).parent.glob("*.yaml") if path.stem != "sngan")
    changes = {"preset": "short", "trial": list(range(trials))}
    return [point for path in sweeps for point in sweep_studies(path, changes)]


def draw_all(records: Records) -> dict[str, float]:
    """Seconds to make every figure of these records that can be made, tables and intervals included."""
    from analysis.catalogue import MODULES, find_figure
    from analysis.figure import StudyTables, draw_figure, drawable_presets

    start = time.perf_counter()
    tables = StudyTables(records)
    figures = [figure for figure in map(find_figure, MODULES) if drawable_presets(figure, tables)]
    with tempfile.TemporaryDirectory() as folder:
        for figure in figures:
            draw_figure(figure, tables, Path(folder))
    return {"runs": len(records.ids()), "figures": len(figures), "seconds": time.perf_counter() - start}


def analyse(path: Path, temperatures: Sequence[float]) -> dict[str, float]:
    """Seconds to open the export and make the table, and to make every interval of it."""
    from analysis.summary import summarize
    from analysis.tables import study_table

    start = time.perf_counter()
    records: Records = open_records(path)
    table = study_table(records, SWEEP, "short", {"temperature": list(temperatures)})
    rows = time.perf_counter()
    intervals = summarize(table)
    end = time.perf_counter()
    assert len(intervals)
    return {"table": rows - start, "intervals": end - rows, "all": end - start, "numbers": len(intervals)}


def measure(sizes: Sequence[int] = SIZES, trials: Sequence[int] = TRIALS, examples: int = EXAMPLES) -> Report:
    """Write exports of about `sizes` runs and analyse each, then draw every figure of as many `trials` of all sweeps.

    Some minutes, most of them to write the exports.

    The numbers of the report: machine, as in `environment.json`; examples; and `by_runs`, a list with the runs, the
    file's megabytes, seconds for the `table` (which includes opening the file), for the `intervals` and for `all`,
    and how many `numbers` with an interval there are; `drawing`, a list with the runs, the number of `figures`
    that could be drawn, and the `seconds` for them; and `seconds`, of both at their largest.
    """
    by_runs = []
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            temperatures = [1.0 + 0.01 * i for i in range(max(1, size // STUDENTS_PER_TEMPERATURE))]
            made, path = RandomRecords(at_temperatures(temperatures), examples), Path(folder) / f"{size}.npz"
            write_export(made, [(run_id, "") for run_id in made.ids()], path)
            megabytes = path.stat().st_size / 1e6
            by_runs.append({"runs": len(made.ids()), "megabytes": megabytes, **analyse(path, temperatures)})
    drawing = [draw_all(RandomRecords(of_all_sweeps(count), examples)) for count in trials]
    machine = describe(torch.device("cpu"))
    headers = ["runs", "export (MB)", "table (s)", "intervals (s)", "all (s)", "numbers"]
    lines = [[row[name] for name in ("runs", "megabytes", "table", "intervals", "all", "numbers")] for row in by_runs]
    last = by_runs[-1]
    seconds = last["all"] + (drawing[-1]["seconds"] if drawing else 0.0)
    text = f"""analysis: {last["runs"]:,} runs aggregated and all figures of as many drawn in {seconds:.1f} s
{machine["processor"]}, Python {machine["python"]}; {examples:,} test examples, from one export

{tabulate(lines, headers=headers, floatfmt=".1f", intfmt=",")}

Every figure of all sweeps with {", ".join(map(str, trials))} trials, tables and intervals included

{tabulate(drawing, headers="keys", floatfmt=".1f", intfmt=",")}"""
    numbers = {"machine": machine, "examples": examples, "by_runs": by_runs, "drawing": drawing, "seconds": seconds}
    return Report(text, numbers)
