"""Training steps through `torch.compile`: what `compiled` means in the config of a run.

In a training step, the forward passes of student and teachers and the backward pass are compiled; in the teachers,
BatchNorm is folded into the preceding convolutions. Everything else uses the networks themselves, evaluation above all,
so that metrics are those of the weights. The fused kernels compute the same function with different rounding, in
whichever precision the run has. `compiled` is therefore part of the run id, and a run resumes from its checkpoint bit
for bit. If something cannot be compiled, this is an error; there is no fallback.
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
    """What this machine lacks to compile, and how to install it; None if nothing."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"a C++ compiler, and there is no {compiler} here (Debian: apt-get install g++; else set CXX)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "the header files of Python, and there is no Python.h here (Debian: apt-get install python3-dev)"
    return None


def check_compiler(config: RunConfig) -> None:
    """Raise BadInput if the run is to be compiled and this machine lacks what is needed for it."""
    if isinstance(config, GeneratorConfig) or not config.compiled:
        return
    if missing := missing_for_compiling():
        raise BadInput(f"config key 'compiled' is true, which needs {missing}", "compiled")


def compiled(
    student: nn.Module, teachers: Ensemble | None
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor] | None]:
    """The forward passes of student and teachers, compiled on the first call with each input shape.

    Each shape gets its own kernels. By default, the second shape would get kernels for any shape; which kernels compute
    a batch would then depend on the order in which shapes occur, and that differs in a resumed run. Likewise, kernels
    are not chosen by timing them, which may turn out differently the next time.
    """
    # What this process compiled for earlier runs counts towards a limit, beyond which nothing more is compiled.
    torch.compiler.reset()
    return _whole(student), None if teachers is None else _whole(without_batch_norm(teachers))


def without_batch_norm(teachers: Ensemble) -> Ensemble:
    """The same function, with every BatchNorm that follows a convolution in the same `Sequential` folded into it.

    This works for networks that are only evaluated; the student's BatchNorm normalises by its batches. In a
    pre-activation ResNet, the second BatchNorm of each block is folded; the first follows a sum.
    """
    folded = copy.deepcopy(teachers)
    for layers in (module for module in folded.modules() if type(module) is nn.Sequential):
        for place, (first, second) in enumerate(itertools.pairwise(layers)):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and second.track_running_stats:
                layers[place] = fuse_conv_bn_eval(first, second)
                layers[place + 1] = nn.Identity()
    return folded


def _whole(network: nn.Module) -> Callable[[Tensor], Tensor]:
    # "fallback_random": dropout draws the same numbers as in a run that is not compiled.
    ask: Callable[[Tensor], Tensor] = torch.compile(
        network, dynamic=False, fullgraph=True, options={"deterministic": True, "fallback_random": True}
    )

    def ask_or_explain(inputs: Tensor) -> Tensor:
        try:
            return ask(inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().partition("\n")[0]
            raise RunFailed(f"torch.compile failed on {type(network).__name__}: {reason}") from error

    return ask_or_explain
