"""How features flow from layer to layer (FSP, Yim et al. 2017, doi:10.1109/CVPR.2017.754)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from repro.distill.hidden import HiddenObjective, Shape, regressor, to_same_size


class Flow(HiddenObjective):
    """The mean squared difference between student's and teacher's flow matrices of consecutive layers (eq. 1, 2).

    G_ij = mean over pixels of F1_i * F2_j, for channel i of one layer and channel j of the next; the first layer is
    average-pooled to the resolution of the second. The paper sums over the entries, where we take the mean, and trains
    first on the flow and then on the labels; here both are trained at once. If a student's layer has a different number
    of channels than the teacher's, it first passes through a learned 1x1 convolution, which the paper does not have.
    """

    name: Literal["flow"] = "flow"
    default_layers: ClassVar[Literal["all", "middle", "last"]] = "all"
    maps_only: ClassVar[bool] = True
    weight: float = Field(default=1.0, gt=0.0)

    def modules(self, student: Sequence[Shape], teacher: Sequence[Shape]) -> nn.ModuleList:
        if len(student) < 2:
            raise ValueError("layers: flow needs at least two layers of feature maps, to compare one with the next")
        return nn.ModuleList(
            [
                nn.Identity() if own[0] == other[0] else regressor(own, other)
                for own, other in zip(student, teacher, strict=True)
            ]
        )

    def hidden_distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList) -> Tensor:
        ours = flow_matrices([to_teacher(maps) for to_teacher, maps in zip(modules, student, strict=True)])
        theirs = flow_matrices(teacher)
        distances = [(own - other).square().mean() for own, other in zip(ours, theirs, strict=True)]
        return torch.stack(distances).mean()


def flow_matrices(layers: Sequence[Tensor]) -> list[Tensor]:
    """The flow (batch, m, n) of every two consecutive layers (batch, m, h, w) and (batch, n, h', w')."""
    matrices = []
    for first, second in pairwise(layers):
        one, other = (maps.flatten(2) for maps in to_same_size(first, second))
        matrices.append(one @ other.mT / one.shape[2])
    return matrices
