"""Softened true labels: what a teacher's soft labels have to be better than."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from repro.distill.objective import Objective


class LabelSmoothing(Objective):
    """The cross-entropy to (1 - smoothing) * the label + smoothing / classes (Szegedy et al. 2016, arXiv:1512.00567).

    The teacher-free control of distillation: a student learns nothing of its teachers, and is compared with them. At
    smoothing 0 it is the independent student. The paper's smoothing is 0.1 (section 7).
    """

    name: Literal["label_smoothing"] = "label_smoothing"
    needs_teacher: ClassVar[bool] = False
    is_control: ClassVar[bool] = True
    smoothing: float = Field(default=0.1, ge=0.0, lt=1.0)

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
            raise ValueError("the objective 'label_smoothing' needs labels")
        return F.cross_entropy(student_logits, labels, label_smoothing=self.smoothing)
