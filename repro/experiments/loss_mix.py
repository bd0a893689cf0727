"""Figure 14: does mixing in the true labels make a student more faithful?"""

from typing import ClassVar, Literal

from pydantic import Field

from repro.config import StudentConfig
from repro.distill.divergences import ForwardCrossEntropy
from repro.experiments.cifar import network, student, teachers
from repro.experiments.study import Study


class LossMix(Study):
    """alpha L_NLL + (1 - alpha) L_KD for ResNet-56 students on CIFAR-100 (Figure 14).

    Question: is a student more faithful if true labels are added to the teacher's?

    Conditions: `alpha`, the weight of the true labels (0, 0.1, 0.3, 0.5, 0.7), and `members` (1, 3, 5).
    Temperature 1, Baseline augmentation.

    The paper found: no. Agreement falls or stays the same as alpha grows (m = 5: from about 78.5 % to 77.5 %).
    """

    name: Literal["loss_mix"] = "loss_mix"
    alpha: float = Field(default=0.0, ge=0.0, lt=1.0)
    members: Literal[1, 3, 5] = 1
    figures: ClassVar[str] = "14"

    def config(self) -> StudentConfig:
        model = network(self.preset, 56)
        return student(
            self.preset,
            self.trial,
            teachers=teachers(self.preset, self.trial, self.members, model),
            model=model,
            objective=ForwardCrossEntropy(temperature=1.0, alpha=self.alpha),
        )
