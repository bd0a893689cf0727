"""The hidden layers that an objective compares, captured in the forward passes of student and teachers."""

import math
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from repro.config import StudentConfig
from repro.distill.ensemble import Ensemble
from repro.distill.hidden import HiddenObjective
from repro.models.stages import capture_stages
from repro.training.batches import Batch
from repro.training.evaluation import BATCH, stream_inputs
from repro.training.precision import Precision

MOST_REMEMBERED = 2**30
"""At most this many bytes of the teachers' layers are kept in memory, if teachers always see the same inputs."""


class TeacherView(NamedTuple):
    """The teachers' outputs for n inputs: logits (members, n, classes) and each member's compared layers; all
    float32."""

    logits: Tensor
    layers: list[list[Tensor]]

    def at(self, rows: Tensor) -> "TeacherView":
        """The view of the inputs at `rows` (int64)."""
        layers = [[layer.index_select(0, rows) for layer in of_member] for of_member in self.layers]
        return TeacherView(self.logits.index_select(1, rows), layers)


def bytes_per_input(config: StudentConfig, objective: HiddenObjective) -> int:
    """How many bytes of memory the teachers' compared layers take for one input."""
    stages = [teacher.stage_shapes for teacher in config.teachers]
    compared = [math.prod(of[name]) for of in stages for _, name in objective.pairs(config.stage_shapes, of)]
    return 4 * sum(compared)


class HiddenComparison(nn.Module):
    """Compares a student's hidden layers with each teacher's; holds what the objective trains with the student."""

    def __init__(self, config: StudentConfig, objective: HiddenObjective, precision: Precision) -> None:
        super().__init__()
        self.precision = precision
        self.objective = objective
        self.pairs = [objective.pairs(config.stage_shapes, teacher.stage_shapes) for teacher in config.teachers]
        self.trained = nn.ModuleList()
        for number, teacher in enumerate(config.teachers):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.stream_seed("objective modules", number))
                self.trained.append(objective.modules_of(config.stage_shapes, teacher.stage_shapes))
        self.bytes_per_input = bytes_per_input(config, objective)
        self.remembered: TeacherView | None = None

    def remember(self, teachers: Ensemble, inputs: Tensor) -> None:
        """Compute and keep the teachers' view of all training inputs, as stored, unless it takes too much memory."""
        if len(inputs) * self.bytes_per_input > MOST_REMEMBERED:
            return
        rows = torch.split(torch.arange(len(inputs)), BATCH)
        views = [self.view(teachers, batch) for batch in stream_inputs(inputs, rows)]
        layers = [
            [torch.cat([view.layers[member][pair] for view in views]) for pair in range(len(pairs))]
            for member, pairs in enumerate(self.pairs)
        ]
        self.remembered = TeacherView(torch.cat([view.logits for view in views], dim=1), layers)

    def view(self, teachers: Ensemble, inputs: Tensor) -> TeacherView:
        """The teachers' view of inputs as a network takes them."""
        with ExitStack() as captures:
            outputs = [captures.enter_context(capture_stages(member)) for member in teachers.members]
            with self.precision.networks():
                logits = teachers(inputs).float()
        layers = [[out[name].float() for _, name in pairs] for out, pairs in zip(outputs, self.pairs, strict=True)]
        return TeacherView(logits, layers)

    def forward(
        self,
        student: nn.Module,
        teachers: Ensemble,
        batch: Batch,
        progress: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The student's logits (batch, classes), the teachers' (members, batch, classes), and the weighted distance
        between their layers."""
        theirs = self.view(teachers, batch.inputs) if self.remembered is None else self.remembered.at(batch.indices)
        with capture_stages(student) as own, self.precision.networks():
            logits = student(batch.inputs).float()
        distances = []
        for pairs, layers, modules in zip(self.pairs, theirs.layers, self.trained, strict=True):
            assert isinstance(modules, nn.ModuleList)
            ours = [own[name].float() for name, _ in pairs]
            distances.append(self.objective.hidden_distance(ours, layers, modules))
        return logits, theirs.logits, self.objective.weight_at(progress) * torch.stack(distances).mean()
