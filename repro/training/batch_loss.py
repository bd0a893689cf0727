"""The loss of a batch: the forward passes of student and teachers, and what the objective makes of them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from repro.config import TrainingConfig
from repro.distill.ensemble import Ensemble
from repro.distill.objective import loss_of_parts
from repro.training.batches import Batch
from repro.training.compiled import compiled
from repro.training.distributed import Ranks
from repro.training.evaluation import predict_members
from repro.training.hidden import HiddenComparison
from repro.training.precision import Precision
from repro.training.start import trained_beside


class BatchLoss:
    """The loss of a run's network in training, and what a run keeps to compute it.

    beside: what the objective trains beside the network, or compares of it; None for most objectives.
    teacher_logits: (members, n, classes) of all training examples, if the teachers were asked once and for all.
    """

    def __init__(
        self, config: TrainingConfig, network: nn.Module, teachers: Ensemble | None, device: torch.device
    ) -> None:
        self.config = config
        self.network = network
        self.teachers = teachers if config.objective.needs_teacher else None
        self.precision = Precision(config.precision, device)
        self.beside = trained_beside(config, self.precision)
        if self.beside is not None:
            self.beside.to(device)
        self.teacher_logits: Tensor | None = None
        # What a step asks instead of the networks themselves.
        self.ask_student: Callable[[Tensor], Tensor] = network
        self.ask_teachers: Callable[[Tensor], Tensor] | None = self.teachers
        if config.compiled:
            self.ask_student, self.ask_teachers = compiled(network, self.teachers)

    def remember_teachers(self, inputs: Tensor, ranks: Ranks) -> None:
        """Ask the teachers once, about all training inputs as stored; for batches that consist of just these."""
        if self.teachers is None:
            return
        if isinstance(self.beside, HiddenComparison):
            self.beside.remember(self.teachers, inputs)
            return
        with self.precision.networks():
            logits = predict_members(self.teachers, inputs, ranks)
        self.teacher_logits = logits.float()

    def __call__(self, batch: Batch, progress: float, generator: torch.Generator) -> Tensor:
        """The mean loss over a batch, as a scalar; `progress` and `generator` are the objective's."""
        teacher_logits: Tensor | None = None
        loss_beside: Tensor | None = None
        if self.beside is not None:
            student_logits, teacher_logits, loss_beside = self.beside(self.network, self.teachers, batch, progress)
        else:
            with self.precision.networks():
                if self.teacher_logits is not None:
                    teacher_logits = self.teacher_logits.index_select(1, batch.indices)
                elif self.ask_teachers is not None:
                    teacher_logits = self.ask_teachers(batch.inputs).float()
                student_logits = self.ask_student(batch.inputs).float()
        loss = loss_of_parts(
            self.config.objectives,
            batch.parts,
            student_logits,
            teacher_logits=teacher_logits,
            # Labels that the objective does not need are never handed over, so they cannot leak.
            labels=batch.labels if self.config.objective.needs_labels else None,
            progress=progress,
            generator=generator,
        )
        return loss if loss_beside is None else loss + loss_beside
