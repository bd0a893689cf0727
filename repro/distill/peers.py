"""The base of online distillation: networks of one architecture that learn from labels and from each other."""

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from repro.distill.companions import Companion, CompanionObjective
from repro.distill.hidden import Shape


class PeerObjective(CompanionObjective):
    """The loss of each of k networks: cross-entropy to the labels + weight * its distance to the others' predictions.

    All see the same batches and start from different random weights. The others' predictions are treated as constants:
    no gradient flows through them. The student is the first of the networks and has no special role.
    """

    peers: int = Field(default=2, ge=2)
    """k, the student included."""
    weight: float = Field(default=1.0, ge=0.0)
    """At 0 each network learns alone: the control that shows what learning from each other changes."""

    @abstractmethod
    def mimicry(self, log_q: Tensor, log_p: Tensor, progress: float) -> Tensor:
        """A network's distance to its peers as a scalar, the mean over the batch.

        log_q (batch, classes): its log-probabilities; log_p (peers, batch, classes): the others', without gradient.
        """

    @property
    def networks(self) -> int:
        return self.peers

    def companions(
        self,
        build: Callable[[], nn.Module],
        stages: Mapping[str, Shape],  # noqa: ARG002
        classes: int,  # noqa: ARG002
    ) -> nn.ModuleDict:
        return nn.ModuleDict({f"peer{number}": Peer(build()) for number in range(1, self.peers)})

    def companion_loss(
        self, student_logits: Tensor, companion_logits: Tensor, labels: Tensor, progress: float
    ) -> Tensor:
        loss = torch.stack([F.cross_entropy(logits, labels) for logits in companion_logits]).sum()
        if self.weight == 0:
            return loss
        log_probabilities = F.log_softmax(torch.cat([student_logits.unsqueeze(0), companion_logits]), dim=-1)
        given = log_probabilities.detach()
        distances = [
            self.mimicry(own, torch.cat([given[:number], given[number + 1 :]]), progress)
            for number, own in enumerate(log_probabilities)
        ]
        return loss + self.weight * torch.stack(distances).sum()


class Peer(Companion):
    """A separate network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, stages: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002
        logits: Tensor = self.network(inputs)
        return logits
