"""Access a network's intermediate representations without repeating its forward pass."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from repro.errors import BadInput, blamed_on
from repro.models.base import Model, Staged


@contextmanager
def capture_stages(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """A dict that every forward pass of `network` inside the `with` block fills with its stages' outputs.

    Keys are the names in `network.stages`; a later pass replaces the outputs of an earlier one. The tensors are
    neither copied nor detached: without `torch.no_grad()` they keep the graph alive. The hooks are removed when the
    block ends, also after an error. A network already compiled by `torch.compile` ignores new hooks, and the dict
    stays empty: pass and call the uncompiled network.

    Raises BadInput if the network has no `stages`, or if a stage is not one of its submodules.
    """
    if not isinstance(network, Staged):
        raise BadInput(f"{type(network).__name__} does not name its stages: it needs an attribute `stages`")
    if isinstance(network.stages, str):  # whose letters would be taken for names
        raise BadInput(
            f"{type(network).__name__}: its stages are the text '{network.stages}'; a tuple of one name is written "
            f"with a comma: ('{network.stages}',)"
        )
    if isinstance(network.stages, nn.Module):
        raise BadInput(
            f"{type(network).__name__}: its stages are a {type(network.stages).__name__}, not a tuple of the names of "
            f"submodules: give that submodule another name"
        )
    submodules = dict(network.named_modules())
    for stage in network.stages:
        if stage not in submodules:
            raise BadInput(f"{type(network).__name__} has no submodule '{stage}', which its stages name")

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


@lru_cache(maxsize=256)
def stage_shapes(model: Model, num_classes: int, input_shape: tuple[int, ...]) -> Mapping[str, tuple[int, ...]]:
    """The shape of each stage's output for one input, from input to output.

    The network is built and sees one input, on the CPU: a text network needs the values of a text's tokens to find its
    length, and torch's meta device, where nothing is computed, first loads torch's compiler, which takes longer. The
    state of torch's global generator is preserved. Raises BadInput as `Model.build` does, or if the network has no
    stages, does not call one of them, or does not return logits (batch, num_classes).
    """
    images = model.input_kind == "images"
    inputs = torch.zeros(1, *input_shape) if images else torch.zeros(1, input_shape[0], dtype=torch.int64)
    what = f"model {model.name}, for inputs {input_shape}"
    versions: dict[str, int] = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad(), blamed_on(what):
        network = model.build(num_classes, input_shape)
        if not isinstance(network, nn.Module):
            raise BadInput(f"{model.name}: build gives {type(network).__name__}, not an nn.Module")
        with capture_stages(network.eval()) as outputs:
            for stage, submodule in network.named_modules():
                submodule.register_forward_hook(partial(_note_version, versions, stage))
            logits = network(inputs)
    if not isinstance(logits, Tensor) or (logits.dtype, logits.shape) != (torch.float32, (1, num_classes)):
        found = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise BadInput(f"{model.name}: for one input it returns {found}, not logits torch.float32 (1, {num_classes})")
    assert isinstance(network, Staged)
    for stage in network.stages:
        if stage not in outputs:
            raise BadInput(f"{model.name}: its stage '{stage}' is not called when the network is evaluated")
    for stage, output in outputs.items():
        if not isinstance(output, Tensor):
            raise BadInput(f"{model.name}: its stage '{stage}' gives {type(output).__name__}, not a tensor")
        if output._version != versions[stage]:
            raise BadInput(
                f"{model.name}: what its stage '{stage}' gives is changed in place by a later layer: set that layer's "
                f"inplace=False, or name it as the stage"
            )
    return {stage: tuple(output.shape[1:]) for stage, output in outputs.items()}


def _note_version(versions: dict[str, int], name: str, _module: nn.Module, _inputs: object, output: object) -> None:
    """A hook that notes how often a submodule's output has been changed in place when the submodule returns it."""
    if isinstance(output, Tensor):
        versions[name] = output._version
