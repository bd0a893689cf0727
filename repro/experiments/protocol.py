"""The paper's common protocol (Appendix A), from which the studies' configs start."""

from repro.config import ClassifierConfig, DataConfig, Selection, StudentConfig, TeacherConfig
from repro.data.augmentation import Augmentation
from repro.distill.initialization import Random
from repro.distill.objective import Objective
from repro.distill.supervised import CrossEntropy
from repro.models.base import Model
from repro.optimization.optimizers import SGD
from repro.optimization.schedules import Cosine


def teacher(
    *,
    data: Selection,
    model: Model,
    epochs: int,
    seed: int,
    augmentation: tuple[Augmentation, ...] = (),
    batch_size: int = 256,
    learning_rate: float = 0.1,
) -> TeacherConfig:
    """A teacher: batch 256, SGD with momentum 0.9, weight decay 1e-4, learning rate 0.1 -> 0 by cosine."""
    return TeacherConfig(
        data=DataConfig(train=data),
        augmentation=augmentation,
        model=model,
        init=Random(),
        objective=CrossEntropy(),
        optimizer=SGD(learning_rate=learning_rate, momentum=0.9, weight_decay=1e-4),
        schedule=Cosine(final=0.0),
        epochs=epochs,
        batch_size=batch_size,
        evaluate_every=max(1, epochs // 10),
        seed=seed,
    )


def student(
    *,
    teachers: tuple[ClassifierConfig, ...],
    data: DataConfig,
    model: Model,
    objective: Objective,
    epochs: int,
    seed: int,
    augmentation: tuple[Augmentation, ...] = (),
    batch_size: int = 128,
) -> StudentConfig:
    """A student: batch 128, SGD with Nesterov momentum 0.9, weight decay 1e-4, learning rate 5e-2 -> 1e-6 by cosine."""
    return StudentConfig(
        teachers=teachers,
        data=data,
        augmentation=augmentation,
        model=model,
        init=Random(),
        objective=objective,
        optimizer=SGD(learning_rate=5e-2, momentum=0.9, nesterov=True, weight_decay=1e-4),
        schedule=Cosine(final=1e-6),
        epochs=epochs,
        batch_size=batch_size,
        evaluate_every=max(1, epochs // 10),
        seed=seed,
    )
