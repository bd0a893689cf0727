"""Distances between the teacher's and the student's tempered distributions.

p is the distribution of the teachers' ensemble and q is the student's. Everything is computed from log p and
log q, so that a probability too small for float32 causes neither an infinite loss nor a NaN.
"""

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from repro.distill.ensemble import ensemble_logits
from repro.distill.objective import DistillationObjective


def cross_entropy(log_p: Tensor, log_q: Tensor) -> Tensor:
    """-sum_j p_j log q_j in nats: (..., classes) and (..., classes) -> (...)."""
    return -(log_p.exp() * log_q).sum(dim=-1)


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) in nats: (..., classes) and (..., classes) -> (...)."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def symmetrized_kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """(KL(p || q) + KL(q || p)) / 2 in nats: (..., classes) and (..., classes) -> (...).

    Half of Jeffreys' divergence (Kullback & Leibler 1951, doi:10.1214/aoms/1177729694), written as a single sum
    of non-negative terms.
    """
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1)


class DivergenceObjective(DistillationObjective):
    """A distance between the distributions of the ensemble and of the student."""

    @abstractmethod
    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """The distance for each image, (batch,), given both log-probabilities (batch, classes)."""

    def distance(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        generator: torch.Generator,  # noqa: ARG002
    ) -> Tensor:
        log_p = self.log_probabilities(ensemble_logits(teacher_logits))
        log_q = self.log_probabilities(student_logits)
        return self.divergence(log_p, log_q).mean()


class ForwardCrossEntropy(DivergenceObjective):
    """-sum_j p_j log q_j, the paper's L_KD (eq. 1, arXiv 2106.05945).

    `forward_kl` plus the teacher's entropy, which does not depend on the student: the gradients are equal.
    """

    name: Literal["forward_cross_entropy"] = "forward_cross_entropy"

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return cross_entropy(log_p, log_q)


class ForwardKL(DivergenceObjective):
    """KL(p || q): `forward_cross_entropy` minus the teacher's entropy, so zero when the student matches."""

    name: Literal["forward_kl"] = "forward_kl"

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return kl_divergence(log_p, log_q)


class ReverseKL(DivergenceObjective):
    """KL(q || p): weights the classes by the student's own probabilities, so it seeks the teacher's mode."""

    name: Literal["reverse_kl"] = "reverse_kl"

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return kl_divergence(log_q, log_p)


class SymmetricKL(DivergenceObjective):
    """(KL(p || q) + KL(q || p)) / 2, the mean of the two directions.

    Near q = p the two directions agree to second order, so the mean has the scale of `forward_kl`, and alpha and the
    learning rate keep their meaning. The original code takes the sum, which is twice this.
    """

    name: Literal["symmetric_kl"] = "symmetric_kl"

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return symmetrized_kl_divergence(log_p, log_q)


class MemberSymmetricKL(DistillationObjective):
    """`symmetric_kl` to each member of the ensemble separately, averaged over the members.

    With a single member it is `symmetric_kl`. If members disagree, it stays above zero, and its optimum is not
    their mean distribution.
    """

    name: Literal["member_symmetric_kl"] = "member_symmetric_kl"

    def distance(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        generator: torch.Generator,  # noqa: ARG002
    ) -> Tensor:
        log_p = self.log_probabilities(teacher_logits)
        log_q = self.log_probabilities(student_logits)
        return symmetrized_kl_divergence(log_p, log_q).mean()


class Brier(DivergenceObjective):
    """sum_j (p_j - q_j)^2, in [0, 2]: the Brier score (doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2)
    with the teacher's distribution in place of the label.

    Summed over the classes. The original code averages over them instead, which divides it by their number.
    """

    name: Literal["brier"] = "brier"

    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return (log_p.exp() - log_q.exp()).square().sum(dim=-1)
