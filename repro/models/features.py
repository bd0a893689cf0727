"""Reach a network's intermediate representations without repeating its forward pass."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from repro.models.base import Staged


@contextmanager
def capture_stages(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """A dict that every forward pass of `network` inside the `with` block fills with its stages' outputs.

    Keys are the names in `network.stages`; a later pass replaces the outputs of an earlier one. The tensors
    are the network's own, neither copied nor detached: without `torch.no_grad()` they keep the graph alive.
    The hooks go when the block ends, also by an error. A network that `torch.compile` has already compiled
    runs past new hooks and fills nothing: pass and call the uncompiled network.

    Raises TypeError if the network has no `stages`, ValueError if a stage is none of its submodules.
    """
    if not isinstance(network, Staged):
        raise TypeError(f"{type(network).__name__} does not name its stages")
    submodules = dict(network.named_modules())
    for stage in network.stages:
        if stage not in submodules:
            raise ValueError(f"{type(network).__name__} has no submodule '{stage}', which its stages name")

    outputs: dict[str, Tensor] = {}

    def keep_as(stage: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[stage] = output

        return hook

    with ExitStack() as hooks:
        for stage in network.stages:
            handle = submodules[stage].register_forward_hook(keep_as(stage))
            hooks.callback(handle.remove)
        yield outputs
