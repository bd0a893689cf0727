"""Small run configs for tests, a runner for them, and what a trainer must do whatever it trains."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from repro.config import DataConfig, GeneratedImages, GeneratorConfig, Selection, StudentConfig, TeacherConfig
from repro.data.digits import Digits
from repro.distill.divergences import ForwardCrossEntropy
from repro.distill.initialization import Random
from repro.distill.supervised import CrossEntropy
from repro.generative.sngan import SNGAN
from repro.models.lenet import LeNet5
from repro.models.preresnet import PreResNet, PreResNetNetwork
from repro.optimization.optimizers import SGD, Adam
from repro.optimization.schedules import Cosine, Linear
from repro.progress import Lines
from repro.runner import Runner
from repro.store import Store
from repro.training.trainer import Trainer

SMALL = Digits(image_size=8)


def small_teacher(**changes: Any) -> TeacherConfig:
    """A BatchNorm ResNet-8 on 8x8 digits: 3 epochs of 7 steps, the last batch ragged."""
    settings: dict[str, Any] = {
        "data": DataConfig(train=Selection(dataset=SMALL, size=200)),
        "model": PreResNet(depth=8),
        "init": Random(),
        "objective": CrossEntropy(),
        "optimizer": SGD(learning_rate=0.05, nesterov=True, weight_decay=1e-4),
        "schedule": Cosine(),
        "epochs": 3,
        "batch_size": 32,
        "evaluate_every": 1,
        "seed": 0,
    }
    return TeacherConfig(**settings | changes)


def small_student(**changes: Any) -> StudentConfig:
    """A student like `small_teacher`, of one such teacher."""
    settings = {name: getattr(small_teacher(), name) for name in TeacherConfig.model_fields if name != "kind"}
    settings |= {"teachers": (small_teacher(),), "objective": ForwardCrossEntropy(temperature=2.0), "seed": 1}
    return StudentConfig(**settings | changes)


def small_generator(**changes: Any) -> GeneratorConfig:
    """A tiny SN-GAN of 8x8 digits: 3 epochs of 4 generator steps, each after 2 of the discriminator."""
    settings: dict[str, Any] = {
        "data": DataConfig(train=Selection(dataset=SMALL, size=50)),
        "model": SNGAN(latent_size=4, generator_width=4, discriminator_width=4),
        "optimizer": Adam(learning_rate=2e-3, beta1=0.0, beta2=0.9),
        "schedule": Linear(final=1e-6, per="step"),
        "epochs": 3,
        "steps_per_epoch": 4,
        "discriminator_steps": 2,
        "batch_size": 16,
        "evaluate_every": 1,
        "seed": 0,
    }
    return GeneratorConfig(**settings | changes)


def student_of_generated_images(images: int = 30, **changes: Any) -> StudentConfig:
    """A student like `small_student` that also sees images of `small_generator`."""
    generated = GeneratedImages(generator=small_generator(), images=images)
    return small_student(data=DataConfig(train=Selection(dataset=SMALL, size=100), generated=(generated,)), **changes)


def lenet_teacher(**changes: Any) -> TeacherConfig:
    """LeNet-5 on 28x28 digits."""
    data = DataConfig(train=Selection(dataset=Digits(), size=100))
    return small_teacher(**{"model": LeNet5(), "data": data} | changes)


def runner(root: Path, checkpoint_seconds: float = 30.0) -> Runner:
    """A runner on the CPU that keeps its runs in `root` and reads data from nowhere."""
    return Runner(Store(root), root / "no data", torch.device("cpu"), Lines(), checkpoint_seconds=checkpoint_seconds)


def network(seed: int, depth: int = 8) -> PreResNetNetwork:
    """A network for these digits, at its start."""
    torch.manual_seed(seed)
    return PreResNet(depth=depth).build(10, SMALL.input_shape)


def finished(trainer: Trainer) -> Trainer:
    """The trainer at the end of its run."""
    while not trainer.finished:
        trainer.advance(lambda: False)
    return trainer


def stopped(trainer: Trainer, steps: int) -> Trainer:
    """The trainer after so many steps."""
    while trainer.step < steps:
        trainer.advance(lambda: trainer.step >= steps)
    return trainer


def assert_goes_on_to_the_bit(fresh: Callable[[], Trainer], *stops: int) -> Trainer:
    """A trainer that goes on from the state of one stopped after so many steps ends like one that never stopped.

    Returns the latter.
    """
    uninterrupted = finished(fresh())
    for steps in stops:
        first = stopped(fresh(), steps)
        torch.manual_seed(99)  # whatever happened meanwhile
        second = fresh()
        second.load_state_dict(first.state_dict())
        assert second.step == steps
        torch.testing.assert_close(finished(second).state_dict(), uninterrupted.state_dict(), rtol=0.0, atol=0.0)
        assert second.row() == uninterrupted.row()
    return uninterrupted
