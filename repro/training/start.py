"""The network of a run before its first step, and what is trained alongside it."""

from torch import nn

from repro.config import StudentConfig, TrainingConfig
from repro.distill.companions import CompanionObjective
from repro.distill.ensemble import Ensemble
from repro.distill.hidden import HiddenObjective
from repro.distill.initialization import Origin
from repro.training.companions import Companions
from repro.training.hidden_comparison import HiddenComparison
from repro.training.precision import Precision


def build_network(config: TrainingConfig) -> nn.Module:
    """The network of a run, freshly initialised from torch's global generator. Raises BadInput if it does not fit."""
    dataset = config.data.train.dataset
    return config.model.build(dataset.num_classes, dataset.input_shape)


def initial_network(config: TrainingConfig, teachers: Ensemble | None, source: nn.Module | None = None) -> nn.Module:
    """The network of a run before its first step, on the CPU (before any BatchNorm re-estimation).

    `teachers` are the run's trained teachers, `source` is the trained network of `config.source`; only initialisations
    that depend on them use them. The parameters of a frozen trunk do not require gradients.
    """
    origin = None
    if config.source is not None and source is not None:
        origin = _origin(config.source, source)
    elif isinstance(config, StudentConfig) and config.init.needs_teacher and teachers is not None:
        origin = _origin(config.teachers[0], teachers.members[0])
    network = config.init.initialize(lambda: build_network(config), config.stream_seed("init"), origin)
    if config.frozen_trunk:
        network.requires_grad_(False)
        network.get_submodule(config.model.classifier).requires_grad_(True)
    return network


def _origin(parent: TrainingConfig, final: nn.Module) -> Origin:
    return Origin(initial=lambda: initial_network(parent, None), final=final)


def to_training_mode(network: nn.Module, config: TrainingConfig) -> None:
    """Put the network into the mode of the run's training steps.

    A frozen trunk stays in evaluation mode: its BatchNorm layers use their running statistics without updating them,
    and there is no dropout, so that an input always has the same features.
    """
    network.train(not config.frozen_trunk)
    if config.frozen_trunk:
        network.get_submodule(config.model.classifier).train()


def trained_beside(config: TrainingConfig, precision: Precision) -> HiddenComparison | Companions | None:
    """What the run's objective trains alongside the network, or compares inside it; None if it uses only logits."""
    if isinstance(config, StudentConfig) and isinstance(config.objective, HiddenObjective):
        return HiddenComparison(config, config.objective, precision)
    if isinstance(config.objective, CompanionObjective):
        return Companions(config, config.objective, lambda: build_network(config), precision)
    return None
