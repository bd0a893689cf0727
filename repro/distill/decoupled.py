"""Decoupled knowledge distillation (Zhao et al. 2022, arXiv:2203.08679)."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from repro.distill.divergences import DivergenceObjective, kl_divergence


class DecoupledKD(DivergenceObjective):
    """target_weight * KL(b_t || b_s) + non_target_weight * KL(p^_t || p^_s), eq. 7 of the paper.

    b is the pair (probability of the target class, of all others together), p^ the distribution among the others.
    `forward_kl` is the first KL plus (1 - the teacher's probability of the target) times the second, so it learns
    little about the other classes from a confident teacher. The defaults are the paper's for ResNets on CIFAR-100:
    alpha = 1, beta = 8 and temperature 4.

    The target is the teacher's most probable class; the paper uses the true label, which an image here may not have.
    When the teacher is right, the two are the same.
    """

    name: Literal["decoupled"] = "decoupled"
    temperature: float = Field(default=4.0, gt=0, le=1e6)
    target_weight: float = Field(default=1.0, ge=0)
    non_target_weight: float = Field(default=8.0, ge=0)

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        target = log_p.argmax(dim=-1, keepdim=True)
        others = torch.arange(log_p.shape[-1] - 1, device=log_p.device)
        others = others + (others >= target).long()  # every class but the target, (batch, classes - 1)
        binary, among_others = [], []
        for log_probabilities in (log_p, log_q):
            rest = log_probabilities.gather(-1, others)
            together = rest.logsumexp(dim=-1, keepdim=True)
            binary.append(torch.cat([log_probabilities.gather(-1, target), together], dim=-1))
            among_others.append(rest - together)
        return self.target_weight * kl_divergence(*binary) + self.non_target_weight * kl_divergence(*among_others)
