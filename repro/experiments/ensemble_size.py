"""Figure 10: are bigger ensembles easier to match?"""

from typing import ClassVar, Literal

from pydantic import Field

from repro.config import StudentConfig
from repro.experiments.cifar import MAX_MEMBERS, network, student, teachers
from repro.experiments.study import Study


class EnsembleSize(Study):
    """One ResNet-56 student of an ensemble of 1 to 12 ResNet-56 teachers, CIFAR-100 (Figure 10).

    Question: how do fidelity and accuracy change with the size of the ensemble?

    Conditions: `members`, 1 to 12. Baseline augmentation, temperature 1. The ensemble of m consists of the first m of
    the trial's twelve teachers.

    The paper found: agreement rises from about 77.5 % (m = 1) to 86 % (m = 12), student accuracy from about 74.0 %
    to 75.9 %, most of it by m = 4; teacher accuracy from about 71.0 % to 77.6 %.
    """

    name: Literal["ensemble_size"] = "ensemble_size"
    members: int = Field(default=1, ge=1, le=MAX_MEMBERS)
    figures: ClassVar[str] = "10"

    def config(self) -> StudentConfig:
        model = network(self.preset, 56)
        return student(
            self.preset, self.trial, teachers=teachers(self.preset, self.trial, self.members, model), model=model
        )
