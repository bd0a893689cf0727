"""The base of rules by which several teachers become one; without a rule they are an ensemble, their mean."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor

from repro.component import Component

Classes: TypeAlias = tuple[int, ...]
"""The classes that a network was trained on, ascending."""


class Merge(Component):
    """How several teachers become one, chosen by `name`. All objectives, and all metrics of fidelity, see that one."""

    name: str

    @abstractmethod
    def check(self, known: Sequence[Classes], num_classes: int) -> None:
        """Raise ValueError if teachers that know these classes of `num_classes` cannot be merged."""

    @abstractmethod
    def merge(self, member_logits: Tensor, known: Sequence[Classes]) -> Tensor:
        """The logits of the one teacher: (members, batch, classes) -> (batch, classes).

        known: the classes each member was trained on.
        """
