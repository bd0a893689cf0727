"""The processes, started by `torchrun`, that train one run together with one device each.

Gradients are summed by one explicit all-reduce per step instead of `DistributedDataParallel`: a step may consist of
several micro-batches of different sizes, not equally many on every process, and the sum must not depend on which
process computed which (`repro.training.accumulation`). DDP averages over processes and needs each of them to take part
in every backward pass.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from repro.errors import BadInput, RunFailed

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others, unless the network reports earlier that they are gone."""

Item = TypeVar("Item")


class PeerLost(RunFailed):
    """Another process of the job ended or cannot be reached. That process reports the reason itself."""


@dataclass(frozen=True)
class Ranks:
    """This process's `rank` among the `size` processes that train together. Only the first writes the record.

    All of them must call the methods below in the same order. A single process never waits.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, work: Sequence[Item]) -> Sequence[Item]:
        """This process's share of the work: every `size`-th item."""
        return work[self.rank :: self.size]

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one all-reduce. All must have the same dtype."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _peers():
            dist.all_reduce(flat)
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by the first process's."""
        if self.size > 1:
            with _peers():
                for tensor in tensors:
                    dist.broadcast(tensor, src=0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any of the processes. Does not wait for the device."""
        return bool(self.highest(int(flag)))

    def highest(self, value: int) -> int:
        """The highest of the processes' values. Does not wait for the device."""
        if self.size == 1:
            return value
        held = torch.tensor(value)
        with _peers():
            dist.all_reduce(held, op=dist.ReduceOp.MAX)
        return int(held)

    def first_decides(self, flag: bool) -> bool:
        """The first process's flag, in every process."""
        return self.any(flag and self.is_first)

    def wait_for_all(self) -> None:
        """Return once every process has called this method."""
        self.any(False)


ALONE = Ranks()


def local_rank() -> int | None:
    """Under `torchrun`, this process's number on its machine, from 0; None for a single process. Raises BadInput."""
    return _set_by_torchrun("LOCAL_RANK") if ranks_of_this_job().size > 1 else None


def ranks_of_this_job() -> Ranks:
    """This process's place in the job started by `torchrun`, else ALONE. The processes are not `connected` yet.

    Raises BadInput if something else has set WORLD_SIZE, as the managers of some clusters do, without the rest.
    """
    size = _set_by_torchrun("WORLD_SIZE") if "WORLD_SIZE" in os.environ else 1
    return Ranks(_set_by_torchrun("RANK"), size) if size > 1 else ALONE


def _set_by_torchrun(name: str) -> int:
    value = os.environ.get(name)
    if value is None or not value.isdecimal():
        found = "is not set" if value is None else f"is '{value}'"
        raise BadInput(
            f"WORLD_SIZE is set, as by torchrun for one process of several, but {name} {found}: "
            "start with torchrun, or unset WORLD_SIZE"
        )
    return int(value)


@contextlib.contextmanager
def connected(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Connect the processes for the duration of the block. Raises BadInput if they cannot find each other."""
    if ranks.size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=TIMEOUT)
    except (ValueError, RuntimeError) as error:
        raise BadInput(f"WORLD_SIZE is set, but the processes cannot connect ({error}); start with torchrun") from error
    yield
    # Not after an exception: it would wait for operations that the others will never join.
    dist.destroy_process_group()


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise PeerLost(f"another process of this job ended or cannot be reached ({reason})") from error
