"""What is computed in which floating-point format: the `precision` of a run.

`float32`   everything, in full: no TF32 on CUDA either. The default, and what all results are compared with.
`tfloat32`  only on CUDA. Matrix products, convolutions and LSTMs of the networks' forward passes in training, and of
            the whole backward pass, round their inputs to TF32 (10 bits of mantissa) and add up in float32. GPUs
            older than Ampere have no TF32 and compute these in float32.
`bfloat16`  the networks' forward passes in training run under `torch.autocast`: matrix products and convolutions, and
            what follows on them, in bfloat16 (7 bits of mantissa), their backward pass likewise.

"The networks" are the student, what predicts beside it (`repro.training.companions`) and, wherever its training asks
them, its teachers. In every mode these are float32:
weights, gradients as the optimizer sees them, its state, and checkpoints; BatchNorm's statistics, running and of a
batch; logits and hidden layers from where the objective, or a rule that merges teachers, takes them, thus softmax,
objective and loss, with what an objective trains beside the student; augmentation; images that a generator makes; the
re-estimation of BatchNorm's statistics before the first step; and every evaluation (rows, final metrics, predictions,
CKA, surfaces), of the student and of its teachers, so that metrics are those of the weights and compare between modes.

A mode computes other numbers, so it is part of the run id. A student's mode says nothing about how its teachers were
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
    """Raise BadInput if this kind of device does not have the run's precision."""
    if config.precision == "tfloat32" and device.type != "cuda":
        raise BadInput("config key 'precision' is 'tfloat32', which needs a CUDA device; valid here: bfloat16, float32")


@dataclass(frozen=True)
class Precision:
    """A mode on a device, as contexts for the two parts of a training step that it changes."""

    name: PrecisionName
    device: torch.device

    def networks(self) -> AbstractContextManager[None]:
        """For the forward passes of student and teachers. What comes out has to be raised to float32."""
        if self.name == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return self.backward()

    def backward(self) -> AbstractContextManager[None]:
        """For the backward pass. Under autocast it follows the forward pass by itself."""
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
