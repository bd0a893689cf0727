"""Teachers that were trained on different classes, as one teacher of all."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from repro.distill.merging import Classes, Merge


class DisjointClasses(Merge):
    """z[c] = z_i[c] - the mean over i's classes of z_i, for each class c of teacher i; p = softmax(z).

    Each teacher's logits of its own classes, shifted to zero mean, side by side: the target of Deep Model Consolidation
    (Zhang et al. 2020, arXiv:1903.07864), made for exactly this. What a teacher says of classes that it has never seen
    is not looked at. Among its own classes the target has the teacher's own distribution. How much mass a teacher's
    classes get follows from how far its logits spread: a teacher hardly tells its classes apart on an image of none of
    them, which it therefore leaves to the others. No logit says so by itself; that is the assumption.

    Together the teachers must know every class, each of them once (`data.train.classes`).
    """

    name: Literal["disjoint_classes"] = "disjoint_classes"

    def check(self, known: Sequence[Classes], num_classes: int) -> None:
        together = sorted(label for classes in known for label in classes)
        twice = sorted({label for label in together if together.count(label) > 1})
        if twice:
            raise ValueError(
                f"disjoint_classes: class {twice[0]} is known to several teachers; set each one's data.train.classes"
            )
        missing = sorted(set(range(num_classes)) - set(together))
        if missing:
            raise ValueError(f"disjoint_classes: no teacher knows class {missing[0]}")

    def merge(self, member_logits: Tensor, known: Sequence[Classes]) -> Tensor:
        merged = torch.empty_like(member_logits[0])
        for logits, classes in zip(member_logits, known, strict=True):
            own = logits[:, list(classes)]
            merged[:, list(classes)] = own - own.mean(dim=1, keepdim=True)
        return merged
