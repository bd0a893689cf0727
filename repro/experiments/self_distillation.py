"""Figures 1a and 5 (left): does a self-distilled student come closer to its teacher on more data?"""

from typing import ClassVar, Literal

from repro.config import StudentConfig
from repro.experiments.cifar import network, student, teachers, with_generated_images
from repro.experiments.study import Study


class SelfDistillation(Study):
    """ResNet-56 self-distillation on CIFAR-100 and a growing set of GAN images (Figures 1a, 5 left).

    Question: does fidelity grow with the distillation data, and does accuracy follow?

    Conditions: `gan_images`, a fixed set of 0, 12,500, 25,000, 37,500 or 50,000 images from the SN-GAN, added to the
    50,000 train images (presets with fewer train images add fewer, in proportion). Temperature 1, one teacher.

    The paper found: from 0 to 50,000 images, test agreement rises from about 72.5 % to 74.5 %, while the student's
    accuracy falls from about 72.0 % to 71.0 %. Agreement on the distillation data itself falls to about 95 %.
    """

    name: Literal["self_distillation"] = "self_distillation"
    gan_images: Literal[0, 12_500, 25_000, 37_500, 50_000] = 0
    figures: ClassVar[str] = "1a, 5 left"

    def config(self) -> StudentConfig:
        model = network(self.preset, 56)
        return student(
            self.preset,
            self.trial,
            teachers=teachers(self.preset, self.trial, 1, model),
            model=model,
            data=with_generated_images(self.preset, self.gan_images),
        )
