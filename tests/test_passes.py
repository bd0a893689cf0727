"""The passes that predictions of cost count, against those that the engine makes.

All runs are in bfloat16, so that what passes for a training step is told from evaluation, which is in float32.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import SMALL, runner, small_generator, small_student, small_teacher
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from repro.config import (
    DataConfig,
    DatasetStream,
    GeneratedImages,
    GeneratedStream,
    GeneratorConfig,
    NoiseStream,
    RunConfig,
    Selection,
    StudentConfig,
    TeacherConfig,
)
from repro.config.override import override
from repro.data.augment_geometric import HorizontalFlip
from repro.data.image_folder import ImageNet
from repro.distill.hint import Hint
from repro.distill.initialization import Interpolated, Pretrained
from repro.distill.mutual_learning import MutualLearning
from repro.distill.own_exits import OwnExits
from repro.distill.supervised import LabelSmoothing
from repro.launch import passes
from repro.launch.passes import Network, Passes, count_passes, network_of
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.metrics.cka import MINIMUM_BATCH
from repro.models.preresnet import PreResNet
from repro.models.resnet import ResNet
from repro.training import hidden_comparison, trainer
from repro.training.generator_trainer import build_networks
from repro.training.start import build_network

IMAGES = Selection(dataset=SMALL, size=100)
FEW_TESTED = DataConfig(train=IMAGES, validation=40)
MIDDLE, DEEP = (small_teacher(model=PreResNet(depth=depth), epochs=1, data=FEW_TESTED) for depth in (14, 20))
OTHER = small_teacher(data=FEW_TESTED, epochs=1, seed=7)


def student(**changes: Any) -> StudentConfig:
    """Of two unlike teachers: 3 epochs of 100 images, with rows after the second and the last."""
    return small_student(**{"teachers": (MIDDLE, DEEP), "evaluate_every": 2, "data": FEW_TESTED} | changes)


def also_of(**changes: Any) -> DataConfig:
    return DataConfig(train=IMAGES, validation=40, **changes)


RUNS: dict[str, TeacherConfig | StudentConfig] = {
    "teacher": small_teacher(evaluate_every=2),
    "student": student(),
    "of one teacher": student(teachers=(MIDDLE,)),
    "too few tested for CKA": student(teachers=(MIDDLE,), data=DataConfig(train=IMAGES, validation=MINIMUM_BATCH - 1)),
    "augmented": student(augmentation=(HorizontalFlip(),)),
    "the last batch dropped": student(last_batch="drop", augmentation=(HorizontalFlip(),)),
    "with a pool": student(data=also_of(pools=(Selection(dataset=SMALL, size=60),))),
    "with noise": student(data=also_of(streams=(NoiseStream(share=0.25),))),
    "with fresh images": student(data=also_of(streams=(GeneratedStream(share=0.25, generator=small_generator()),))),
    "with made images": student(data=also_of(generated=(GeneratedImages(generator=small_generator(), images=30),))),
    "with a stream": student(data=also_of(streams=(DatasetStream(share=0.25, selection=IMAGES),))),
    "control": student(objective=LabelSmoothing()),
    "peers": student(objective=MutualLearning(peers=3)),
    "exits": student(objective=OwnExits()),
    "hint": student(objective=Hint(weight=0.01)),
    "frozen": small_teacher(data=FEW_TESTED, init=Pretrained(source=OTHER), frozen_trunk=True),
    "interpolated": student(teachers=(OTHER,), init=Interpolated(weight=0.5)),
    "interpolated, with fresh images": student(
        teachers=(OTHER,),
        init=Interpolated(weight=0.5),
        data=also_of(streams=(GeneratedStream(share=0.25, generator=small_generator()),)),
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def size_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def in_bfloat16(config: RunConfig) -> RunConfig:
    return config if isinstance(config, GeneratorConfig) else override(config, {"precision": "bfloat16"})


def made(config: RunConfig, root: Path) -> Passes:
    """What the engine shows to whole networks while it makes the run."""
    *parents, last = parents_first([Request("a run", config)])
    work, seen = runner(root), Passes()
    for parent in parents:
        work.make(parent.config, "a parent")
    networks: dict[int, Network] = {size_of(build_network(one)): network_of(one) for one in (OTHER, MIDDLE, DEEP)}
    generator, _ = build_networks(small_generator())
    networks[size_of(generator)] = network_of(small_generator())

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        name = networks.get(size_of(module)) if hasattr(module, "stages") or hasattr(module, "to_image") else None
        if name is not None:
            trains = torch.is_grad_enabled() and all(parameter.requires_grad for parameter in module.parameters())
            rest = seen.asked if torch.is_autocast_enabled("cpu") else seen.evaluated
            (seen.trained if trains else rest)[name] += len(inputs[0])

    hook = register_module_forward_pre_hook(note)
    try:
        work.make(last.config, last.label)
    finally:
        hook.remove()
    return seen


@pytest.mark.parametrize("name", RUNS)
def test_what_is_counted_is_what_the_engine_does(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (passes, trainer):
        monkeypatch.setattr(module, "TRAIN_SAMPLE", 70)
    config = in_bfloat16(RUNS[name])
    assert count_passes(config) == made(config, root)


def test_layers_that_do_not_fit_are_asked_for_at_every_step(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = in_bfloat16(student(objective=Hint(weight=0.01), seed=5))
    kept = count_passes(config)
    for module in (passes, hidden_comparison):
        monkeypatch.setattr(module, "MOST_REMEMBERED", 1000)
    counted = count_passes(config)
    assert kept is not None and counted == made(config, root)
    assert counted.asked - kept.asked == Counter({network_of(one): 2 * 100 for one in (MIDDLE, DEEP)})


def test_of_images_in_files_nothing_is_remembered() -> None:
    data = DataConfig(train=Selection(dataset=ImageNet()))
    teacher = small_teacher(data=data, model=ResNet(depth=18))
    counted = count_passes(small_student(teachers=(teacher,), data=data, model=ResNet(depth=34), epochs=2))
    assert counted is not None and counted.asked == Counter({network_of(teacher): 2 * 1_281_167})
