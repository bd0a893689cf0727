"""Checks, before a run is started, that it can be trained with its network, objective, optimizer and augmentations.

These may be user-defined classes, which could return anything.
"""

import math

import torch
from torch import Tensor, nn

from repro.config import GeneratorConfig, StudentConfig, TrainingConfig
from repro.data.augmentation import Augmentation
from repro.data.dataset import Dataset, as_input
from repro.distill.companions import CompanionObjective
from repro.distill.divergences import DivergenceObjective
from repro.distill.hidden import HiddenObjective, Shape
from repro.distill.objective import DistillationObjective
from repro.errors import BadInput, blamed_on
from repro.models.stages import capture_stages, stage_shapes
from repro.optimization import optimizers
from repro.training.start import build_network, to_training_mode

ROUNDING = 1e-4
"""How far an augmentation's images may exceed their range."""
SEEDS = 8
"""How often an augmentation is tried: a change that it rarely makes is not seen at once."""


def check_parts(config: TrainingConfig, smallest_batch: int) -> None:
    """Raise BadInput if one of them is unusable; `smallest_batch` is the size of the run's smallest batch."""
    _check_network(config, smallest_batch)
    with blamed_on(f"objective {config.objective.name}"):
        _check_objective(config, smallest_batch)
        if isinstance(config.objective, CompanionObjective):
            _check_companions(config, config.objective)
    if isinstance(config, StudentConfig) and config.merge is not None:
        classes = config.data.train.dataset.num_classes
        members = torch.randn(len(config.teachers), 3, classes, generator=torch.Generator())
        with blamed_on(f"merge {config.merge.name}"):
            _check_logits(f"{config.merge.name}: merge", config.merge.merge(members, config.known_classes), classes)
    for augmentation in config.augmentation:
        with blamed_on(f"augmentation {augmentation.name}"):
            _check_augmentation(augmentation, config.data.train.dataset.input_shape)


def check_optimization(config: TrainingConfig | GeneratorConfig) -> None:
    """Raise BadInput if the optimizer cannot take a step as the engine asks for it, or if the schedule gives no
    learning rate for an epoch."""
    # The suite's own are left out, since building any loads torch's compiler, which takes a second or two.
    if type(config.optimizer).__module__ != optimizers.__name__:
        _check_optimizer(config.optimizer)
    name, peak = config.schedule.name, config.optimizer.learning_rate
    with blamed_on(f"schedule {name}"):
        for epoch in range(config.epochs):
            rate = config.schedule.learning_rate(peak, step=epoch, steps_per_epoch=1, epochs=config.epochs)
            if not (isinstance(rate, float | int) and 0 <= rate < math.inf):
                raise BadInput(f"{name}: its learning rate in epoch {epoch} is {rate}; it must be a number from 0 on")


def _check_optimizer(optimizer: optimizers.Optimizer) -> None:
    parameter = nn.Parameter(torch.ones(3, 3))
    parameter.grad = torch.ones(3, 3)
    with blamed_on(f"optimizer {optimizer.name}"):
        built = optimizer.build(iter([parameter]))
        if not isinstance(built, torch.optim.Optimizer):
            raise BadInput(f"{optimizer.name}: build gives {type(built).__name__}, not a torch Optimizer")
        built.step()


def _check_network(config: TrainingConfig, smallest_batch: int) -> None:
    """Raise BadInput if the network does not fit its inputs, cannot train on the run's smallest batch, or has no trunk
    although the run needs one."""
    dataset, name = config.data.train.dataset, config.model.name
    stage_shapes(config.model, dataset.num_classes, dataset.input_shape)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), blamed_on(f"model {name}, in training mode"):
        network = build_network(config).to(memory_format=torch.channels_last)
        classifier = config.model.classifier
        if (config.frozen_trunk or config.source is not None) and classifier not in dict(network.named_modules()):
            raise BadInput(
                f"model {name} has no submodule '{classifier}', so its trunk (everything else) is "
                f"unknown: set the model class's `classifier` to the name of the part that makes logits"
            )
        to_training_mode(network, config)
        _check_logits(f"model {name}, in training mode,", network(_inputs(dataset, 3)), dataset.num_classes)
        if smallest_batch == 1:
            try:
                network(_inputs(dataset, 1))
            except ValueError as error:  # raised by BatchNorm if a channel has a single value and so no variance
                raise BadInput(
                    f"{name} cannot train on a batch of one image, which every epoch has ({error}): "
                    f"choose another batch_size or micro_batch_size, or last_batch 'drop'"
                ) from error


def _inputs(dataset: Dataset, count: int) -> Tensor:
    """Inputs as a network takes them: grey images, with channels last, or texts without tokens."""
    if dataset.input_kind == "images":
        return as_input(torch.full((count, *dataset.input_shape), 0.5))
    return torch.zeros(count, dataset.input_shape[0]).long()


def _made_up_layer(count: int, shape: Shape, generator: torch.Generator) -> Tensor:
    """The outputs (count, *shape) of a hidden layer; maps with channels last, as networks give them in training."""
    layer = torch.randn(count, *shape, generator=generator)
    return layer.contiguous(memory_format=torch.channels_last) if len(shape) == 3 else layer


