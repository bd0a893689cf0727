"""The base of objectives without a trained teacher, in which companions of the student learn alongside it."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from repro.distill.hidden import Shape
from repro.distill.supervised import LabelObjective


class CompanionObjective(LabelObjective):
    """The student's cross-entropy to the true labels + the loss of its *companions*, trained with it from the start.

    A companion is a separate network (a peer) or a classifier on one of the student's stages (an exit). The engine
    trains companions with the student's optimizer, keeps them in the checkpoint, and records how well each classifies
    and agrees with the student. They are not part of the student, its weights or its parameter count.

    A student may be trained this way without learning from its teachers, only to be compared with them.
    """

    is_control: ClassVar[bool] = True

    @property
    def networks(self) -> int:
        """How many networks of the student's architecture are trained, including the student: the cost of a step."""
        return 1

    @abstractmethod
    def companions(self, build: Callable[[], nn.Module], stages: Mapping[str, Shape], classes: int) -> nn.ModuleDict:
        """The companions by name, freshly initialised from torch's global generator; `Companion` says how to call them.

        build: creates another network of the student's architecture. stages: the shapes of the student's stage outputs
        for one input, input side first.
        """

    def check_stages(self, stages: Mapping[str, Shape]) -> None:
        """Raise ValueError if a network with these stages cannot have such companions."""

    @abstractmethod
    def companion_loss(
        self, student_logits: Tensor, companion_logits: Tensor, labels: Tensor, progress: float
    ) -> Tensor:
        """The loss except the student's cross-entropy to the labels: a scalar in nats, the mean over the batch.

        student_logits (batch, classes); companion_logits (companions, batch, classes), with gradient; labels (batch,);
        progress: the fraction of training that is done, in [0, 1).
        """


class Companion(nn.Module):
    """Predicts the classes of the inputs (batch, ...), given the outputs `stages` of the student's stages for them."""

    @abstractmethod
    def forward(self, inputs: Tensor, stages: Mapping[str, Tensor]) -> Tensor:
        """Logits (batch, classes)."""
