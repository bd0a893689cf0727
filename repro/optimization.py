"""Optimizers and learning-rate schedules: their config and their implementation."""

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import Field

from repro.component import Component


class Optimizer(Component):
    """An optimizer; `learning_rate` is the peak that the schedule scales."""

    name: str
    learning_rate: float = Field(gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0)

    @abstractmethod
    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimizer for `parameters`; fused, so that a step is one kernel for all of them."""


class SGD(Optimizer):
    """Stochastic gradient descent with (Nesterov) momentum and L2 weight decay."""

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    nesterov: bool = False

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0.0,
            weight_decay=self.weight_decay,
            fused=True,
        )


class Adam(Optimizer):
    """Adam with L2 weight decay added to the gradient (Kingma & Ba 2015, arXiv 1412.6980)."""

    name: Literal["adam"] = "adam"
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameters,
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2),
            weight_decay=self.weight_decay,
            fused=True,
        )


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101)."""

    name: Literal["adamw"] = "adamw"
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters,
            lr=self.learning_rate,
            betas=(self.beta1, self.beta2),
            weight_decay=self.weight_decay,
            fused=True,
        )


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
        return self._decay(peak, (position - self.warmup_epochs) / (epochs - self.warmup_epochs))

    @abstractmethod
    def _decay(self, peak: float, progress: float) -> float:
        """The learning rate once the fraction `progress`, in [0, 1), of the time after warm-up has passed."""


class Constant(Schedule):
    """No decay."""

    name: Literal["constant"] = "constant"

    def _decay(self, peak: float, progress: float) -> float:  # noqa: ARG002
        return peak


class Cosine(Schedule):
    """Half a cosine from the peak to `final` (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts)."""

    name: Literal["cosine"] = "cosine"
    final: float = Field(default=0.0, ge=0.0)

    def _decay(self, peak: float, progress: float) -> float:
        return self.final + 0.5 * (peak - self.final) * (1.0 + math.cos(math.pi * progress))


class Linear(Schedule):
    """A straight line from the peak to `final`."""

    name: Literal["linear"] = "linear"
    final: float = Field(default=0.0, ge=0.0)

    def _decay(self, peak: float, progress: float) -> float:
        return peak + (self.final - peak) * progress
