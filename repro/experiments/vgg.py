"""Figure 13: is it the same without residual connections?"""

from typing import ClassVar, Literal

from repro.config import DataConfig, Selection, StudentConfig
from repro.data.synthetic import Synthetic
from repro.distill.divergences import ForwardCrossEntropy
from repro.experiments.cifar import selection, student, teachers
from repro.experiments.policies import POLICIES
from repro.experiments.study import Study
from repro.models.vgg import VGG


class VGGStudy(Study):
    """VGG-16 without batch norm distilled from an ensemble of five, on CIFAR-100 (Figure 13).

    Question: do the findings on augmentation carry over to another architecture?

    Conditions: `policy`, as in the figure; five teachers. Temperature 1; the paper does not say. At `smoke` the
    ensemble has one member, since this network is the largest in the suite.

    The paper found: agreement from about .815 (Baseline) to .845 (MixUp), accuracy between .723 and .741.
    """

    name: Literal["vgg"] = "vgg"
    policy: Literal["baseline", "rotation", "vertical_flip", "color_jitter", "combined", "mixup"] = "baseline"
    figures: ClassVar[str] = "13"

    def config(self) -> StudentConfig:
        policy, model = POLICIES[self.policy], VGG(depth=16)
        data, members = selection(self.preset), 5
        if self.preset == "smoke":  # VGG takes 32x32 images only
            data, members = Selection(dataset=Synthetic(images=20, image_size=32)), 1
        return student(
            self.preset,
            self.trial,
            teachers=teachers(self.preset, self.trial, members, model, data),
            model=model,
            data=DataConfig(train=data),
            augmentation=policy.augmentation,
            objective=ForwardCrossEntropy(temperature=policy.temperature),
        )
