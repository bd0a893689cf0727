"""What the CIFAR-100 studies share: the presets' data, depths and lengths, teachers, the generator, Baseline."""

from collections.abc import Mapping
from typing import NamedTuple

from repro.config import DataConfig, GeneratedImages, GeneratorConfig, Selection, StudentConfig, TeacherConfig
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
from repro.generative.sngan import SNGAN
from repro.models.base import Model
from repro.models.preresnet import Norm, PreResNet
from repro.optimization.optimizers import Adam
from repro.optimization.schedules import Linear

BASELINE: tuple[Augmentation, ...] = (RandomCrop(padding=4), HorizontalFlip(p=0.5))
MAX_MEMBERS = 12
PAPER_IMAGES = 50_000


class GeneratorScale(NamedTuple):
    """The size of the generator's training at one preset."""

    model: SNGAN
    epochs: int
    steps_per_epoch: int  # generator steps
    discriminator_steps: int  # for each of them
    batch: int


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
    generator: GeneratorScale


# Miyato et al. 2018; 100,000 generator steps.
PAPER_GENERATOR = GeneratorScale(SNGAN(), epochs=100, steps_per_epoch=1000, discriminator_steps=5, batch=128)
SHORT_GENERATOR = GeneratorScale(
    SNGAN(generator_width=64, discriminator_width=64), epochs=20, steps_per_epoch=100, discriminator_steps=5, batch=64
)
SMOKE_GENERATOR = GeneratorScale(
    SNGAN(latent_size=8, generator_width=8, discriminator_width=8),
    epochs=1,
    steps_per_epoch=2,
    discriminator_steps=2,
    batch=16,
)

SCALES: dict[Preset, Scale] = {
    "paper": Scale(CIFAR100(), None, SVHN(), 10_000, 200, 300, 256, 128, {20: 20, 56: 56, 110: 110}, PAPER_GENERATOR),
    # 1.2 % of the images of a paper run; smaller batches, so that there are enough steps to learn from.
    "short": Scale(CIFAR100(), 10_000, SVHN(), 2_000, 12, 18, 64, 64, {20: 20, 56: 56, 110: 110}, SHORT_GENERATOR),
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
        SMOKE_GENERATOR,
    ),
}


def selection(preset: Preset, half: Half | None = None) -> Selection:
    """The train images of the preset, or one of their halves."""
    scale = SCALES[preset]
    return Selection(dataset=scale.dataset, size=scale.images, half=half)


def network(preset: Preset, depth: int, norm: Norm = "batch") -> PreResNet:
    """The paper's ResNet of this depth, or a shallower one at `smoke`."""
    return PreResNet(depth=SCALES[preset].depths[depth], norm=norm)


def teachers(
    preset: Preset, trial: int, members: int, model: Model, data: Selection | None = None
) -> tuple[TeacherConfig, ...]:
    """The teachers of one trial, by default of all images, with distinct seeds: no two trials share a teacher, and a
    larger ensemble of the same trial contains the smaller ones."""
    scale = SCALES[preset]
    return tuple(
        protocol.teacher(
            data=data or selection(preset),
            augmentation=BASELINE,
            model=model,
            epochs=scale.teacher_epochs,
            batch_size=scale.teacher_batch,
            seed=trial * 100 + member,
        )
        for member in range(members)
    )


def generator(preset: Preset, trial: int = 0) -> GeneratorConfig:
    """The SN-GAN of the preset's train images: Adam with betas 0 and 0.9, learning rate 2e-4 -> 1e-6 linearly, flips.

    Like the paper, the studies use one generator (that of trial 0) for all their trials.
    """
    scale = SCALES[preset].generator
    return GeneratorConfig(
        data=DataConfig(train=selection(preset)),
        augmentation=(HorizontalFlip(p=0.5),),
        model=scale.model,
        optimizer=Adam(learning_rate=2e-4, beta1=0.0, beta2=0.9),
        schedule=Linear(final=1e-6, per="step"),
        epochs=scale.epochs,
        steps_per_epoch=scale.steps_per_epoch,
        discriminator_steps=scale.discriminator_steps,
        batch_size=scale.batch,
        evaluate_every=max(1, scale.epochs // 10),
        seed=trial,
    )


def with_generated_images(preset: Preset, count: int) -> DataConfig:
    """The train images plus `count` generated ones per 50,000 of them, in proportion where the preset has fewer."""
    train = selection(preset)
    available = train.size or train.dataset.train_size
    assert available is not None
    scaled = count * available // PAPER_IMAGES
    generated = (GeneratedImages(generator=generator(preset), images=scaled),) if scaled else ()
    return DataConfig(train=train, generated=generated)


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
    """A student by the common protocol. By default, it uses all images, Baseline augmentation and temperature 1."""
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
