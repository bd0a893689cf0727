"""Relational knowledge distillation (Park et al. 2019, arXiv:1904.05068)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from repro.distill.hidden import HiddenObjective, as_vectors


class Relational(HiddenObjective):
    """The Huber loss on the distances of pairs (eq. 5) + angle_weight * the Huber loss on angles of triplets (eq. 7).

    The pairs and triplets are those within a batch, on the last hidden layer, with maps averaged over their pixels.
    Distances are divided by their mean; angles are the cosines of the angle that two images subtend at a third. Only
    relations are compared, so the layers may have any widths. The paper's weights are 25 for distances and 50 for
    angles.
    """

    name: Literal["relational"] = "relational"
    default_layers: ClassVar[Literal["all", "middle", "last"]] = "last"
    weight: float = Field(default=25.0, gt=0.0)
    angle_weight: float = Field(default=2.0, ge=0.0)
    """The weight of the angles relative to that of the distances."""

    def hidden_distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList) -> Tensor:  # noqa: ARG002
        losses = []
        for own, other in zip(student, teacher, strict=True):
            ours, theirs = as_vectors(own), as_vectors(other)
            loss = F.smooth_l1_loss(relative_distances(ours), relative_distances(theirs))
            losses.append(loss + self.angle_weight * F.smooth_l1_loss(angles(ours), angles(theirs)))
        return torch.stack(losses).mean()


def relative_distances(vectors: Tensor) -> Tensor:
    """(n, features) -> (n, n): Euclidean distances divided by their mean over all pairs of different images (eq. 3)."""
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = len(vectors) * (len(vectors) - 1)
    return distances * pairs / distances.sum().clamp(min=torch.finfo(vectors.dtype).tiny)


def angles(vectors: Tensor) -> Tensor:
    """(n, features) -> (n, n, n): at image j, the cosine of the angle between images i and k (eq. 6)."""
    directions = F.normalize(vectors.unsqueeze(0) - vectors.unsqueeze(1), dim=2)
    return directions @ directions.mT
