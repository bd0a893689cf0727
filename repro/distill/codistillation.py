"""Co-distillation (Anil et al. 2018, arXiv:1804.03235)."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from repro.distill.divergences import kl_divergence
from repro.distill.ensemble import ensemble_logits
from repro.distill.peers import PeerObjective


class Codistillation(PeerObjective):
    """L_i = CE(y, p_i), and after a burn-in + weight * KL(mean over the other peers j of p_j || p_i): Algorithm 1.

    The other peers are one ensemble, where `mutual_learning` looks at each by itself; with two peers and no burn-in the
    two are the same. The paper's distance is the cross-entropy to soft labels, whose gradient is this KL's. There the
    others are stale copies, so that machines need not wait for each other; here they are of the same step. How long
    to burn in is a matter of the task there; the share of a tenth is ours.
    """

    name: Literal["codistillation"] = "codistillation"
    burn_in: float = Field(default=0.1, ge=0.0, lt=1.0)
    """The share of training before the peers look at each other."""

    def mimicry(self, log_q: Tensor, log_p: Tensor, progress: float) -> Tensor:
        if progress < self.burn_in:
            return log_q.new_zeros(())
        return kl_divergence(ensemble_logits(log_p), log_q).mean()
