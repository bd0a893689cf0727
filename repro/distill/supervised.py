"""Training on the true labels, without a teacher."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.distill.objective import Objective


class CrossEntropy(Objective):
    """The negative log-likelihood of the true labels: how teachers are trained."""

    name: Literal["cross_entropy"] = "cross_entropy"
    needs_teacher: ClassVar[bool] = False

    @property
    def needs_labels(self) -> bool:
        return True

    def loss(
        self,
        student_logits: Tensor,
        *,
        teacher_logits: Tensor | None,  # noqa: ARG002
        labels: Tensor | None,
        progress: float,  # noqa: ARG002
        generator: torch.Generator,  # noqa: ARG002
    ) -> Tensor:
        if labels is None:
            raise ValueError("the objective 'cross_entropy' needs labels")
        return F.cross_entropy(student_logits, labels)
