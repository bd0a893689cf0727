"""Figures 3, 11 and 5 (right): does more augmentation make the student more faithful?"""

from typing import ClassVar, Literal

from repro.config import DataConfig, GeneratedStream, Selection, StudentConfig
from repro.distill.divergences import ForwardCrossEntropy
from repro.experiments.cifar import SCALES, generator, network, selection, student, teachers
from repro.experiments.policies import POLICIES, Policy, PolicyName
from repro.experiments.study import Preset, Study


class AugmentationStudy(Study):
    """Eleven augmentation policies for the student of a ResNet-56 ensemble on CIFAR-100 (Figures 3, 11, 5 right).

    Question: which distillation data lets the student identify its teacher? Does what helps fidelity also help
    accuracy?

    Conditions: `policy` (`repro/experiments/policies.py`; temperature 1 unless the name says otherwise) and
    `members`, the size of the teacher ensemble (1, 3, 5). Students are ResNet-56. With policy `gan`, each batch has
    one fresh image from the SN-GAN for every four real ones. As in the original code, the student matches GAN images
    at temperature 1 and real ones at temperature 4.

    The paper found (m = 5): no policy exceeds about 86 % test agreement; MixUp at temperature 4 is the most
    faithful, MixUp at temperature 1 the most accurate; temperature 4 alone gives most of the gain; noise and
    out-of-distribution images hurt both. On the distillation data itself, agreement is lower under heavier policies.
    """

    name: Literal["augmentation"] = "augmentation"
    policy: PolicyName = "baseline"
    members: Literal[1, 3, 5] = 5
    figures: ClassVar[str] = "3, 11, 5 right"

    def config(self) -> StudentConfig:
        policy, model = POLICIES[self.policy], network(self.preset, 56)
        return student(
            self.preset,
            self.trial,
            teachers=teachers(self.preset, self.trial, self.members, model),
            model=model,
            data=_data(self.preset, policy),
            augmentation=policy.augmentation,
            objective=ForwardCrossEntropy(temperature=policy.temperature),
        )


def _data(preset: Preset, policy: Policy) -> DataConfig:
    scale = SCALES[preset]
    pool = Selection(dataset=scale.out_of_distribution, size=scale.out_of_distribution_images)
    stream = GeneratedStream(generator=generator(preset), share=0.2, temperature=1.0)
    return DataConfig(
        train=selection(preset),
        pools=(pool,) if policy.out_of_distribution else (),
        streams=(stream,) if policy.generated else (),
    )
