"""Several networks as one teacher."""

import math
from collections.abc import Callable, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def ensemble_logits(member_logits: Tensor) -> Tensor:
    """The ensemble's logits, log(mean_i softmax(z_i)): (members, batch, classes) -> (batch, classes).

    They are log-probabilities: their softmax is the mean of the members' distributions. Apply a temperature to these,
    not to the members' logits. Computed in log space, hence finite even if the mean probability underflows. Raises
    ValueError unless the input has three dimensions and at least one member.
    """
    if member_logits.ndim != 3 or member_logits.shape[0] == 0:
        raise ValueError(f"member logits {tuple(member_logits.shape)} are not (members >= 1, batch, classes)")
    members = member_logits.shape[0]
    return F.log_softmax(member_logits, dim=-1).logsumexp(dim=0) - math.log(members)


class Ensemble(nn.Module):
    """Trained networks, of any architectures, that are only evaluated.

    `merge`, if given, turns the members' logits (members, batch, classes) into one teacher's (batch, classes).
    The members are used as they are, not copied: they are put in eval mode, stay in it whatever mode the
    ensemble or a parent module is put in, and their parameters no longer require gradients. Raises ValueError
    without members.
    """

    def __init__(self, members: Sequence[nn.Module], merge: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.merge = merge
        if not members:
            raise ValueError("an ensemble needs at least one member")
        self.members = nn.ModuleList(members)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in eval mode: training mode would change a teacher's predictions and its BatchNorm statistics."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Each member's logits, (members, batch, classes), without gradient, for the images (batch, ...).

        Merged members count as one: (1, batch, classes).
        Raises ValueError if the members disagree on the number of classes.
        """
        with torch.no_grad():
            logits = [member(images) for member in self.members]
        classes = [member_logits.shape[-1] for member_logits in logits]
        if len(set(classes)) > 1:
            raise ValueError(f"the ensemble's members disagree on the number of classes: {classes}")
        stacked = torch.stack(logits)
        # Cast to float32 first: 7 bits of mantissa are too few for a rule's weights and means.
        return stacked if self.merge is None else self.merge(stacked.float()).unsqueeze(0)
