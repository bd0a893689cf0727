"""How many images pass through which network in a run: what the training engine does, counted without doing it."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from repro.config import StudentConfig, TeacherConfig, TrainingConfig
from repro.distill.companions import CompanionObjective
from repro.distill.hidden import HiddenObjective
from repro.launch.plan import examples_of, images_to_train
from repro.metrics.cka import MINIMUM_BATCH
from repro.training.hidden import MOST_REMEMBERED, bytes_per_input
from repro.training.trainer import TRAIN_SAMPLE

Network: TypeAlias = tuple[str, tuple[int, ...], int]
"""What decides the speed of a network: its config as JSON, the shape of its images, the number of classes."""


def network_of(config: TrainingConfig) -> Network:
    """The network that a run trains."""
    dataset = config.data.train.dataset
    return network(config.model.model_dump(mode="json"), dataset.input_shape, dataset.num_classes)


def network(model: dict[str, Any], input_shape: Iterable[int], num_classes: int) -> Network:
    """The network of a model's config as plain data."""
    return json.dumps(model, sort_keys=True), tuple(input_shape), num_classes


@dataclass(frozen=True)
class Passes:
    """Images, with repetition, that pass through each network: in training steps, or forward alone."""

    trained: Counter[Network] = field(default_factory=Counter)
    evaluated: Counter[Network] = field(default_factory=Counter)


def count_passes(config: TeacherConfig | StudentConfig) -> Passes | None:
    """What a run costs that is made in one go; None if the size of one of its data sets is not known.

    Exits on a network's stages and the networks that make the images of a data set or stream are not counted.
    """
    images, examples, tested = images_to_train(config), examples_of(config), config.data.tested
    if images is None or examples is None or tested is None:
        return None
    own, objective = network_of(config), config.objective
    teachers = config.teachers if isinstance(config, StudentConfig) else ()
    theirs = Counter(map(network_of, teachers))
    shown = tested + min(TRAIN_SAMPLE, examples)  # for a row of metrics
    found = Passes()

    def evaluate(networks: Counter[Network], count: int) -> None:
        found.evaluated.update({one: number * count for one, number in networks.items()})

    if config.frozen_trunk:  # all but the classifier goes forward alone
        found.evaluated[own] += images
    else:
        found.trained[own] += images * (objective.networks if isinstance(objective, CompanionObjective) else 1)
    rows = -(-config.epochs // config.evaluate_every)
    found.evaluated[own] += (rows + 1) * shown  # once more for the predictions that are kept
    if config.init.reestimates_batch_norm:
        found.evaluated[own] += images // config.epochs
    if objective.needs_teacher:
        evaluate(theirs, examples if _asks_teachers_once(config, examples) else images)
    evaluate(theirs, shown)  # also of one that learns nothing of them
    if len(teachers) == 1 and len(config.stage_shapes) == len(teachers[0].stage_shapes) and tested >= MINIMUM_BATCH:
        evaluate(theirs + Counter([own]), tested)  # CKA
    if isinstance(objective, CompanionObjective):
        found.evaluated[own] += objective.networks * tested
    return found


def _asks_teachers_once(config: TrainingConfig, examples: int) -> bool:
    """Whether what the teachers say of the training images is kept, since they always see the same ones."""
    if config.augmentation or config.data.streams or config.data.train.dataset.stays_in_files:
        return False
    if isinstance(config, StudentConfig) and isinstance(config.objective, HiddenObjective):
        return examples * bytes_per_input(config, config.objective) <= MOST_REMEMBERED
    return True
