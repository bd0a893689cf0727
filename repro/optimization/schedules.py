"""Learning-rate schedules: their config and their implementation."""

import math
from abc import abstractmethod
from typing import Literal

from pydantic import Field

from repro.component import Component


class Schedule(Component):
    """The learning rate over a run: linear warm-up from 0 to the peak, then a decay.

    `per` says how often it changes: once per epoch (the paper, Appendix A) or at every step.
    """

    name: str
    warmup_epochs: int = Field(default=0, ge=0)
    per: Literal["epoch", "step"] = "epoch"

    def learning_rate(self, peak: float, *, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The learning rate of `step` (0-based, counted over the whole run of `epochs` epochs)."""
        unit = 1.0 if self.per == "epoch" else 1.0 / steps_per_epoch
        position = step // steps_per_epoch if self.per == "epoch" else step / steps_per_epoch
        if position < self.warmup_epochs:
            return peak * (position + unit) / self.warmup_epochs
        return self.decay(peak, (position - self.warmup_epochs) / (epochs - self.warmup_epochs))

    @abstractmethod
    def decay(self, peak: float, progress: float) -> float:
        """The learning rate once the fraction `progress`, in [0, 1), of the time after warm-up has passed."""


class Constant(Schedule):
    """No decay."""

    name: Literal["constant"] = "constant"

    def decay(self, peak: float, progress: float) -> float:  # noqa: ARG002
        return peak


class Cosine(Schedule):
    """Half a cosine from the peak to `final` (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts)."""

    name: Literal["cosine"] = "cosine"
    final: float = Field(default=0.0, ge=0.0)

    def decay(self, peak: float, progress: float) -> float:
        return self.final + 0.5 * (peak - self.final) * (1.0 + math.cos(math.pi * progress))


class Linear(Schedule):
    """A straight line from the peak to `final`."""

    name: Literal["linear"] = "linear"
    final: float = Field(default=0.0, ge=0.0)

    def decay(self, peak: float, progress: float) -> float:
        return peak + (self.final - peak) * progress
