"""The `precision` of a run: what is computed in which floating-point format.

`float32`   everything is in full float32, without TF32 on CUDA. The default, and what all results are compared with.
`tfloat32`  only on CUDA. Matrix products, convolutions and LSTMs in the networks' forward passes in training, and in
            the whole backward pass, round their inputs to TF32 (10 bits of mantissa) and accumulate in float32. GPUs
            older than Ampere have no TF32 and compute these in float32.
`bfloat16`  the networks' forward passes in training run under `torch.autocast`: matrix products, convolutions and the
            operations that follow them are in bfloat16 (7 bits of mantissa), and so is their backward pass.

"The networks" are the student, its companions (`repro.training.companions`) and, where training runs them, its
teachers. In every mode, these are in float32:
- weights, gradients as the optimizer sees them, its state, and checkpoints;
- BatchNorm statistics, both running statistics and those of a batch;
- logits and hidden layers once they reach the objective, or a rule that merges teachers, and thus softmax, objective
  and loss, including the modules that an objective trains to compare hidden layers;
- augmentation, images made by a generator, and the re-estimation of BatchNorm statistics before the first step;
- every evaluation (rows, final metrics, predictions, CKA, surfaces) of the student and of its teachers, so that metrics
  are those of the weights and can be compared between modes.

The mode changes the results, so it is part of the run id. A student's mode says nothing about how its teachers were
trained: `teachers.precision` does.
"""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from repro.config import PrecisionName, RunConfig
from repro.errors import BadInput


def check_precision(config: RunConfig, device: torch.device) -> None:
    """Raise BadInput if this kind of device does not support the run's precision."""
    if config.precision == "tfloat32" and device.type != "cuda":
        raise BadInput("config key 'precision' is 'tfloat32', which needs a CUDA device; valid here: bfloat16, float32")


@dataclass(frozen=True)
class Precision:
    """A precision on a device, as contexts for the two parts of a training step that it affects."""

    name: PrecisionName
    device: torch.device

    def networks(self) -> AbstractContextManager[None]:
        """The context for the forward passes of student and teachers. Their outputs must be cast to float32."""
        if self.name == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return self.backward()

    def backward(self) -> AbstractContextManager[None]:
        """The context for the backward pass, which under autocast follows the forward pass automatically."""
        return _tensor_float32() if self.name == "tfloat32" else contextlib.nullcontext()


@contextlib.contextmanager
def _tensor_float32() -> Iterator[None]:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = True
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
