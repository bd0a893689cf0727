"""The hidden layers that an objective compares: caught in the forward passes of student and teachers."""

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from repro.config import StudentConfig, TrainingConfig
from repro.distill.ensemble import Ensemble
from repro.distill.hidden import HiddenObjective
from repro.models.features import capture_stages


class HiddenComparison(nn.Module):
    """A student's hidden layers against those of each teacher, and what the objective trains with the student."""

    def __init__(self, config: StudentConfig, objective: HiddenObjective) -> None:
        super().__init__()
        self.objective = objective
        self.pairs = [objective.pairs(config.stage_shapes, teacher.stage_shapes) for teacher in config.teachers]
        self.trained = nn.ModuleList()
        for number, teacher in enumerate(config.teachers):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.stream_seed("objective modules", number))
                self.trained.append(objective.modules_of(config.stage_shapes, teacher.stage_shapes))

    def forward(self, student: nn.Module, teachers: Ensemble, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The student's logits (batch, classes), the teachers' (members, batch, classes), and the weighted distance
        between their layers."""
        with ExitStack() as captures:
            own = captures.enter_context(capture_stages(student))
            theirs = [captures.enter_context(capture_stages(member)) for member in teachers.members]
            logits, teacher_logits = student(inputs), teachers(inputs)
        distances = []
        for pairs, layers, modules in zip(self.pairs, theirs, self.trained, strict=True):
            assert isinstance(modules, nn.ModuleList)
            ours, others = [own[name] for name, _ in pairs], [layers[name] for _, name in pairs]
            distances.append(self.objective.hidden_distance(ours, others, modules))
        return logits, teacher_logits, self.objective.weight * torch.stack(distances).mean()


def compare_hidden_layers(config: TrainingConfig) -> HiddenComparison | None:
    """What the run's objective compares and trains beside the student; None if it looks at logits alone."""
    if isinstance(config, StudentConfig) and isinstance(config.objective, HiddenObjective):
        return HiddenComparison(config, config.objective)
    return None
