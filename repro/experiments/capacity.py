"""Figure 12: does a bigger student match its teacher better?"""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from repro.config import StudentConfig
from repro.distill.divergences import ForwardCrossEntropy
from repro.experiments.cifar import network, student, teachers
from repro.experiments.study import Study

PAIRS = ((20, 20), (20, 56), (56, 56), (56, 110))


class Capacity(Study):
    """ResNet students as deep as their teachers, or twice as deep, on CIFAR-100 (Figure 12).

    Question: is low fidelity a lack of capacity?

    Conditions: `teacher_depth` and `student_depth` (20 -> 20, 20 -> 56, 56 -> 56, 56 -> 110) and `members` (1, 3,
    5). Baseline augmentation. Temperature 4, the original code's default; the paper does not say.

    The paper found: doubling the depth adds only 2 to 3 points of agreement.
    """

    name: Literal["capacity"] = "capacity"
    teacher_depth: Literal[20, 56] = 20
    student_depth: Literal[20, 56, 110] = 20
    members: Literal[1, 3, 5] = 1
    figures: ClassVar[str] = "12"

    @model_validator(mode="after")
    def _one_of_the_pairs(self) -> Self:
        if (self.teacher_depth, self.student_depth) not in PAIRS:
            pairs = ", ".join(f"{teacher} -> {student}" for teacher, student in PAIRS)
            raise ValueError(
                f"depths {self.teacher_depth} -> {self.student_depth} are not in the study; valid: {pairs}"
            )
        return self

    def config(self) -> StudentConfig:
        return student(
            self.preset,
            self.trial,
            teachers=teachers(self.preset, self.trial, self.members, network(self.preset, self.teacher_depth)),
            model=network(self.preset, self.student_depth),
            objective=ForwardCrossEntropy(temperature=4.0),
        )
