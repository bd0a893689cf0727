"""The gradient of one step from several micro-batches, on one process or many."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from repro.config import GeneratorConfig, RunConfig, TrainingConfig
from repro.errors import BadInput
from repro.training.distributed import Ranks
from repro.training.precision import Precision


def check_shares(config: RunConfig | TrainingConfig, ranks: Ranks) -> None:
    """Raise BadInput if several processes cannot share the run: too few micro-batches per step, or a GAN's run."""
    if isinstance(config, GeneratorConfig):
        if ranks.size > 1:
            raise BadInput("a generator is trained by one process: make its run without torchrun")
        return
    micro_batches = -(-config.batch_size // (config.micro_batch_size or config.batch_size))
    if micro_batches < ranks.size:
        raise BadInput(
            f"{ranks.size} processes cannot share steps of {micro_batches} micro-batch(es): set micro_batch_size to "
            f"{config.batch_size // ranks.size} or less",
            "micro_batch_size",
        )


def accumulate(
    network: nn.Module, losses: Iterable[tuple[float, Tensor]], ranks: Ranks, precision: Precision
) -> Tensor:
    """Compute the gradient of the step's loss into every parameter's `.grad`, and return that loss.

    losses: for each of this process's micro-batches, its share of the step's examples and its mean loss, which is
    computed when the iterator yields it. The shares of all processes add up to 1, so that the step's loss is the mean
    over its examples. A process may have no micro-batch at all.

    BatchNorm normalises each micro-batch separately. Each micro-batch updates the running statistics from their values
    at the start of the step; the new statistics are the mean of the results, weighted by share, and the step counts as
    one batch. So the outcome does not depend on which process computes which micro-batch, except for the order of
    floating-point additions.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _NormBase) and layer.training]
    statistics = [s for layer in layers for s in (layer.running_mean, layer.running_var) if s is not None]
    counts = [layer.num_batches_tracked for layer in layers if layer.num_batches_tracked is not None]
    start, counts_at_start = ([value.clone() for value in values] for values in (statistics, counts))
    moved = [torch.zeros_like(statistic) for statistic in statistics]
    step_loss = torch.zeros((), device=next(network.parameters()).device)
    for share, loss in losses:
        with precision.backward():
            (share * loss).backward()
        step_loss += share * loss.detach()
        for total, statistic, before in zip(moved, statistics, start, strict=True):
            total.add_(statistic, alpha=share)
            statistic.copy_(before)
        for count, before in zip(counts, counts_at_start, strict=True):
            count.copy_(before)
    gradients = [_gradient(parameter) for parameter in network.parameters() if parameter.requires_grad]
    ranks.sum([step_loss, *gradients, *moved])
    for statistic, total in zip(statistics, moved, strict=True):
        statistic.copy_(total)
    for count in counts:
        count.add_(1)
    return step_loss


def _gradient(parameter: nn.Parameter) -> Tensor:
    """The parameter's gradient; zeros if this process had no micro-batch."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
