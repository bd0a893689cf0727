"""Does any method of distillation really distil? (not in the paper)"""

from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from repro.config import ClassifierConfig, DataConfig, Selection, StudentConfig, TeacherConfig
from repro.data.augmentation import Augmentation
from repro.data.dataset import Dataset
from repro.data.digits import Digits
from repro.data.prepared import CIFAR100, MNIST
from repro.data.synthetic import Synthetic
from repro.distill.companions import CompanionObjective
from repro.distill.disjoint_classes import DisjointClasses
from repro.distill.merging import Classes, Merge
from repro.distill.weighted_mean import WeightedMean
from repro.experiments.cifar import BASELINE
from repro.experiments.method_choices import CHOICES
from repro.experiments.method_tries import CONTROLS, METHODS, TRIES, MethodName, Try
from repro.experiments.protocol import student, teacher
from repro.experiments.study import Preset, Study
from repro.models.base import Model
from repro.models.lenet import LeNet5
from repro.models.preresnet import PreResNet
from repro.optimization.optimizers import SGD

DataName = Literal["digits", "mnist", "cifar100"]
COMMON_BATCH = 128
"""The batch size of the common protocol's students. Their learning rate is scaled in proportion to the batch size."""
TeacherKind = Literal["same", "larger", "ensemble", "weighted", "disjoint"]
MEMBERS: dict[TeacherKind, int] = {"same": 1, "larger": 1, "ensemble": 3, "weighted": 3, "disjoint": 2}
WEIGHTS = (0.6, 0.3, 0.1)
"""The weights of the three weighted teachers."""
MERGES: dict[TeacherKind, Merge] = {"weighted": WeightedMean(weights=WEIGHTS), "disjoint": DisjointClasses()}


class Protocol(NamedTuple):
    """The size of everything. Teachers and controls learn from the labeled images, students from all images."""

    dataset: Dataset
    labeled: int
    images: int
    validation: int
    model: Model
    larger: Model
    teacher_epochs: int
    epochs: int  # of a student of one teacher; a multiple of 3
    batch_size: int
    learning_rate: float = 0.05  # of teachers
    augmentation: tuple[Augmentation, ...] = ()


def _lenet(dataset: Dataset, labeled: int, images: int, validation: int, teacher_epochs: int, epochs: int) -> Protocol:
    return Protocol(dataset, labeled, images, validation, LeNet5(), LeNet5(width=2), teacher_epochs, epochs, 64)


