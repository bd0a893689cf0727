"""Deep mutual learning (Zhang et al. 2018, arXiv:1706.00384)."""

from typing import Literal

from torch import Tensor

from repro.distill.divergences import kl_divergence
from repro.distill.peers import PeerObjective


class MutualLearning(PeerObjective):
    """L_i = CE(y, p_i) + weight * 1/(k - 1) * sum over the other peers j of KL(p_j || p_i): the paper's loss for k.

    The paper's weight is 1, most of its experiments have two peers, and there is no temperature. In the paper, networks
    are updated one after another within a step; here they are updated all at once.
    """

    name: Literal["mutual_learning"] = "mutual_learning"

    def mimicry(self, log_q: Tensor, log_p: Tensor, progress: float) -> Tensor:  # noqa: ARG002
        return kl_divergence(log_p, log_q).mean()
