"""Co-distillation (Anil et al. 2018, arXiv:1804.03235)."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from repro.distill.divergences import kl_divergence
from repro.distill.ensemble import ensemble_logits
from repro.distill.peers import PeerObjective


class Codistillation(PeerObjective):
    """L_i = CE(y, p_i), plus weight * KL(mean over the other peers j of p_j || p_i) after a burn-in: Algorithm 1.

    The other peers form one ensemble, whereas `mutual_learning` compares with each separately; with two peers and no
    burn-in the two objectives are the same. The paper's distance is the cross-entropy to soft labels, which has the
    same gradient as this KL. In the paper the other peers are stale copies, so that machines need not wait for each
    other; here they are from the same step. The paper's burn-in depends on the task; the default of a tenth is our
    choice.
    """

    name: Literal["codistillation"] = "codistillation"
    burn_in: float = Field(default=0.1, ge=0.0, lt=1.0)
    """The fraction of training before the peers learn from each other."""

    def mimicry(self, log_q: Tensor, log_p: Tensor, progress: float) -> Tensor:
        if progress < self.burn_in:
            return log_q.new_zeros(())
        return kl_divergence(ensemble_logits(log_p), log_q).mean()