def _resnet(
    dataset: Dataset, images: int, validation: int, depths: tuple[int, int], epochs: int, batch: int
) -> Protocol:
    small, large = (PreResNet(depth=depth) for depth in depths)
    return Protocol(
        dataset, images, images, validation, small, large, -(-2 * epochs // 3), epochs, batch, 0.1, BASELINE
    )


PROTOCOLS: dict[tuple[DataName, Preset], Protocol] = {
    ("digits", "paper"): _lenet(Digits(), 100, 900, 300, 60, 96),
    ("digits", "short"): _lenet(Digits(), 100, 900, 300, 60, 24),
    ("digits", "smoke"): _lenet(Digits(), 50, 200, 50, 1, 3),
    ("mnist", "paper"): _lenet(MNIST(), 200, 50_000, 5_000, 100, 300),
    ("mnist", "short"): _lenet(MNIST(), 200, 5_000, 5_000, 100, 12),
    ("mnist", "smoke"): _lenet(Digits(), 50, 180, 50, 1, 3),
    ("cifar100", "paper"): _resnet(CIFAR100(), 45_000, 5_000, (20, 56), 300, 128),
    ("cifar100", "short"): _resnet(CIFAR100(), 9_000, 5_000, (20, 56), 18, 64),
    ("cifar100", "smoke"): _resnet(Synthetic(images=80, image_size=8), 60, 20, (8, 14), 3, 32),
}


class Methods(Study):
    """Every family of distillation on one bench: fidelity at equal budget, with the same controls (not in the paper).

    Question: the paper distils logits only. Does a student that also matches hidden layers, relations between images,
    or a contrast come closer to its teacher's function, and does it generalize better?

    Conditions: `data` (digits, mnist, cifar100); `method`; and `teacher`: one of the student's architecture (`same`),
    one `larger` network, an `ensemble` of three, the same three `weighted` 0.6, 0.3 and 0.1, or two that learned
    `disjoint` halves of the classes and are merged into one. Teachers learn from labeled images (100 of digits, 200 of
    MNIST, all of CIFAR-100). Students learn from more images, without labels, which include the teachers' own
    (CIFAR-100: the same images).

    Controls: `independent` (true labels) and `label_smoothing` learn from the teachers' images and labels, and are
    compared with teachers they never saw. So do the schemes without a trained teacher, `mutual_learning` and
    `codistillation` (peers) and `own_exits`; these are also compared with their peers or exits. Their own controls are
    `independent_peers` and `independent_exits`, in which none learns from another. These are otherwise the same, except
    on digits: there the chosen schemes have three peers and the control has two, which train 1.5 times as many epochs.

    Budget: passes of one image through one network. A student's forward pass counts as one, its backward pass as two,
    and each teacher's forward pass as one, whether it is computed once and kept or not. A step thus costs 4 passes per
    image with one teacher, 6 with three, 3 with none, and 3 for each of several peers. Every run may use as many passes
    as `epochs` epochs with one teacher take; its number of epochs follows from that. The extra cost of larger networks
    and of the methods' own modules is not counted, but measured (seconds).

    Settings: for each method four settings are tried (`tuning`, `repro/experiments/method_tries.py`) on trial 0 with
    one teacher `same`. Held-out train images decide (`repro/experiments/method_choices.py`), never test images. This
    was done on digits and MNIST at preset `short`; `paper` takes the same choices. It was not done on CIFAR-100, where
    every method takes its first setting. Methods that compare hidden layers add them to soft labels at temperature 1.
    """

    name: Literal["methods"] = "methods"
    data: DataName = "mnist"
    method: MethodName = "soft_labels"
    teacher: TeacherKind = "same"
    tuning: int | None = Field(default=None, ge=0, lt=TRIES)

    @model_validator(mode="after")
    def _try_exists(self) -> Self:
        if self.tuning is not None and self.tuning >= len(METHODS[self.method]):
            raise ValueError(f"tuning: {self.method} has {len(METHODS[self.method])} setting(s) to try, counted from 0")
        return self

    def setting(self) -> Try:
        """The method's setting: the one given by `tuning`, else the one chosen for the data set, else its default.

        At `smoke`, without `tuning`, it is the second one.
        """
        tries = METHODS[self.method]
        if self.tuning is not None:
            return tries[self.tuning]
        if self.preset == "smoke":
            return tries[min(1, len(tries) - 1)]  # with their default weights, some diverge at once on tiny networks
        return tries[CHOICES.get(self.data, {}).get(self.method, 0)]

    def config(self) -> StudentConfig:
        protocol = PROTOCOLS[self.data, self.preset]
        labeled = Selection(dataset=protocol.dataset, size=protocol.labeled)
        everything = Selection(dataset=protocol.dataset, size=protocol.images)
        own = labeled if self.method in CONTROLS else everything
        members = MEMBERS[self.teacher]
        model = protocol.larger if self.teacher == "larger" else protocol.model
        parts = halves_of_classes(protocol.dataset) if self.teacher == "disjoint" else (None,) * members
        teachers = tuple(
            teacher_of(protocol, model, self.trial * 100 + member, part) for member, part in enumerate(parts)
        )
        setting = self.setting()
        networks = setting.objective.networks if isinstance(setting.objective, CompanionObjective) else 1
        passes = 3 * networks + (0 if self.method in CONTROLS else members)
        epochs = 4 * protocol.epochs * protocol.images // (passes * (own.size or 1))
        data = DataConfig(train=own, validation=None if self.tuning is None else protocol.validation)
        config = student_of(protocol, teachers, protocol.model, data, epochs, setting, self.trial)
        return StudentConfig(**{**dict(config), "merge": MERGES.get(self.teacher)})


def halves_of_classes(dataset: Dataset) -> tuple[Classes, Classes]:
    """The classes of a data set, split into two halves."""
    half = dataset.num_classes // 2
    return tuple(range(half)), tuple(range(half, dataset.num_classes))


def teacher_of(protocol: Protocol, model: Model, seed: int, classes: Classes | None = None) -> TeacherConfig:
    """A teacher that learns from the labeled images, or only from those of some classes."""
    return teacher(
        data=Selection(dataset=protocol.dataset, size=protocol.labeled, classes=classes),
        model=model,
        augmentation=protocol.augmentation,
        epochs=protocol.teacher_epochs,
        batch_size=protocol.batch_size,
        learning_rate=protocol.learning_rate,
        seed=seed,
    )


def student_of(
    protocol: Protocol,
    teachers: tuple[ClassifierConfig, ...],
    model: Model,
    data: DataConfig,
    epochs: int,
    setting: Try,
    seed: int,
) -> StudentConfig:
    """A student with the given setting, its learning rate scaled to the batch size."""
    config = student(
        teachers=teachers,
        data=data,
        augmentation=protocol.augmentation,
        model=model,
        objective=setting.objective,
        epochs=epochs,
        batch_size=protocol.batch_size,
        seed=seed,
    )
    rate = config.optimizer.learning_rate * protocol.batch_size / COMMON_BATCH * setting.slower
    optimizer = SGD(**{**config.optimizer.model_dump(exclude={"name"}), "learning_rate": rate})
    return config.model_copy(update={"optimizer": optimizer, "evaluate_every": max(1, epochs // 3)})
