"""A training step of kernels that `torch.compile` fuses: what the `compiled` of a run means.

Compiled are the forward passes of student and teachers in a training step, the teachers' with BatchNorm folded into the
convolutions before it, and the backward pass. Everything else asks the networks themselves, evaluation above all, so
that metrics are those of the weights. The fused kernels compute the same function in another order of rounding, in
whichever precision the run has; so `compiled` is part of the run id, and a run goes on from its checkpoint to the bit.
What could not be compiled is an error, and never computed otherwise.
"""

import copy
import itertools
import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from repro.config import GeneratorConfig, RunConfig
from repro.distill.ensemble import Ensemble
from repro.errors import BadInput, RunFailed


def missing_for_compiling() -> str | None:
    """What this machine lacks to compile, and how to have it; None if nothing."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"a C++ compiler, and there is no {compiler} here (Debian: apt-get install g++; else set CXX)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "the header files of Python, and there is no Python.h here (Debian: apt-get install python3-dev)"
    return None


def check_compiler(config: RunConfig) -> None:
    """Raise BadInput if the run is to be compiled and this machine lacks what that takes."""
    if isinstance(config, GeneratorConfig) or not config.compiled:
        return
    if missing := missing_for_compiling():
        raise BadInput(f"config key 'compiled' is true, which takes {missing}", "compiled")


def compiled(
    student: nn.Module, teachers: Ensemble | None
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor] | None]:
    """The forward passes of student and teachers, compiled when they are first called with a shape of inputs.

    Each shape gets kernels of its own. By default the second shape would get kernels for any, so that what computes a
    batch depended on which was met first, and a resumed run meets them in another order. Likewise none is chosen by
    timing it, which may end otherwise the next time.
    """
    # What earlier runs of this process left counts towards a limit, beyond which nothing more is compiled.
    torch.compiler.reset()
    return _whole(student), None if teachers is None else _whole(without_batch_norm(teachers))


def without_batch_norm(teachers: Ensemble) -> Ensemble:
    """The same function, with every BatchNorm behind a convolution of the same `Sequential` folded into its weights.

    Networks that only ever predict do without; the student's normalises by its batches. In a pre-activation ResNet
    that is the second of each block; the first stands behind a sum.
    """
    folded = copy.deepcopy(teachers)
    for layers in (module for module in folded.modules() if type(module) is nn.Sequential):
        for place, (first, second) in enumerate(itertools.pairwise(layers)):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and second.track_running_stats:
                layers[place] = fuse_conv_bn_eval(first, second)
                layers[place + 1] = nn.Identity()
    return folded


def _whole(network: nn.Module) -> Callable[[Tensor], Tensor]:
    # Dropout draws what it draws in a run that is not compiled ("fallback_random").
    ask: Callable[[Tensor], Tensor] = torch.compile(
        network, dynamic=False, fullgraph=True, options={"deterministic": True, "fallback_random": True}
    )

    def ask_or_explain(inputs: Tensor) -> Tensor:
        try:
            return ask(inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            raise RunFailed(f"torch.compile makes no kernels of {type(network).__name__}: {reason}") from error

    return ask_or_explain
