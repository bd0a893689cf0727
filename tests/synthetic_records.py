"""Records of runs that were never made, of which the truth is known: for tests of tables, statistics and figures.

Every test example has a difficulty that all networks share, every trial its own luck, and every run noise of its own,
as real ones do. A student imitates its actual teacher (one synthetic network, or the mean of several), so tables,
ensembles, controls and exports are computed from logits like those of real runs.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.stats import norm

from analysis.changes import UNCHANGED, Changes
from repro.distill.ensemble import ensemble_logits
from repro.experiments.study import Preset
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.sweep import find_sweep, sweep_studies
from repro.metrics.fidelity import evaluate_fidelity
from repro.metrics.generalization import evaluate
from repro.records import Record, RunFolder
from repro.records.folder import LabelledLogits
from repro.records.record import teacher_key
from repro.store import Store

TEACHER_ACCURACY = 0.72
EPOCHS = 10


@dataclass(frozen=True)
class Truth:
    """What is true of a condition: means over trials and test examples.

    The student's agreement and accuracy must be possible together with the teacher's accuracy (about 0.72 alone,
    up to 0.75 as an ensemble). accuracy: None is the teacher's own. ece: how much more confident than accurate the
    student is.
    """

    accuracy: float | None = 0.73
    agreement: float = 0.78
    train_agreement: float = 0.90
    ece: float = 0.05
    cka: float = 0.90


World = Callable[[str, Mapping[str, Any]], Truth]
"""(sweep, settings of the study) -> what is true of that condition."""


def everywhere(truth: Truth) -> World:
    """A world in which no condition makes a difference."""
    return lambda sweep, settings: truth  # noqa: ARG005


class SyntheticRecords(RunFolder):
    """Records in memory; `write` makes them run directories.

    examples, classes: of the one test set that all share. trial_std: standard deviation over trials of a student's
    true agreement, accuracy, train agreement, CKA and ECE.
    """

    def __init__(self, seed: int = 0, examples: int = 300, classes: int = 10, trial_std: float = 0.003) -> None:
        super().__init__(Store(Path("synthetic records")))
        self.seed, self.examples, self.classes, self.trial_std = seed, examples, classes, trial_std
        common = self._generator("examples")
        self.true_labels = np.arange(examples) % classes
        self.difficulty = common.standard_normal(examples)
        self.confusing = (self.true_labels + common.integers(1, classes, examples)) % classes
        self.made: dict[str, Record] = {}
        self.logits: dict[str, torch.Tensor] = {}

    # -- as a source of records -----------------------------------------------------------------------------------

    def ids(self) -> Sequence[str]:
        return list(self.made)

    def has(self, run_id: str) -> bool:
        return run_id in self.made

    def _record(self, run_id: str) -> Record:
        return self.made[run_id]

    def _read_run(self, run_id: str, logits: str = "test_logits") -> LabelledLogits | None:
        if logits == "test_teacher_logits":  # merged teachers, here as their ensemble
            return self._test_set(teacher_key(self.made[run_id].teachers)) if run_id in self.made else None
        return (
            LabelledLogits(self.logits[run_id], torch.from_numpy(self.true_labels)) if run_id in self.logits else None
        )

    def shown_train(self, run_id: str) -> NDArray[np.float32] | None:
        return 2 * self.logits[run_id][:8].numpy() if run_id in self.logits else None

    # -- making runs ----------------------------------------------------------------------------------------------

    def add(
        self,
        sweep: str,
        world: World,
        preset: Preset = "short",
        only: Mapping[str, Any] | None = None,
        done: Callable[[Mapping[str, Any]], bool] = lambda settings: True,  # noqa: ARG005
        changes: Changes = UNCHANGED,
    ) -> "SyntheticRecords":
        """Make the runs of a sweep and their parents; `only` replaces its parameters, `done` says which are made.

        `changes` are made to every run's config.
        """
        for point in sweep_studies(find_sweep(sweep), {"preset": preset, **(only or {})}):
            if not done(point.settings()):
                continue
            for request in parents_first([Request(point.label(), changes.config(point))]):
                if request.config.run_id not in self.made:
                    self._make(request.config, world(sweep, point.settings()))
        return self

    def _make(self, config: Any, truth: Truth) -> None:
        run_id, generator = config.run_id, self._generator(config.run_id)
        teachers = tuple(teacher.run_id for teacher in getattr(config, "teachers", ()))
        metrics: dict[str, float] = {}
        if config.kind == "teacher":
            self.logits[run_id] = self._teacher_logits(generator)
        elif config.kind == "student":
            self.logits[run_id], metrics = self._student(generator, truth, teachers, config.seed)
        if run_id in self.logits:
            found = evaluate(self.logits[run_id], torch.from_numpy(self.true_labels))
            metrics = {f"test/{name}": float(value) for name, value in found.items()} | metrics
        summary = {"run_id": run_id, "kind": config.kind, "metrics": metrics, "epochs": EPOCHS, "steps": 10 * EPOCHS}
        summary |= {"training_images": 1000, "images_seen": 1000 * EPOCHS, "parameters": 1000, "seconds": 1.0}
        summary |= {"data": {"synthetic": "0"}, "finished": "2026-01-01T00:00:00+0000"}
        self.made[run_id] = Record(
            run_id=run_id,
            config=config.model_dump(mode="json"),
            summary=summary,
            metrics=[_row(epoch, metrics) for epoch in range(1, EPOCHS + 1)],
            attempts=[ATTEMPT],
            teachers=teachers,
        )

    def _teacher_logits(self, generator: Generator) -> torch.Tensor:
        accuracy = TEACHER_ACCURACY + self.trial_std * generator.standard_normal()
        luck = math.sqrt(0.9) * self.difficulty + math.sqrt(0.1) * generator.standard_normal(self.examples)
        other = (self.true_labels + generator.integers(1, self.classes, self.examples)) % self.classes
        wrong = np.where(generator.random(self.examples) < 0.7, self.confusing, other)
        top_class = np.where(luck < norm.ppf(accuracy), self.true_labels, wrong)
        return self._logits(generator, top_class, confidence=0.8)

    def _student(
        self, generator: Generator, truth: Truth, teachers: tuple[str, ...], trial: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Logits on test, and the metrics that are not computed from them alone."""
        noise = self.trial_std * generator.standard_normal(5)
        members = torch.stack([self.logits[teacher] for teacher in teachers])
        teacher = ensemble_logits(members) if len(teachers) > 1 else members[0]
        top_class = self._imitation(
            generator,
            teacher.argmax(dim=1).numpy(),
            accuracy=None if truth.accuracy is None else truth.accuracy + noise[0],
            agreement=min(truth.agreement + noise[1], 1.0),
            trial=trial,
        )
        accurate = float((top_class == self.true_labels).mean())
        logits = self._logits(generator, top_class, confidence=min(accurate + truth.ece + noise[4], 0.99))
        metrics = {f"test/{name}": float(value) for name, value in evaluate_fidelity(logits, teacher).items()}
        metrics["train/agreement"] = float(np.clip(truth.train_agreement + noise[2], 0.0, 1.0))
        metrics |= {"train/kl": 0.1, "train/accuracy": 0.9}
        if len(teachers) == 1:
            metrics |= {f"test/cka/stage{stage}": float(truth.cka + noise[3]) for stage in (1, 2, 3)}
        return logits, metrics

    def _imitation(
        self, generator: Generator, teacher: NDArray[Any], accuracy: float | None, agreement: float, trial: int
    ) -> NDArray[Any]:
        """Top classes that agree with the teacher's, and are right, with the given probabilities."""
        right = teacher == self.true_labels
        share = float(right.mean())
        wanted = share if accuracy is None else accuracy
        if_right, if_wrong, rescue = _agreement_by_correctness(wanted, agreement, share)
        trial_luck = self._generator("trial", str(trial)).standard_normal(self.examples)
        own_luck = generator.standard_normal(self.examples)
        difficulty = self._generator("imitation").standard_normal(self.examples)
        luck = norm.cdf(math.sqrt(0.3) * difficulty + math.sqrt(0.6) * trial_luck + math.sqrt(0.1) * own_luck)
        agrees = luck < np.where(right, if_right, if_wrong)
        third = np.where(self.confusing == teacher, (self.confusing + 1) % self.classes, self.confusing)
        third = np.where(third == self.true_labels, (third + 1) % self.classes, third)
        third = np.where(third == teacher, (third + 1) % self.classes, third)
        rescued = generator.random(self.examples) < rescue
        disagreeing = np.where(right, self.confusing, np.where(rescued, self.true_labels, third))
        return np.where(agrees, teacher, disagreeing)

    def _logits(self, generator: Generator, top_class: NDArray[Any], confidence: float) -> torch.Tensor:
        logits = 0.1 * generator.standard_normal((self.examples, self.classes))
        height = math.log(confidence * (self.classes - 1) / (1 - confidence))
        logits[np.arange(self.examples), top_class] = height + 0.05 * generator.standard_normal(self.examples)
        return torch.from_numpy(logits.astype(np.float32))

    def _generator(self, *names: str) -> Generator:
        return default_rng([self.seed, *(int.from_bytes(name.encode(), "little") for name in names)])

    # -- as run directories ---------------------------------------------------------------------------------------

    def write(self, root: Path) -> Store:
        """Write every run as a run directory in `root`, without weights."""
        for run_id, record in self.made.items():
            folder = root / run_id
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in (
                ("config.json", {"run_id": run_id, "config": record.config}),
                ("environment.json", {"attempts": record.attempts}),
                ("summary.json", record.summary),
            ):
                (folder / name).write_text(json.dumps(content))
            (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in record.metrics))
            if run_id in self.logits:
                tensors = {"test_logits": self.logits[run_id], "test_labels": torch.from_numpy(self.true_labels)}
                if record.config.get("merge") is not None:
                    tensors["test_teacher_logits"] = self._test_set(teacher_key(record.teachers)).logits  # type: ignore[union-attr]
                tensors["shown_train_logits"] = 2 * self.logits[run_id][:8]
                save_file(tensors, folder / "predictions.safetensors")
        return Store(root)


