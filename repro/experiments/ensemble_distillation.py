"""Figures 1b and 5 (left): the same question as self_distillation, for the student of an ensemble."""

from typing import ClassVar, Literal

from repro.config import StudentConfig
from repro.experiments.cifar import network, student, teachers, with_generated_images
from repro.experiments.study import Study


class EnsembleDistillation(Study):
    """A ResNet-56 student of a ResNet-56 ensemble on CIFAR-100 and GAN images (Figures 1b, 5 left).

    Question: if the teacher is better than the student could become alone, do fidelity and accuracy both grow with
    the distillation data?

    Conditions: `gan_images` as in self_distillation, and `members`, the size of the teacher ensemble: 3 (Figure 1b)
    or 5 (Figure 5, left). Temperature 1.

    The paper found (m = 3): from 0 to 50,000 images, test agreement rises from about 77 % to 80 %, and the student's
    accuracy rises slightly, towards its teacher's 76 %. On the distillation data itself, agreement falls.
    """

    name: Literal["ensemble_distillation"] = "ensemble_distillation"
    gan_images: Literal[0, 12_500, 25_000, 37_500, 50_000] = 0
    members: Literal[3, 5] = 3
    figures: ClassVar[str] = "1b, 5 left"

    def config(self) -> StudentConfig:
        model = network(self.preset, 56)
        return student(
            self.preset,
            self.trial,
            teachers=teachers(self.preset, self.trial, self.members, model),
            model=model,
            data=with_generated_images(self.preset, self.gan_images),
        )
