"""Which parts of a run can be combined: the checks of its config beyond each part's own bounds.

Every rule raises a ValueError that says what does not fit; `repro.config` calls the rules when a config is created.
"""

from typing import TYPE_CHECKING

from pydantic import ValidationError

from repro.distill.companions import CompanionObjective
from repro.distill.hidden import HiddenObjective
from repro.distill.initialization import Interpolated, Pretrained, Random

if TYPE_CHECKING:
    from repro.config.data import Selection
    from repro.config.schema import GeneratorConfig, StudentConfig, TrainingConfig


def check_training(config: "TrainingConfig") -> None:
    """Raise ValueError if parts of a teacher or student are incompatible."""
    _check_trunk(config)
    _check_compiled(config)
    _check_inputs(config)
    check_schedule(config)
    _check_streams(config)
    _check_micro_batches(config)
    _check_files(config)
    _check_labels(config)
    _check_temperatures(config)
    _check_companions(config)


def check_student(config: "StudentConfig") -> None:
    """Raise ValueError if a student and its teachers are incompatible."""
    _check_merge(config)
    _check_teachers(config)
    _check_compiled_teachers(config)
    _check_hidden_layers(config)


def _check_trunk(config: "TrainingConfig") -> None:
    if isinstance(config.init, Pretrained):
        config.init.check(config.model, config.data.train.dataset)
    if config.frozen_trunk and isinstance(config.objective, HiddenObjective | CompanionObjective):
        raise ValueError(
            f"frozen_trunk does not work with {config.objective.name}, which trains more than a classifier"
        )


def _check_compiled(config: "TrainingConfig") -> None:
    if config.compiled and isinstance(config.objective, HiddenObjective | CompanionObjective):
        raise ValueError(
            f"compiled does not work with {config.objective.name}, which needs more than student and teacher logits"
        )
    if config.compiled:
        _check_compiles(config)


def _check_compiles(network: "TrainingConfig") -> None:
    if not network.model.compiles:
        raise ValueError(
            f"compiled does not work with {network.model.name}, which torch.compile cannot compile as a whole"
        )


def _check_compiled_teachers(config: "StudentConfig") -> None:
    if config.compiled and config.objective.needs_teacher:
        for teacher in config.teachers:
            _check_compiles(teacher)


def _check_inputs(config: "TrainingConfig") -> None:
    dataset = config.data.train.dataset
    if config.model.input_kind != dataset.input_kind:
        raise ValueError(
            f"the model {config.model.name} reads {config.model.input_kind}, {dataset.name} holds {dataset.input_kind}"
        )
    if dataset.input_kind != "images" and config.augmentation:
        name = config.augmentation[0].name
        raise ValueError(f"the augmentation {name} changes images, {dataset.name} holds {dataset.input_kind}: use none")


def check_schedule(config: "TrainingConfig | GeneratorConfig") -> None:
    """Raise ValueError if the learning rate would never reach its peak."""
    if config.schedule.warmup_epochs >= config.epochs:
        raise ValueError(f"schedule.warmup_epochs {config.schedule.warmup_epochs} must be below epochs {config.epochs}")


def _check_streams(config: "TrainingConfig") -> None:
    counts = config.stream_counts
    if 0 in counts:
        share = config.data.streams[counts.index(0)].share
        raise ValueError(f"a stream's share {share} of batch_size {config.batch_size} is less than half an image")
    if sum(counts) >= config.batch_size:
        raise ValueError(f"the streams fill all of batch_size {config.batch_size} and leave the run's images no room")


def _check_micro_batches(config: "TrainingConfig") -> None:
    if config.micro_batch_size is not None and config.micro_batch_size > config.batch_size:
        raise ValueError(f"micro_batch_size {config.micro_batch_size} is above batch_size {config.batch_size}")
    if config.micro_batch_size is not None and config.data.streams:
        raise ValueError("micro_batch_size does not work with streams, which would be cut into unequal mixtures")


