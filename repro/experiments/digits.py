"""The demo's study: Figure 2 in miniature, on scikit-learn's digits."""

from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from repro.config import DataConfig, Selection, StudentConfig
from repro.data.digits import Digits
from repro.distill.divergences import ForwardCrossEntropy
from repro.experiments.protocol import student, teacher
from repro.experiments.study import Preset, Study
from repro.models.lenet import LeNet5

LABELED_IMAGES = 100
IMAGES = (100, 300, 1200)
"""The sizes of the distillation set that the demo compares."""


class Protocol(NamedTuple):
    teacher_epochs: int
    student_steps: int  # the same for every size, so that size is all that differs


PRESETS: dict[Preset, Protocol] = {
    "paper": Protocol(teacher_epochs=100, student_steps=3000),
    "short": Protocol(teacher_epochs=60, student_steps=300),
    "smoke": Protocol(teacher_epochs=2, student_steps=6),
}


class DigitsStudy(Study):
    """LeNet-5 self-distillation on scikit-learn's digits with a growing distillation set (the demo; not in the paper).

    Question: the paper's own, at a size that a laptop can answer in half a minute. If a student has more images on
    which to imitate its teacher, does it match the teacher better (fidelity), and does it classify better
    (generalization)?

    Conditions: `images`, how many of the 1,200 train images the student is distilled on (100, 300, 1200). The
    teacher learns from 100 stratified images with labels, the same in every trial. The smallest distillation set
    consists of exactly these images. Every student takes the same number of steps.
    """

    name: Literal["digits"] = "digits"
    images: int = Field(default=1200, ge=LABELED_IMAGES, le=1200)
    figures: ClassVar[str] = "none (the demo)"

    def config(self) -> StudentConfig:
        protocol = PRESETS[self.preset]
        own_teacher = teacher(
            data=Selection(dataset=Digits(), size=LABELED_IMAGES),
            model=LeNet5(),
            epochs=protocol.teacher_epochs,
            batch_size=64,
            learning_rate=0.05,
            seed=self.trial,
        )
        steps_per_epoch = -(-self.images // 128)
        return student(
            teachers=(own_teacher,),
            data=DataConfig(train=Selection(dataset=Digits(), size=self.images)),
            model=LeNet5(),
            objective=ForwardCrossEntropy(temperature=1.0),
            epochs=max(1, protocol.student_steps // steps_per_epoch),
            seed=self.trial,
        )
