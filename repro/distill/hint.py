"""Hints from a middle layer (FitNets, Romero et al. 2015, arXiv:1412.6550)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from repro.distill.hidden import HiddenObjective, Shape, regressor, to_same_size


class Hint(HiddenObjective):
    """1/2 ||h_t - r(h_s)||^2, the mean over features: eq. 3 of the paper; r is linear and learned with the student.

    Maps are compared at the smaller of the two resolutions, and r is a 1x1 convolution. The paper first trains the
    lower half of the student on this loss alone, then the whole student on soft labels. Here both terms are trained at
    once, so that training costs the same as with every other method; the weight 100 is half of that of Tian et
    al. 2020 (arXiv:1910.10699), whose distance lacks the 1/2.
    """

    name: Literal["hint"] = "hint"
    default_layers: ClassVar[Literal["all", "middle", "last"]] = "middle"
    weight: float = Field(default=100.0, gt=0.0)

    def modules(self, student: Sequence[Shape], teacher: Sequence[Shape]) -> nn.ModuleList:
        return nn.ModuleList([regressor(own, other) for own, other in zip(student, teacher, strict=True)])

    def hidden_distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList) -> Tensor:
        distances = []
        for own, other, to_teacher in zip(student, teacher, modules, strict=True):
            ours, theirs = to_same_size(own, other) if own.ndim == 4 else (own, other)
            distances.append(0.5 * (to_teacher(ours) - theirs).square().mean())
        return torch.stack(distances).mean()