def _check_files(config: "TrainingConfig") -> None:
    in_files = [dataset.name for dataset in config.data.datasets if dataset.stays_in_files]
    if in_files and (config.data.pools or config.data.streams or config.data.generated):
        raise ValueError(
            f"data set {in_files[0]} stays in files: it cannot be used with pools, streams or generated images"
        )
    mixing = [augmentation.name for augmentation in config.augmentation if augmentation.mixes_images]
    if in_files and mixing:
        raise ValueError(f"images of {in_files[0]} are augmented one at a time, but {mixing[0]} mixes several")


def _check_labels(config: "TrainingConfig") -> None:
    if config.objective.needs_labels:
        sources = {
            "pools": config.data.pools,
            "generated images": config.data.generated,
            "streams": config.data.streams,
        }
        without = [name for name, images in sources.items() if images]
        if without:
            raise ValueError(f"the objective {config.objective.name} needs labels, which {without[0]} do not have")
        mixing = [augmentation.name for augmentation in config.augmentation if augmentation.mixes_images]
        if mixing:
            raise ValueError(f"the objective {config.objective.name} needs labels, which {mixing[0]} destroys")


def _check_temperatures(config: "TrainingConfig") -> None:
    try:
        _ = config.objectives
    except ValidationError as error:
        cause = error.errors()[0].get("ctx", {}).get("error", f"{config.objective.name} has no temperature")
        raise ValueError(f"a stream's temperature: {cause}") from error


def _check_companions(config: "TrainingConfig") -> None:
    if isinstance(config.objective, CompanionObjective):
        if config.micro_batch_size is not None:
            raise ValueError(f"micro_batch_size does not work with {config.objective.name}, which trains companions")
        config.objective.check_stages(config.stage_shapes)


def _check_merge(config: "StudentConfig") -> None:
    if config.merge is not None:
        config.merge.check(config.known_classes, config.data.train.dataset.num_classes)


def _check_teachers(config: "StudentConfig") -> None:
    if not config.objective.needs_teacher and not config.objective.is_control:
        raise ValueError(f"a student needs an objective with a teacher, not {config.objective.name}")
    if config.init.needs_teacher and [teacher.model for teacher in config.teachers] != [config.model]:
        raise ValueError(f"init {config.init.name} needs exactly one teacher, of the student's own architecture")
    from_initial = isinstance(config.init, Interpolated) and config.init.endpoint == "initial"
    if from_initial and not isinstance(config.teachers[0].init, Random):
        raise ValueError("init interpolated: endpoint 'initial' needs a teacher whose own init is random")
    own = config.data.train.dataset
    for number, teacher in enumerate(config.teachers):
        if teacher in config.teachers[:number]:
            raise ValueError(
                f"teacher {number} is the same run as teacher {config.teachers.index(teacher)}: "
                f"give it a seed of its own (teachers.{number}.seed)"
            )
        dataset = teacher.data.train.dataset
        if dataset.num_classes != own.num_classes:
            raise ValueError(
                f"its teacher has {dataset.num_classes} classes ({dataset.name}), "
                f"the student {own.num_classes} ({own.name})"
            )
        if problem := own.mismatch(dataset):
            raise ValueError(f"its teacher's data do not fit: {problem}")
        _check_halves(config.data.train, teacher.data.train)


def _check_halves(own: "Selection", teachers: "Selection") -> None:
    """D1 holds images that are not in D0 only if both are halves of the same images."""
    if own.half is None or teachers.half is None or own.dataset != teachers.dataset:
        return
    for key in ("size", "fraction", "seed"):
        if (ours := getattr(own, key)) != (theirs := getattr(teachers, key)):
            raise ValueError(
                f"{own.half} and its teacher's {teachers.half} are halves of different images, and may overlap: "
                f"data.train.{key} is {ours}, its teacher's is {theirs}; give both the same"
            )


def _check_hidden_layers(config: "StudentConfig") -> None:
    if isinstance(config.objective, HiddenObjective):
        if config.micro_batch_size is not None:
            raise ValueError(
                f"micro_batch_size does not work with {config.objective.name}, which compares whole batches"
            )
        for teacher in config.teachers:
            config.objective.check_layers(config.stage_shapes, teacher.stage_shapes)
