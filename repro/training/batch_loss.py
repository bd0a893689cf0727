"""The loss of a batch: the forward passes of student and teachers, then the objective."""

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
from repro.training.hidden_comparison import HiddenComparison
from repro.training.precision import Precision
from repro.training.start import trained_beside


class BatchLoss:
    """The training loss of a run's network, with the state that is needed to compute it.

    beside: what the objective trains alongside the network, or compares inside it; None for most objectives.
    teacher_logits: (members, n, classes) for all training examples, if they were computed in advance.
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
        # What a training step calls: the networks themselves, or compiled versions of them.
        self.ask_student: Callable[[Tensor], Tensor] = network
        self.ask_teachers: Callable[[Tensor], Tensor] | None = self.teachers
        if config.compiled:
            self.ask_student, self.ask_teachers = compiled(network, self.teachers)

    def remember_teachers(self, inputs: Tensor, ranks: Ranks) -> None:
        """Run the teachers once on all training inputs as stored; only for batches that consist of exactly these."""
        if self.teachers is None:
            return
        if isinstance(self.beside, HiddenComparison):
            self.beside.remember(self.teachers, inputs)
            return
        with self.precision.networks():
            logits = predict_members(self.teachers, inputs, ranks)
        self.teacher_logits = logits.float()

    def __call__(self, batch: Batch, progress: float, generator: torch.Generator) -> Tensor:
        """The mean loss over a batch, as a scalar; `progress` and `generator` are passed to the objective."""
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
            # Labels that the objective does not need are never passed on, so they cannot leak.
            labels=batch.labels if self.config.objective.needs_labels else None,
            progress=progress,
            generator=generator,
        )
        return loss if loss_beside is None else loss + loss_beside
