"""The network of a run before its first step, and what is trained beside it."""

import torch
from torch import nn

from repro.config import StudentConfig, TrainingConfig
from repro.distill.companions import CompanionObjective
from repro.distill.ensemble import Ensemble
from repro.distill.hidden import HiddenObjective
from repro.distill.initialization import Origin
from repro.errors import BadInput
from repro.training.companions import Companions
from repro.training.hidden import HiddenComparison
from repro.training.precision import Precision


def build_network(config: TrainingConfig) -> nn.Module:
    """The network of a run, freshly initialised from torch's global generator. Raises BadInput if it does not fit."""
    dataset = config.data.train.dataset
    return config.model.build(dataset.num_classes, dataset.input_shape)


def check_network(config: TrainingConfig, smallest_batch: int) -> None:
    """Raise BadInput if the network does not fit its inputs, cannot train on the run's smallest batch, or has no trunk
    where the run needs one."""
    dataset = config.data.train.dataset
    asked = smallest_batch == 1 and dataset.input_kind == "images"
    # On the meta device there are only shapes, and a network may ask for values when it is trained.
    with torch.random.fork_rng(devices=[]), torch.device("cpu" if asked else "meta"), torch.no_grad():
        network = build_network(config)
        classifier = config.model.classifier
        if (config.frozen_trunk or config.source is not None) and classifier not in dict(network.named_modules()):
            raise BadInput(
                f"model {config.model.name} has no submodule '{classifier}', so that its trunk, all but that, is not "
                f"known: give the model class's `classifier` the name of the part that makes logits"
            )
        if asked:
            to_training_mode(network, config)
            try:
                network(torch.zeros(1, *dataset.input_shape))
            except ValueError as error:  # BatchNorm's, where a channel has a single value and so no variance
                raise BadInput(
                    f"{config.model.name} cannot train on the batch of one image that an epoch has ({error}): choose "
                    f"another batch_size or micro_batch_size, or last_batch 'drop'"
                ) from error


def initial_network(config: TrainingConfig, teachers: Ensemble | None, source: nn.Module | None = None) -> nn.Module:
    """The network of a run before its first step, on the CPU (before any BatchNorm re-estimation).

    `teachers` are the run's trained teachers, `source` is the trained network of `config.source`; only a start that is
    given in terms of them looks at them. What a frozen trunk holds asks for no gradient.
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
    """The mode that the run's training steps are made in.

    A frozen trunk stays in evaluation mode: its BatchNorm layers use their statistics and leave them alone, and
    nothing is dropped out, so that an input always has the same features.
    """
    network.train(not config.frozen_trunk)
    if config.frozen_trunk:
        network.get_submodule(config.model.classifier).train()


def trained_beside(config: TrainingConfig, precision: Precision) -> HiddenComparison | Companions | None:
    """What the run's objective trains beside the network, or compares of it; None if it looks at logits alone."""
    if isinstance(config, StudentConfig) and isinstance(config.objective, HiddenObjective):
        return HiddenComparison(config, config.objective, precision)
    if isinstance(config.objective, CompanionObjective):
        return Companions(config, config.objective, lambda: build_network(config), precision)
    return None
