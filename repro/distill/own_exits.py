"""A network teaches its own early exits (*Be Your Own Teacher*, Zhang et al. 2019, arXiv:1905.08094)."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from repro.distill.companions import Companion, CompanionObjective
from repro.distill.divergences import kl_divergence
from repro.distill.hidden import Shape, check_map_or_vector

POOLED = 4
"""The maximum resolution at which an exit sees maps."""


class OwnExits(CompanionObjective):
    """CE(y, p) + sum over exits i of (1 - alpha) CE(y, p_i) + alpha tau^2 KL(p^tau || p_i^tau), after the paper's loss.

    Every stage but the last gets an exit, a small classifier. p is the prediction of the whole network (the deepest
    exit), treated as a constant: that exit learns from labels alone, but through stages that it shares with the others.
    Temperature 3 and alpha 0.3 are common in implementations of the paper. The paper's third term, a hint from the
    deepest exit's features to the others' with a weight of 0.03, is left out.
    """

    name: Literal["own_exits"] = "own_exits"
    temperature: float = Field(default=3.0, gt=0.0, le=1e6)
    alpha: float = Field(default=0.3, ge=0.0, le=1.0)
    """The weight of the deepest exit's prediction relative to the labels. At 0 exits learn from labels alone: the
    control that shows what learning from the deepest exit changes."""

    def check_stages(self, stages: Mapping[str, Shape]) -> None:
        if len(stages) < 2:
            raise ValueError(f"own_exits needs a network of two stages or more; this has {', '.join(stages) or 'none'}")
        for stage, shape in stages.items():
            check_map_or_vector(f"student's '{stage}'", shape)

    def companions(
        self,
        build: Callable[[], nn.Module],  # noqa: ARG002
        stages: Mapping[str, Shape],
        classes: int,
    ) -> nn.ModuleDict:
        *early, last = stages
        return nn.ModuleDict({stage: Exit(stage, stages[stage], stages[last][0], classes) for stage in early})

    def companion_loss(
        self,
        student_logits: Tensor,
        companion_logits: Tensor,
        labels: Tensor,
        progress: float,  # noqa: ARG002
    ) -> Tensor:
        log_p = F.log_softmax(student_logits.detach() / self.temperature, dim=-1)
        losses = []
        for logits in companion_logits:
            divergence = kl_divergence(log_p, F.log_softmax(logits / self.temperature, dim=-1)).mean()
            label_loss = F.cross_entropy(logits, labels)
            losses.append((1 - self.alpha) * label_loss + self.alpha * self.temperature**2 * divergence)
        return torch.stack(losses).sum()


class Exit(Companion):
    """A classifier with one hidden layer of `features` units on a stage's output; maps are pooled to at most 4x4."""

    def __init__(self, stage: str, shape: Shape, features: int, classes: int) -> None:
        super().__init__()
        self.stage = stage
        size = [min(POOLED, pixels) for pixels in shape[1:]]
        pooling = nn.AdaptiveAvgPool2d((size[0], size[1])) if size else nn.Identity()
        inputs = shape[0] * size[0] * size[1] if size else shape[0]
        self.classifier = nn.Sequential(
            pooling, nn.Flatten(), nn.Linear(inputs, features), nn.ReLU(), nn.Linear(features, classes)
        )

    def forward(self, inputs: Tensor, stages: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002
        logits: Tensor = self.classifier(stages[self.stage])
        return logits
