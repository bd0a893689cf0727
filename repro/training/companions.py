"""Companions, which are trained alongside a student and predict the same classes: peers, or exits on its stages."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from repro.config import TrainingConfig
from repro.distill.companions import CompanionObjective
from repro.distill.ensemble import Ensemble
from repro.metrics.fidelity import agreement
from repro.metrics.generalization import accuracy
from repro.models.stages import capture_stages
from repro.training.batches import Batch
from repro.training.evaluation import BATCH, EvaluationSet, stream_inputs
from repro.training.precision import Precision


class Companions(nn.Module):
    """A run's companions, initialised from their own random stream; `build` creates another student network."""

    def __init__(
        self,
        config: TrainingConfig,
        objective: CompanionObjective,
        build: Callable[[], nn.Module],
        precision: Precision,
    ) -> None:
        super().__init__()
        self.precision = precision
        self.objective = objective
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.stream_seed("companions"))
            classes = config.data.train.dataset.num_classes
            companions = objective.companions(build, config.stage_shapes, classes)
        self.trained = companions.to(memory_format=torch.channels_last)

    def forward(
        self,
        student: nn.Module,
        teachers: Ensemble | None,  # noqa: ARG002
        batch: Batch,
        progress: float,
    ) -> tuple[Tensor, None, Tensor]:
        """The student's logits (batch, classes), None for the teachers', and the loss to be added to the student's."""
        with self.precision.networks():
            student_logits, companion_logits = (logits.float() for logits in self._predict(student, batch.inputs))
        loss = self.objective.companion_loss(student_logits, companion_logits, batch.labels, progress)
        return student_logits, None, loss

    def _predict(self, student: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        with capture_stages(student) as stages:
            student_logits = student(inputs)
        return student_logits, torch.stack([companion(inputs, stages) for companion in self.trained.values()])

    @torch.no_grad()
    def measure(self, student: nn.Module, evaluation: EvaluationSet) -> dict[str, Tensor]:
        """`<name>/agreement` of each companion with the student and, if the labels are known, `<name>/accuracy`."""
        modes = student.training, self.training
        student.eval(), self.eval()
        rows = torch.split(torch.arange(len(evaluation.inputs)), BATCH)
        predicted = [self._predict(student, inputs) for inputs in stream_inputs(evaluation.inputs, rows)]
        student.train(modes[0]), self.train(modes[1])
        student_logits = torch.cat([own for own, _ in predicted])
        metrics = {}
        for name, logits in zip(self.trained, torch.cat([others for _, others in predicted], dim=1), strict=True):
            metrics[f"{name}/agreement"] = agreement(student_logits, logits)
            if evaluation.labels is not None:
                metrics[f"{name}/accuracy"] = accuracy(logits, evaluation.labels)
        return metrics
