"""Figures 4, 9 and 5 (middle): should the student see the teacher's own training images, or fresh ones?"""

from typing import ClassVar, Literal

from pydantic import Field

from repro.config import DataConfig, StudentConfig
from repro.data.selection import Half
from repro.distill.divergences import ForwardCrossEntropy
from repro.experiments.cifar import network, selection, student, teachers
from repro.experiments.study import Study

SPLITS: dict[str, Half | None] = {"D0": "D0", "D1": "D1", "both": None}


class DataRecycling(Study):
    """Distillation on the teacher's half of CIFAR-100, the other half, or both (Figures 4, 9, 5 middle).

    Question: teachers are trained on one stratified half of the train images, D0. Is a student more faithful when it
    is distilled on D0, on fresh images (D1), or on both? No true labels are used.

    Conditions: `split` (D0, D1, both), `members` (1, 3, 5), `temperature` (4 in the top row of Figure 4; 1, 4, 8, 16
    at m = 3 in its bottom row and at every m in Figure 9) and `depth` of teachers and student (56 in Figure 4, 20 in
    Figure 9).

    The paper found: the student on D0 has the higher accuracy, the one on D1 the higher agreement and the lower
    KL and ECE; both halves together are best; agreement stays below about 85 %.

    Cost: at `short` with ResNet-20 and one teacher, at most 6 minutes for a teacher (60,000 images) and 13 minutes
    for a student on one half (90,000). These are upper bounds, from one thread of a busy 2-core CPU.
    """

    name: Literal["data_recycling"] = "data_recycling"
    split: Literal["D0", "D1", "both"] = "both"
    members: Literal[1, 3, 5] = 1
    temperature: float = Field(default=4.0, gt=0.0)
    depth: Literal[20, 56] = 20
    figures: ClassVar[str] = "4, 9, 5 middle"

    def config(self) -> StudentConfig:
        model = network(self.preset, self.depth)
        return student(
            self.preset,
            self.trial,
            teachers=teachers(self.preset, self.trial, self.members, model, selection(self.preset, "D0")),
            model=model,
            data=DataConfig(train=selection(self.preset, SPLITS[self.split])),
            objective=ForwardCrossEntropy(temperature=self.temperature),
        )
