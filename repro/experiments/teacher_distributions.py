"""Figure 8: what does a teacher's distribution over classes look like?"""

from typing import ClassVar, Literal

from pydantic import Field

from repro.config import TeacherConfig
from repro.experiments.cifar import MAX_MEMBERS, network, teachers
from repro.experiments.study import Study


class TeacherDistributions(Study):
    """The teachers whose softened predictions Figure 8 shows, by depth and ensemble size.

    Question: how much is there to learn from a teacher apart from its top class?

    Conditions: `depth` (20, 56) and `member`, the teacher's place in the ensemble. The figure draws softmax(z) and
    softmax(z / 4) for ensembles of the first m members. This study has no runs of its own: its runs are the teachers
    of the other studies.
    """

    name: Literal["teacher_distributions"] = "teacher_distributions"
    depth: Literal[20, 56] = 20
    member: int = Field(default=0, ge=0, lt=MAX_MEMBERS)
    figures: ClassVar[str] = "8"

    def config(self) -> TeacherConfig:
        return teachers(self.preset, self.trial, self.member + 1, network(self.preset, self.depth))[self.member]
