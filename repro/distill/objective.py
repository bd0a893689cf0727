"""What training minimises: the base of every objective, and of those that imitate a teacher."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from repro.component import Component


class Objective(Component):
    """A loss over one batch, chosen by `name`. Subclasses add the loss's options as fields."""

    name: str
    needs_teacher: ClassVar[bool]
    """Whether `loss` needs the teacher's logits."""
    is_control: ClassVar[bool] = False
    """Whether a student may be trained with it without learning from its teachers, only to be compared with them."""

    @property
    @abstractmethod
    def needs_labels(self) -> bool:
        """Whether `loss` needs the true labels; if False, it never uses them."""

    @abstractmethod
    def loss(
        self,
        student_logits: Tensor,
        *,
        teacher_logits: Tensor | None,
        labels: Tensor | None,
        progress: float,
        generator: torch.Generator,
    ) -> Tensor:
        """The loss as a scalar in nats, the mean over the batch.

        student_logits: (batch, classes), float32 or float64; the caller must cast half precision.
        teacher_logits: (members, batch, classes), without gradient.
        labels: (batch,) int64, in [0, classes).
        progress: the fraction of training that is done, in [0, 1).
        generator: the only source of randomness, on the logits' device.

        The loss and its gradient are finite for float32 logits (and logits / temperature) of magnitude up to 1e17.
        Raises ValueError if an argument that the objective needs is missing or if the shapes disagree.
        """

    def at_temperature(self, temperature: float) -> Self:
        """The same objective at another temperature. Raises pydantic's ValidationError if that one is not allowed."""
        return self.model_validate({**self.model_dump(), "temperature": temperature})


def loss_of_parts(
    objectives: Sequence[Objective],
    parts: Sequence[int],
    student_logits: Tensor,
    *,
    teacher_logits: Tensor | None,
    labels: Tensor | None,
    progress: float,
    generator: torch.Generator,
) -> Tensor:
    """The mean loss of a batch whose consecutive `parts` (their sizes, which may be 0) have one objective each.

    Each part's loss, with the factor tau^2 of its own temperature, is weighted by its number of images. The other
    arguments are those of `Objective.loss`, for the whole batch.
    """
    losses = []
    start = 0
    for objective, size in zip(objectives, parts, strict=True):
        rows = slice(start, start + size)
        start += size
        if size > 0:
            loss = objective.loss(
                student_logits[rows],
                teacher_logits=teacher_logits[:, rows] if teacher_logits is not None else None,
                labels=labels[rows] if labels is not None else None,
                progress=progress,
                generator=generator,
            )
            losses.append(loss if size == len(student_logits) else loss * (size / len(student_logits)))
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0]


class DistillationObjective(Objective):
    """alpha * NLL of the true labels + (1 - alpha) * a distance to the teacher (eq. 1, arXiv 2106.05945).

    The NLL is taken at temperature 1, the distance at `temperature`. Subclasses define the distance.
    """

    needs_teacher: ClassVar[bool] = True

    temperature: float = Field(default=1.0, gt=0, le=1e6)
    """tau: both distributions are softmax(logits / tau). An ensemble is averaged first, then tempered."""
    temperature_squared: bool = True
    """Whether the distance is multiplied by tau^2, so that its gradient keeps its size as tau grows (Hinton
    et al. 2015, arXiv 1503.02531). The original code does so for `forward_cross_entropy` only: False reproduces
    its behaviour for other objectives, with a gradient about tau^2 times smaller."""
    alpha: float = Field(default=0.0, ge=0, le=1)
    """Weight of the true labels. At 0, the paper's choice, the labels are not used at all."""
    alpha_final: float | None = Field(default=None, ge=0, le=1)
    """If given, the weight changes linearly from `alpha` at the start of training to this value at its end."""

    @model_validator(mode="after")
    def _annealing_changes_alpha(self) -> Self:
        if self.alpha_final == self.alpha:
            raise ValueError("alpha_final equals alpha: leave alpha_final out for a constant weight")
        return self

    @property
    def needs_labels(self) -> bool:
        return self.alpha > 0 or self.alpha_final is not None

    @abstractmethod
    def distance(self, student_logits: Tensor, teacher_logits: Tensor, generator: torch.Generator) -> Tensor:
        """The distance to the teacher as a scalar, the mean over the batch, without the factor tau^2.

        student_logits (batch, classes), teacher_logits (members, batch, classes).
        """

    def label_weight(self, progress: float) -> float:
        """alpha once the fraction `progress` of training is done."""
        if self.alpha_final is None:
            return self.alpha
        return self.alpha + (self.alpha_final - self.alpha) * progress

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """log softmax(logits / tau) over the last dimension."""
        return F.log_softmax(logits / self.temperature, dim=-1)

    def loss(
        self,
        student_logits: Tensor,
        *,
        teacher_logits: Tensor | None,
        labels: Tensor | None,
        progress: float,
        generator: torch.Generator,
    ) -> Tensor:
        if teacher_logits is None:
            raise ValueError(f"the objective '{self.name}' needs the teacher's logits")
        if teacher_logits.ndim != 3 or teacher_logits.shape[1:] != student_logits.shape:
            raise ValueError(
                f"teacher logits {tuple(teacher_logits.shape)} are not (members, batch, classes) for "
                f"student logits {tuple(student_logits.shape)}"
            )
        distance = self.distance(student_logits, teacher_logits, generator)
        if self.temperature_squared:
            distance = distance * self.temperature**2
        if not self.needs_labels:
            return distance
        if labels is None:
            raise ValueError(f"the objective '{self.name}' needs labels unless alpha is 0 throughout")
        alpha = self.label_weight(progress)
        return alpha * F.cross_entropy(student_logits, labels) + (1 - alpha) * distance
