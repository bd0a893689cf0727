"""Contrastive distillation with the batch's other images as negatives, a relative of CRD (arXiv:1910.10699)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from repro.distill.hidden import HiddenObjective, Shape, as_vectors, vector_size


class Contrastive(HiddenObjective):
    """-log exp(s_ii / t) / sum_j exp(s_ij / t) with s_ij = cos(e_s(x_i), e_t(x_j)), and the same with i and j swapped.

    e_s and e_t are learned linear embeddings of the last hidden layers. The student's representation of an image must
    identify the teacher's representation of the same image among those of the other images: InfoNCE (van den Oord et
    al. 2018, arXiv:1807.03748, eq. 4), averaged over both directions. Like CRD (Tian et al. 2020), it maximises a bound
    on the mutual information of the representations; embedding size 128, temperature 0.07 and weight 0.8 are CRD's.
    CRD takes thousands of negatives from a memory bank of the whole training set; we take them from the batch.
    """

    name: Literal["contrastive"] = "contrastive"
    default_layers: ClassVar[Literal["all", "middle", "last"]] = "last"
    weight: float = Field(default=0.8, gt=0.0)
    embedding: int = Field(default=128, ge=1)
    sharpness: float = Field(default=0.07, gt=0.0)
    """t, the temperature of the similarities (`temperature` is the temperature of the soft labels)."""

    def modules(self, student: Sequence[Shape], teacher: Sequence[Shape]) -> nn.ModuleList:
        sizes = [vector_size(shape) for pair in zip(student, teacher, strict=True) for shape in pair]
        return nn.ModuleList([nn.Linear(size, self.embedding) for size in sizes])

    def hidden_distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList) -> Tensor:
        losses = []
        for own, other, embed_own, embed_other in zip(student, teacher, modules[::2], modules[1::2], strict=True):
            ours = F.normalize(embed_own(as_vectors(own)), dim=1)
            theirs = F.normalize(embed_other(as_vectors(other)), dim=1)
            similarity = ours @ theirs.T / self.sharpness
            right = torch.arange(len(similarity), device=similarity.device)
            losses.append(0.5 * (F.cross_entropy(similarity, right) + F.cross_entropy(similarity.T, right)))
        return torch.stack(losses).mean()
