"""The network of a run before its first step."""

from torch import nn

from repro.config import StudentConfig, TrainingConfig
from repro.distill.ensemble import Ensemble
from repro.distill.initialization import TeacherPoints


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
