"""An ensemble whose members have different weights."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from repro.distill.merging import Classes, Merge

SUM_TOLERANCE = 1e-6


class WeightedMean(Merge):
    """p(y|x) = sum over teachers i of w_i p_i(y|x), with positive weights that add up to 1.

    The "linear opinion pool" of experts (Stone 1961, doi:10.1214/aoms/1177704873). With equal weights it is the same as
    the ensemble that teachers form without a rule.
    """

    name: Literal["weighted_mean"] = "weighted_mean"
    weights: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = Field(min_length=2)
    """One weight for each teacher, in their order."""

    @model_validator(mode="after")
    def _sum_is_one(self) -> Self:
        total = math.fsum(self.weights)
        if abs(total - 1) > SUM_TOLERANCE:
            raise ValueError(f"the weights of teachers add up to {total:g}, not to 1")
        return self

    def check(self, known: Sequence[Classes], num_classes: int) -> None:  # noqa: ARG002
        if len(known) != len(self.weights):
            raise ValueError(f"{len(self.weights)} weights were given for {len(known)} teachers")

    def merge(self, member_logits: Tensor, known: Sequence[Classes]) -> Tensor:  # noqa: ARG002
        """The log of the mean, computed in log space: finite even if a probability underflows."""
        members = zip(F.log_softmax(member_logits, dim=-1), self.weights, strict=True)
        return torch.stack([log_p + math.log(weight) for log_p, weight in members]).logsumexp(dim=0)
