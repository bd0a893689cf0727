"""Where the networks look: attention transfer (Zagoruyko & Komodakis 2017, arXiv:1612.03928)."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from repro.distill.hidden import HiddenObjective, to_same_size


class AttentionTransfer(HiddenObjective):
    """The sum over layers of the mean over pixels of (Q_s / ||Q_s|| - Q_t / ||Q_t||)^2, after eq. 2 of the paper.

    Q is the attention map of a layer: the mean over channels of the squared activations, as a vector over pixels. The
    two networks may have different numbers of channels. Squaring and averaging over pixels follow the authors'
    experiments, whose weight is 1000.
    """

    name: Literal["attention_transfer"] = "attention_transfer"
    default_layers: ClassVar[Literal["all", "middle", "last"]] = "all"
    maps_only: ClassVar[bool] = True
    weight: float = Field(default=1000.0, gt=0.0)

    def hidden_distance(self, student: Sequence[Tensor], teacher: Sequence[Tensor], modules: nn.ModuleList) -> Tensor:  # noqa: ARG002
        distances = []
        for own, other in zip(student, teacher, strict=True):
            ours, theirs = to_same_size(attention(own), attention(other))
            difference = F.normalize(ours.flatten(1), dim=1) - F.normalize(theirs.flatten(1), dim=1)
            distances.append(difference.square().mean())
        return torch.stack(distances).sum()


def attention(maps: Tensor) -> Tensor:
    """(batch, channels, height, width) -> (batch, 1, height, width): the mean over channels of the square."""
    return maps.square().mean(dim=1, keepdim=True)
