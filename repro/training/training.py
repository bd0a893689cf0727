"""A run in memory, whatever it trains: where it stands, and what the runner requires of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from repro.config import GeneratorConfig, TrainingConfig

Metrics: TypeAlias = dict[str, float | None]


@dataclass(frozen=True)
class Result:
    """What a finished run leaves in its record.

    metrics: final values. counts: sizes that go into `summary.json`. weights: the network's state dict.
    tensors: further files, name -> tensors (`predictions` -> `predictions.safetensors`).
    test_set: which inputs the metrics and predictions on `test` belong to (`identify`); None for a generator.
    """

    metrics: Metrics
    counts: Mapping[str, int]
    weights: Mapping[str, Tensor]
    tensors: Mapping[str, dict[str, Tensor]]
    test_set: str | None = None


class Training(ABC):
    """A run in memory.

    Everything that changes is in `state_dict`, so a run resumed from it continues bit for bit (on the same machine; on
    a GPU, if its kernels add in a fixed order: docs/architecture.md).
    """

    config: TrainingConfig | GeneratorConfig

    def __init__(self, config: TrainingConfig | GeneratorConfig, steps_per_epoch: int) -> None:
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.epoch = 0  # epochs done
        self.position = 0  # steps done in this epoch

    @property
    def step(self) -> int:
        """Steps done since the run began."""
        return self.epoch * self.steps_per_epoch + self.position

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.steps_per_epoch

    @property
    def finished(self) -> bool:
        return self.epoch == self.config.epochs

    @property
    def row_is_due(self) -> bool:
        """Whether the epoch that has just ended has a row of metrics."""
        return self.epoch % self.config.evaluate_every == 0 or self.finished

    def learning_rate(self, step: int) -> float:
        """The learning rate at a step, counted over the whole run."""
        return self.config.schedule.learning_rate(
            self.config.optimizer.learning_rate,
            step=step,
            steps_per_epoch=self.steps_per_epoch,
            epochs=self.config.epochs,
        )

    def row(self) -> dict[str, Any]:
        """The row of `metrics.jsonl` for the epoch that has just ended."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "images_seen": self.images_seen,
            "learning_rate": self.learning_rate(self.step - 1),
            **self.epoch_metrics(),
        }

    def pictures(self) -> Mapping[str, bytes]:
        """Pictures that go with that row, by file name; they replace those of the previous row."""
        return {}

    @property
    @abstractmethod
    def images_seen(self) -> int:
        """How many training images the run has been shown since it began."""

    @abstractmethod
    def epoch_metrics(self) -> Metrics:
        """The metrics of the epoch that has just ended."""

    @abstractmethod
    def advance(self, pause: Callable[[], bool]) -> bool:
        """Train to the end of the epoch (returns True), or until `pause()`, called after each step, is true (False).

        Steps do not wait for the device. Raises RunFailed if a loss was not finite.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]: ...

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def restore_generators(self, generators: Mapping[str, torch.Generator], states: Mapping[str, Tensor]) -> None:
        """Put each generator into its state at this step.

        A generator on a GPU cannot take the state of one on a CPU, and vice versa: it starts anew, with a seed that
        this step has to itself.
        """
        for name, generator in generators.items():
            if states[name].numel() == generator.get_state().numel():
                generator.set_state(states[name])
            else:
                generator.manual_seed(self.config.stream_seed(name, self.step))

    @abstractmethod
    def result(self) -> Result:
        """What the finished run leaves. Raises RunFailed if it is not finite."""
