"""What the CIFAR-100 studies share: the presets' data, depths and lengths, teachers, the Baseline augmentation."""

from collections.abc import Mapping
from typing import NamedTuple

from repro.config import DataConfig, Selection, StudentConfig, TeacherConfig
from repro.data.augment_geometric import HorizontalFlip, RandomCrop
from repro.data.augmentation import Augmentation
from repro.data.dataset import Dataset
from repro.data.prepared import CIFAR100, SVHN
from repro.data.selection import Half
from repro.data.synthetic import Synthetic
from repro.distill.divergences import ForwardCrossEntropy
from repro.distill.objective import Objective
from repro.experiments import protocol
from repro.experiments.study import Preset
from repro.models.base import Model
from repro.models.preresnet import Norm, PreResNet

BASELINE: tuple[Augmentation, ...] = (RandomCrop(padding=4), HorizontalFlip(p=0.5))
MAX_MEMBERS = 12


class Scale(NamedTuple):
    """The size of everything at one preset."""

    dataset: Dataset
    images: int | None  # stratified subset of the train images; None: all
    out_of_distribution: Dataset  # what the OOD policy adds
    out_of_distribution_images: int
    teacher_epochs: int
    student_epochs: int
    teacher_batch: int
    student_batch: int
    depths: Mapping[int, int]  # the paper's depth -> the depth that is trained


SCALES: dict[Preset, Scale] = {
    "paper": Scale(CIFAR100(), None, SVHN(), 10_000, 200, 300, 256, 128, {20: 20, 56: 56, 110: 110}),
    # 1.2 % of the images of a paper run; smaller batches, so that there are steps enough to learn from.
    "short": Scale(CIFAR100(), 10_000, SVHN(), 2_000, 12, 18, 64, 64, {20: 20, 56: 56, 110: 110}),
    "smoke": Scale(
        Synthetic(images=80, image_size=8),
        None,
        Synthetic(images=20, image_size=8, seed=1),
        20,
        1,
        1,
        32,
        32,
        {20: 8, 56: 14, 110: 20},
    ),
}


def selection(preset: Preset, half: Half | None = None) -> Selection:
    """The train images of the preset, or one half of them."""
    scale = SCALES[preset]
    return Selection(dataset=scale.dataset, size=scale.images, half=half)


def network(preset: Preset, depth: int, norm: Norm = "batch") -> PreResNet:
    """The paper's ResNet of this depth; a shallower one at `smoke`."""
    return PreResNet(depth=SCALES[preset].depths[depth], norm=norm)


def teachers(
    preset: Preset, trial: int, members: int, model: Model, half: Half | None = None
) -> tuple[TeacherConfig, ...]:
    """The teachers of one trial: disjoint between trials, and of growing ensembles the first ones are the same."""
    scale = SCALES[preset]
    return tuple(
        protocol.teacher(
            data=selection(preset, half),
            augmentation=BASELINE,
            model=model,
            epochs=scale.teacher_epochs,
            batch_size=scale.teacher_batch,
            seed=trial * 100 + member,
        )
        for member in range(members)
    )


def student(
    preset: Preset,
    trial: int,
    *,
    teachers: tuple[TeacherConfig, ...],
    model: Model,
    data: DataConfig | None = None,
    augmentation: tuple[Augmentation, ...] = BASELINE,
    objective: Objective | None = None,
) -> StudentConfig:
    """A student by the common protocol; unless told otherwise on all images, Baseline, at temperature 1."""
    scale = SCALES[preset]
    return protocol.student(
        teachers=teachers,
        data=data or DataConfig(train=selection(preset)),
        augmentation=augmentation,
        model=model,
        objective=objective or ForwardCrossEntropy(temperature=1.0),
        epochs=scale.student_epochs,
        batch_size=scale.student_batch,
        seed=trial,
    )
