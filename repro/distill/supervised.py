"""Training on the true labels, hard or softened, without a teacher."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from repro.distill.objective import Objective


class LabelObjective(Objective):
    """The cross-entropy to (1 - softening) * the label + softening / classes."""

    needs_teacher: ClassVar[bool] = False

    @property
    def softening(self) -> float:
        """The share of the uniform distribution in the labels, in [0, 1)."""
        return 0.0

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
            raise ValueError(f"the objective '{self.name}' needs labels")
        return F.cross_entropy(student_logits, labels, label_smoothing=self.softening)


class CrossEntropy(LabelObjective):
    """The negative log-likelihood of the true labels: how teachers are trained."""

    name: Literal["cross_entropy"] = "cross_entropy"


class LabelSmoothing(LabelObjective):
    """Softened labels (Szegedy et al. 2016, arXiv:1512.00567): the baseline that a teacher's soft labels have to beat.

    The teacher-free control of distillation: a student learns nothing from its teachers and is only compared with them.
    With smoothing 0 it is the independent student. The paper's smoothing is 0.1 (section 7).
    """

    name: Literal["label_smoothing"] = "label_smoothing"
    is_control: ClassVar[bool] = True
    smoothing: float = Field(default=0.1, ge=0.0, lt=1.0)

    @property
    def softening(self) -> float:
        return self.smoothing