def _check_objective(config: TrainingConfig, smallest_batch: int) -> None:
    """Raise BadInput if the objective's loss on three made-up inputs, or as many as the run's smallest batch has if
    they are fewer, is not one that a network can be trained with."""
    objective, classes = config.objective, config.data.train.dataset.num_classes
    generator = torch.Generator().manual_seed(0)
    teachers = len(config.teachers) if isinstance(config, StudentConfig) and config.merge is None else 1
    student_logits = torch.randn(3, classes, generator=generator, requires_grad=True)
    teacher_logits = torch.randn(teachers, 3, classes, generator=generator)
    if isinstance(objective, DivergenceObjective):
        log_p, log_q = teacher_logits[0].log_softmax(dim=-1), student_logits.log_softmax(dim=-1)
        distances = objective.divergence(log_p, log_q)
        found = tuple(distances.shape) if isinstance(distances, Tensor) else type(distances).__name__
        if found != (3,):
            raise BadInput(f"{objective.name}: divergence gives {found} for 3 inputs, not a distance for each, (3,)")
    if isinstance(objective, DistillationObjective):
        _check_loss(f"{objective.name}: distance", objective.distance(student_logits, teacher_logits, generator))
    loss, again = (
        objective.loss(
            student_logits,
            teacher_logits=teacher_logits if objective.needs_teacher else None,
            labels=torch.arange(3) % classes if objective.needs_labels else None,
            progress=0.0,
            generator=torch.Generator().manual_seed(0),
        )
        for _ in range(2)
    )
    _check_loss(f"{objective.name}: the loss", loss)
    if not torch.allclose(loss, again):
        raise BadInput(f"{objective.name}: equal generators give different losses: draw from `generator` alone")
    if isinstance(objective, HiddenObjective) and isinstance(config, StudentConfig):
        student, teacher = config.stage_shapes, config.teachers[0].stage_shapes
        pairs = objective.pairs(student, teacher)
        own, other = (
            [_made_up_layer(min(3, smallest_batch), shapes[name], generator) for name in names]
            for shapes, names in zip((student, teacher), zip(*pairs, strict=True), strict=True)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            modules = objective.modules_of(student, teacher)
        distance = objective.hidden_distance([layer.requires_grad_() for layer in own], other, modules)
        _check_loss(f"{objective.name}: hidden_distance", distance)


def _check_companions(config: TrainingConfig, objective: CompanionObjective) -> None:
    """Raise BadInput unless the companions of an untrained network are modules that predict classes, with a loss."""
    dataset = config.data.train.dataset
    inputs = _inputs(dataset, 3)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        companions = objective.companions(lambda: build_network(config), config.stage_shapes, dataset.num_classes)
        if not isinstance(companions, nn.ModuleDict) or not companions:
            found = "an empty one" if isinstance(companions, nn.ModuleDict) else type(companions).__name__
            raise BadInput(f"{objective.name}: companions gives {found}, not an nn.ModuleDict of companions")
        companions.to(memory_format=torch.channels_last)
        network = build_network(config).to(memory_format=torch.channels_last).eval()
        with capture_stages(network) as stages:
            network(inputs)
        for name, companion in companions.eval().items():
            _check_logits(f"{objective.name}: companion '{name}'", companion(inputs, stages), dataset.num_classes)
    logits = torch.randn(1 + len(companions), 3, dataset.num_classes, generator=torch.Generator()).requires_grad_()
    loss = objective.companion_loss(logits[0], logits[1:], torch.arange(3) % dataset.num_classes, 0.0)
    _check_loss(f"{objective.name}: companion_loss", loss)


def _check_logits(what: str, value: object, classes: int) -> None:
    """Raise BadInput unless these are logits for three inputs."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.shape != (3, classes):
        found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise BadInput(f"{what} gives {found} for 3 inputs, not logits (3, {classes})")


def _check_loss(what: str, value: object) -> None:
    """Raise BadInput unless it is a finite scalar tensor with a gradient."""
    if not isinstance(value, Tensor):
        raise BadInput(f"{what} is {type(value).__name__}; it must be a tensor, a scalar")
    if value.shape != ():
        raise BadInput(f"{what} has the shape {tuple(value.shape)}; it must be a scalar, ()")
    if not value.requires_grad:
        raise BadInput(f"{what} has no gradient, as it does not depend on the student")
    if not value.isfinite():
        raise BadInput(f"{what} is {value.item()} for three made-up inputs; it must be finite")


def _check_augmentation(augmentation: Augmentation, input_shape: tuple[int, ...]) -> None:
    """Raise BadInput unless the augmentation returns images of the same number, shape and dtype, in [0, 1], which
    follow from its generator and, unless it says that it mixes images, each from its own image."""
    images = torch.rand(3, *input_shape, generator=torch.Generator().manual_seed(0))
    others = torch.cat([images[:2], 1 - images[2:]])
    for seed in range(SEEDS):
        changed, again, among_others = (
            augmentation(given.clone(), torch.Generator().manual_seed(seed)) for given in (images, images, others)
        )
        if not isinstance(changed, Tensor) or (changed.dtype, changed.shape) != (images.dtype, images.shape):
            found = f"{changed.dtype} {tuple(changed.shape)}" if isinstance(changed, Tensor) else type(changed).__name__
            raise BadInput(f"{augmentation.name}: for images {images.dtype} {tuple(images.shape)} it returns {found}")
        if not -ROUNDING <= changed.min() <= changed.max() <= 1 + ROUNDING:
            found = f"{changed.min():.3g} to {changed.max():.3g}"
            raise BadInput(f"{augmentation.name}: for images from 0 to 1 it returns values from {found}")
        if not torch.allclose(changed, again, atol=ROUNDING):
            raise BadInput(f"{augmentation.name}: equal generators give different images: draw from `generator` alone")
        if not augmentation.mixes_images and not torch.allclose(changed[:2], among_others[:2], atol=ROUNDING):
            raise BadInput(
                f"{augmentation.name}: what it makes of an image depends on the others of the batch: "
                f"it needs `mixes_images: ClassVar[bool] = True`"
            )
