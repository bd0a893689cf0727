"""How many images pass through each network in a run: what the training engine does, counted without running it."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from repro.config import GeneratedStream, GeneratorConfig, RunConfig, StudentConfig, TrainingConfig
from repro.distill.companions import CompanionObjective
from repro.distill.hidden import HiddenObjective
from repro.generative.sampling import BATCH
from repro.launch.plan import examples_of, images_of_epoch, images_to_train
from repro.metrics.cka import MINIMUM_BATCH
from repro.training.generator_trainer import SAMPLES
from repro.training.hidden_comparison import MOST_REMEMBERED, bytes_per_input
from repro.training.trainer import SHOWN_TRAIN, TRAIN_SAMPLE

Network: TypeAlias = tuple[str, tuple[int, ...], int]
"""What determines the speed of a network: its config as JSON, the shape of its images, the number of classes."""


def network_of(config: RunConfig) -> Network:
    """The network that a run trains."""
    dataset = config.data.train.dataset
    return network(config.model.model_dump(mode="json"), dataset.input_shape, dataset.num_classes)


def network(model: dict[str, Any], input_shape: Iterable[int], num_classes: int) -> Network:
    """The network for a model's config, given as plain data."""
    return json.dumps(model, sort_keys=True), tuple(input_shape), num_classes


def show_network(network: Network) -> str:
    """`lenet5 width=2 on 1x28x28, 10 classes`."""
    model, input_shape, num_classes = network
    options = json.loads(model)
    name = " ".join([options.pop("name"), *(f"{key}={value}" for key, value in options.items())])
    return f"{name} on {'x'.join(map(str, input_shape))}, {num_classes} classes"


@dataclass(frozen=True)
class Passes:
    """Images, with repetition, that pass through each network.

    trained: in training steps; for a generator, the real images that its discriminator sees. asked: forward only,
    for training steps, in the run's mode. evaluated: forward only, in float32; for a generator, the images it makes.
    """

    trained: Counter[Network] = field(default_factory=Counter)
    asked: Counter[Network] = field(default_factory=Counter)
    evaluated: Counter[Network] = field(default_factory=Counter)


def count_passes(config: RunConfig) -> Passes | None:
    """Count the passes of a run that is trained without interruption; None if a data set's size is unknown.

    Early exits attached to a network's stages are not counted.
    """
    images = images_to_train(config)
    if images is None:
        return None
    found = Passes()
    found.evaluated.update(_images_made(config))
    rows = -(-config.epochs // config.evaluate_every)
    if isinstance(config, GeneratorConfig):
        found.trained[network_of(config)] += images
        found.evaluated[network_of(config)] += (rows + 1) * SAMPLES
        return found
    examples, tested = examples_of(config), config.data.tested
    if examples is None or tested is None:
        return None
    own, objective = network_of(config), config.objective
    teachers = config.teachers if isinstance(config, StudentConfig) else ()
    theirs = Counter(map(network_of, teachers))
    shown = tested + min(TRAIN_SAMPLE, examples)  # for a row of metrics
    if config.frozen_trunk:  # everything but the classifier only runs forward
        found.asked[own] += images
    else:
        found.trained[own] += images * (objective.networks if isinstance(objective, CompanionObjective) else 1)
    if objective.needs_teacher:
        found.asked.update(_times(theirs, examples if _asks_teachers_once(config, examples) else images))
    found.evaluated[own] += (rows + 1) * shown + min(SHOWN_TRAIN, examples)  # once more for the stored predictions
    if config.init.reestimates_batch_norm:
        found.evaluated[own] += images // config.epochs
    found.evaluated.update(_times(theirs, shown))  # also for a student that does not learn from them
    if len(teachers) == 1 and len(config.stage_shapes) == len(teachers[0].stage_shapes) and tested >= MINIMUM_BATCH:
        found.evaluated.update(_times(theirs + Counter([own]), tested))  # CKA
    if isinstance(objective, CompanionObjective):
        found.evaluated[own] += objective.networks * tested
    return found


def _times(networks: Counter[Network], count: int) -> Counter[Network]:
    return Counter({one: number * count for one, number in networks.items()})


def _images_made(config: RunConfig) -> Counter[Network]:
    """The images that generators make for a run."""
    made: Counter[Network] = Counter()
    for images in config.data.generated:
        made[network_of(images.generator)] += -(-images.images // BATCH) * BATCH
    if not isinstance(config, GeneratorConfig):
        _, *streamed = images_of_epoch(config) or [0]
        passes = config.epochs + config.init.reestimates_batch_norm
        for stream, count in zip(config.data.streams, streamed, strict=False):
            if isinstance(stream, GeneratedStream):
                made[network_of(stream.generator)] += passes * count
    return made


def _asks_teachers_once(config: TrainingConfig, examples: int) -> bool:
    """Whether the teachers' outputs on the training images are cached, since they always see the same images."""
    if config.augmentation or config.data.streams or config.data.train.dataset.stays_in_files:
        return False
    if isinstance(config, StudentConfig) and isinstance(config.objective, HiddenObjective):
        return examples * bytes_per_input(config, config.objective) <= MOST_REMEMBERED
    return True
