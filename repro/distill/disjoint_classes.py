"""Teachers that were trained on different classes, merged into one teacher of all classes."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from repro.distill.merging import Classes, Merge


class DisjointClasses(Merge):
    """z[c] = z_i[c] - the mean over i's classes of z_i, for each class c of teacher i; p = softmax(z).

    Each teacher's logits for its own classes are shifted to zero mean and concatenated: the target of Deep Model
    Consolidation (Zhang et al. 2020, arXiv:1903.07864), which was made for exactly this case. A teacher's logits for
    classes that it has never seen are ignored. Among a teacher's own classes, the target has that teacher's
    distribution. How much probability its classes get depends on the spread of its logits. The assumption is that a
    teacher hardly distinguishes its classes on an image of none of them, and thereby leaves the image to the others;
    no single logit says so.

    Together the teachers must know every class, each class exactly once (`data.train.classes`).
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
        # By columns: an index list would be copied to the GPU at every step, and the host would wait for it.
        merged: dict[int, Tensor] = {}
        for logits, classes in zip(member_logits, known, strict=True):
            columns = logits.unbind(dim=1)
            own = torch.stack([columns[label] for label in classes], dim=1)
            merged |= zip(classes, (own - own.mean(dim=1, keepdim=True)).unbind(dim=1), strict=True)
        return torch.stack([merged[label] for label in sorted(merged)], dim=1)
