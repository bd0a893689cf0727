"""The squared distance between logits, the limit of distillation at high temperature."""

from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from repro.distill.ensemble import ensemble_logits
from repro.distill.objective import DistillationObjective


class LogitMSE(DistillationObjective):
    """1/(2c) * sum_j (z_s - z_t)_j^2 over the c classes: half the mean squared difference of the logits.

    As tau -> infinity, the gradient of tau^2 times the cross-entropy of the tempered distributions,
    tau * (softmax(z_s / tau) - softmax(z_t / tau)), tends to (z_s - z_t) / c with both logits shifted to zero
    mean; the error shrinks as 1 / tau. With `zero_mean` that is exactly this loss's gradient, so learning
    rates carry over (Hinton et al. 2015, section 2.1, arXiv 1503.02531).

    There is no temperature here, so `temperature` must be 1.
    """

    name: Literal["logit_mse"] = "logit_mse"
    zero_mean: bool = True
    """Whether both logits are shifted to zero mean for each image, which does not change their softmax.
    Without it the student also has to match the shift of the ensemble's logits, which are log-probabilities.
    """

    @model_validator(mode="after")
    def _no_temperature(self) -> Self:
        if self.temperature != 1:
            raise ValueError("logit_mse needs temperature 1: it compares the logits themselves")
        return self

    def distance(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        generator: torch.Generator,  # noqa: ARG002
    ) -> Tensor:
        difference = student_logits - ensemble_logits(teacher_logits)
        if self.zero_mean:
            difference = difference - difference.mean(dim=-1, keepdim=True)
        return 0.5 * difference.square().mean()
