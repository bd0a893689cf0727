"""Correlation congruence (Peng et al. 2019, arXiv:1904.01802)."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from repro.distill.hidden import HiddenObjective, as_vectors


class Correlation(HiddenObjective):
    """||C_t - C_s||^2 / batch^2, where C holds the Gaussian kernel of every pair of images (eq. 4, 5 and 9).

    The kernel exp(-gamma ||x - y||^2) of unit-length representations is expanded to the given order, at most 100, as in
    the paper (with gamma 0.4 and order 2). By default, the last hidden layer is compared; maps are averaged over their
    pixels.
    The weight is our choice: the paper's experiments state it relative to losses on a different scale.
    """

    name: Literal["correlation"] = "correlation"
    default_layers: ClassVar[Literal["all", "middle", "last"]] = "last"
    weight: float = Field(default=100.0, gt=0.0)
    gamma: float = Field(default=0.4, gt=0.0)
    order: int = Field(default=2, ge=1, le=100)

    def hidden_distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList) -> Tensor:  # noqa: ARG002
        distances = [
            (self.correlations(own) - self.correlations(other)).square().mean()
            for own, other in zip(student, teacher, strict=True)
        ]
        return torch.stack(distances).mean()

    def correlations(self, features: Tensor) -> Tensor:
        """(n, ...) -> (n, n): exp(-2 gamma) * sum_p (2 gamma)^p / p! * (x . y)^p, the kernel's Taylor expansion."""
        vectors = F.normalize(as_vectors(features), dim=1)
        products = vectors @ vectors.T
        terms = [(2 * self.gamma) ** p / math.factorial(p) * products**p for p in range(self.order + 1)]
        return math.exp(-2 * self.gamma) * torch.stack(terms).sum(dim=0)