ATTEMPT: dict[str, Any] = {
    "started": "2026-01-01T00:00:00+0000",
    "step": 0,
    "code": {"commit": "0" * 40, "dirty": False},
    "machine": {"python": "3.11", "torch": "2.11", "processor": "synthetic", "threads": 1, "device": "cpu"},
    "argv": ["repro"],
}


def _row(epoch: int, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Metrics as they might have been on the way: approaching the last epoch's."""
    way = 1.0 - 0.5 ** (epoch - EPOCHS) * 0.001 if epoch < EPOCHS else 1.0
    row = {"epoch": epoch, "step": 10 * epoch, "images_seen": 1000 * epoch, "learning_rate": 0.1 / epoch}
    return row | {name: value * way for name, value in metrics.items() if not name.startswith("test/cka")}


def _agreement_by_correctness(accuracy: float, agreement: float, teacher: float) -> tuple[float, float, float]:
    """How often to agree where the teacher is right and where it is wrong, and to be right when not agreeing there."""
    for rescue in (0.25, 0.5, 0.1, 0.75, 0.9, 0.0):
        in_error = (agreement + rescue * (1 - teacher) - accuracy) / (1 + rescue)
        if_right, if_wrong = (agreement - in_error) / teacher, in_error / (1 - teacher)
        if 0 <= if_right <= 1 and 0 <= if_wrong <= 1:
            return if_right, if_wrong, rescue
    raise ValueError(f"no student of accuracy {accuracy:.3f} agrees {agreement:.3f} with one of {teacher:.3f}")
