"""Learning from the labels that the teacher would give."""

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor

from repro.distill.ensemble import ensemble_logits
from repro.distill.objective import DistillationObjective


class HardLabels(DistillationObjective):
    """The student's negative log-likelihood, at the temperature, of one label that the teacher gives each image.

    With `labels_from="sample"` the label is drawn anew at every step from the teacher's tempered
    distribution: an unbiased estimate of `forward_cross_entropy`, gradient included. With "argmax" it is the
    teacher's most probable class; no temperature changes that, so only temperature 1 is accepted.
    """

    name: Literal["hard_labels"] = "hard_labels"
    labels_from: Literal["argmax", "sample"] = "argmax"

    @model_validator(mode="after")
    def _argmax_has_no_temperature(self) -> Self:
        if self.labels_from == "argmax" and self.temperature != 1:
            raise ValueError("labels_from='argmax' needs temperature 1: the most probable class has none")
        return self

    def teacher_labels(self, teacher_logits: Tensor, generator: torch.Generator) -> Tensor:
        """The teacher's label of each image: (members, batch, classes) -> (batch,) int64."""
        log_p = self.log_probabilities(ensemble_logits(teacher_logits))
        if self.labels_from == "argmax":
            return log_p.argmax(dim=-1)
        # Of independent exponential waiting times with rates p_j, the j-th is the shortest with probability
        # p_j. Unlike torch.multinomial, this never waits for the device. Drawn in float64 because a
        # float32 draw can be too coarse near zero, where the rare classes win.
        waiting = torch.empty_like(log_p, dtype=torch.float64).exponential_(generator=generator)
        return (waiting.log() - log_p).argmin(dim=-1)

    def distance(self, student_logits: Tensor, teacher_logits: Tensor, generator: torch.Generator) -> Tensor:
        labels = self.teacher_labels(teacher_logits, generator)
        return F.nll_loss(self.log_probabilities(student_logits), labels)
