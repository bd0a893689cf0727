"""The network of a run before its first step, and what is trained beside it."""

from torch import nn

from repro.config import StudentConfig, TrainingConfig
from repro.distill.companions import CompanionObjective
from repro.distill.ensemble import Ensemble
from repro.distill.hidden import HiddenObjective
from repro.distill.initialization import TeacherPoints
from repro.training.companions import Companions
from repro.training.hidden import HiddenComparison


def build_network(config: TrainingConfig) -> nn.Module:
    """The network of a run, freshly initialised from torch's global generator. Raises BadInput if it does not fit."""
    dataset = config.data.train.dataset
    return config.model.build(dataset.num_classes, dataset.input_shape)


def initial_network(config: TrainingConfig, teachers: Ensemble | None) -> nn.Module:
    """The network of a run before its first step, on the CPU (before any BatchNorm re-estimation).

    `teachers` are the run's trained teachers; only a start that is given in terms of them looks at them.
    """
    points = None
    if isinstance(config, StudentConfig) and config.init.needs_teacher and teachers is not None:
        (parent,) = config.teachers
        points = TeacherPoints(initial=lambda: initial_network(parent, None), final=teachers.members[0])
    return config.init.initialize(lambda: build_network(config), config.stream_seed("init"), points)


def trained_beside(config: TrainingConfig) -> HiddenComparison | Companions | None:
    """What the run's objective trains beside the network, or compares of it; None if it looks at logits alone."""
    if isinstance(config, StudentConfig) and isinstance(config.objective, HiddenObjective):
        return HiddenComparison(config, config.objective)
    if isinstance(config.objective, CompanionObjective):
        return Companions(config, config.objective, lambda: build_network(config))
    return None
