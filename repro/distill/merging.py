"""The base of rules that merge several teachers into one; without a rule they form an ensemble, their mean."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor

from repro.component import Component

Classes: TypeAlias = tuple[int, ...]
"""The classes that a network was trained on, ascending."""


class Merge(Component):
    """A rule, chosen by `name`, that merges several teachers into one, used by all objectives and fidelity metrics."""

    name: str

    @abstractmethod
    def check(self, known: Sequence[Classes], num_classes: int) -> None:
        """Raise ValueError if teachers that know these classes of `num_classes` cannot be merged."""

    @abstractmethod
    def merge(self, member_logits: Tensor, known: Sequence[Classes]) -> Tensor:
        """The logits of the merged teacher: (members, batch, classes) -> (batch, classes).

        known: the classes each member was trained on.
        """
