"""The angle between hidden representations (Sanh et al. 2019, DistilBERT, arXiv:1910.01108)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from repro.distill.hidden import HiddenObjective, Shape, as_vectors, vector_size


class HiddenCosine(HiddenObjective):
    """1 - cos(h_s, h_t) of the last hidden layer, maps averaged over their pixels (section 3 of the paper).

    If the widths differ, the student's representation first passes through a learned linear map to the teacher's width;
    the paper's student is as wide as its teacher. The paper gives this term one fifth of the weight of the soft labels:
    0.2.
    """

    name: Literal["hidden_cosine"] = "hidden_cosine"
    default_layers: ClassVar[Literal["all", "middle", "last"]] = "last"
    weight: float = Field(default=0.2, gt=0.0)

    def modules(self, student: Sequence[Shape], teacher: Sequence[Shape]) -> nn.ModuleList:
        sizes = [(vector_size(own), vector_size(other)) for own, other in zip(student, teacher, strict=True)]
        return nn.ModuleList([nn.Identity() if own == other else nn.Linear(own, other) for own, other in sizes])

    def hidden_distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList) -> Tensor:
        cosines = [
            F.cosine_similarity(to_teacher(as_vectors(own)), as_vectors(other), dim=1).mean()
            for own, other, to_teacher in zip(student, teacher, modules, strict=True)
        ]
        return 1.0 - torch.stack(cosines).mean()
