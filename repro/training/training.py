"""What the runner requires of a run in memory, whatever it trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor

Metrics: TypeAlias = dict[str, float | None]


@dataclass(frozen=True)
class Result:
    """What a finished run leaves in its record.

    metrics: final values. counts: sizes that go into `summary.json`. weights: the network's state dict.
    tensors: further files, name -> tensors (`predictions` -> `predictions.safetensors`).
    """

    metrics: Metrics
    counts: Mapping[str, int]
    weights: Mapping[str, Tensor]
    tensors: Mapping[str, dict[str, Tensor]]


class Training(Protocol):
    """A run in memory. Everything that changes is in `state_dict`; a run resumed from it continues bit for bit."""

    @property
    def step(self) -> int:
        """Steps done since the run began."""

    @property
    def total_steps(self) -> int: ...

    @property
    def finished(self) -> bool: ...

    @property
    def epochs(self) -> int:
        """The total number of epochs; metrics can be computed at the end of each."""

    @property
    def row_is_due(self) -> bool:
        """Whether the epoch that has just ended has a row of metrics."""

    epoch: int
    """Epochs done."""

    def row(self) -> dict[str, Any]:
        """The row of `metrics.jsonl` for the epoch that has just ended."""

    def pictures(self) -> Mapping[str, bytes]:
        """Pictures that go with that row, by file name; they replace those of the previous row."""

    def advance(self, pause: Callable[[], bool]) -> bool:
        """Train to the end of the epoch (returns True), or until `pause()`, called after each step, is true (False)."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def result(self) -> Result:
        """What the finished run leaves."""
