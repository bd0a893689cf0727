"""The passes that predictions of cost count, against those that the engine makes."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import SMALL, runner, small_student, small_teacher
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from repro.config import DataConfig, DatasetStream, NoiseStream, Selection, StudentConfig, TeacherConfig
from repro.data.augment_geometric import HorizontalFlip
from repro.distill.hint import Hint
from repro.distill.initialization import Interpolated, Pretrained
from repro.distill.mutual_learning import MutualLearning
from repro.distill.own_exits import OwnExits
from repro.distill.supervised import LabelSmoothing
from repro.launch import passes
from repro.launch.passes import Network, Passes, count_passes, network_of
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.models.preresnet import PreResNet
from repro.training import hidden, trainer
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
    "augmented": student(augmentation=(HorizontalFlip(),)),
    "the last batch dropped": student(last_batch="drop", augmentation=(HorizontalFlip(),)),
    "with a pool": student(data=also_of(pools=(Selection(dataset=SMALL, size=60),))),
    "with noise": student(data=also_of(streams=(NoiseStream(share=0.25),))),
    "with a stream": student(data=also_of(streams=(DatasetStream(share=0.25, selection=IMAGES),))),
    "control": student(objective=LabelSmoothing()),
    "peers": student(objective=MutualLearning(peers=3)),
    "exits": student(objective=OwnExits()),
    "hint": student(objective=Hint(weight=0.01)),
    "frozen": small_teacher(data=FEW_TESTED, init=Pretrained(source=OTHER), frozen_trunk=True),
    "interpolated": student(teachers=(OTHER,), init=Interpolated(weight=0.5)),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def size_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def made(config: TeacherConfig | StudentConfig, root: Path) -> Passes:
    """What the engine shows to whole networks while it makes the run."""
    *parents, last = parents_first([Request("a run", config)])
    work, seen = runner(root), Passes()
    for parent in parents:
        work.make(parent.config, "a parent")
    networks: dict[int, Network] = {size_of(build_network(one)): network_of(one) for one in (OTHER, MIDDLE, DEEP)}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        name = networks.get(size_of(module)) if hasattr(module, "stages") else None
        if name is not None:
            trains = torch.is_grad_enabled() and all(parameter.requires_grad for parameter in module.parameters())
            (seen.trained if trains else seen.evaluated)[name] += len(inputs[0])

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
    assert count_passes(RUNS[name]) == made(RUNS[name], root)


def test_layers_that_do_not_fit_are_asked_for_at_every_step(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = count_passes(RUNS["hint"])
    for module in (passes, hidden):
        monkeypatch.setattr(module, "MOST_REMEMBERED", 1000)
    counted = count_passes(RUNS["hint"])
    assert kept is not None and counted == made(student(objective=Hint(weight=0.01), seed=5), root)
    assert counted.evaluated - kept.evaluated == Counter({network_of(one): 2 * 100 for one in (MIDDLE, DEEP)})
