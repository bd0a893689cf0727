"""Similarity-preserving distillation (Tung & Mori 2019, arXiv:1907.09682)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from repro.distill.hidden import HiddenObjective


class Similarity(HiddenObjective):
    """||G_t - G_s||^2 / batch^2, eq. 4 of the paper; its weight there is 3000.

    Row i of G (batch, batch) holds the similarities between image i and every image: the inner products of their
    activations over all features and pixels, scaled so that the row has length 1 (eq. 1 to 3). By default, the
    activations are those of the last hidden layer.
    """

    name: Literal["similarity"] = "similarity"
    default_layers: ClassVar[Literal["all", "middle", "last"]] = "last"
    weight: float = Field(default=3000.0, gt=0.0)

    def hidden_distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList) -> Tensor:  # noqa: ARG002
        distances = [
            (similarities(own) - similarities(other)).square().mean()
            for own, other in zip(student, teacher, strict=True)
        ]
        return torch.stack(distances).mean()


def similarities(features: Tensor) -> Tensor:
    """(n, ...) -> (n, n): inner products of the activations, rows of length 1."""
    flat = features.flatten(1)
    return F.normalize(flat @ flat.T, dim=1)
