"""What the runner asks of a run in memory, whatever it trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor

Metrics: TypeAlias = dict[str, float | None]


@dataclass(frozen=True)
class Result:
    """What a finished run leaves in its record.

    metrics: final values. counts: sizes that go into `summary.json`. weights: the network's state.
    tensors: further files, name -> tensors (`predictions` -> `predictions.safetensors`).
    """

    metrics: Metrics
    counts: Mapping[str, int]
    weights: Mapping[str, Tensor]
    tensors: Mapping[str, dict[str, Tensor]]


class Training(Protocol):
    """A run in memory. Everything that moves is in its `state_dict`, from which it goes on to the bit."""

    @property
    def step(self) -> int:
        """Steps done since the run began."""

    @property
    def total_steps(self) -> int: ...

    @property
    def finished(self) -> bool: ...

    @property
    def epochs(self) -> int:
        """Epochs in all: the periods at whose end metrics can be taken."""

    @property
    def row_is_due(self) -> bool:
        """Whether the epoch that has just ended makes a row of metrics."""

    epoch: int
    """Epochs done."""

    def row(self) -> dict[str, Any]:
        """The row of `metrics.jsonl` for the epoch that has just ended."""

    def pictures(self) -> Mapping[str, bytes]:
        """Pictures that go with that row, by file name; they replace those of the row before."""

    def advance(self, pause: Callable[[], bool]) -> bool:
        """Train to the end of the epoch (True), or until `pause()`, asked after every step, is true (False)."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def result(self) -> Result:
        """What the finished run leaves."""
