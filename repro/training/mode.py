"""The modes of training steps: a precision, compiled or not."""

from typing import NamedTuple

import torch

from repro.config import GeneratorConfig, PrecisionName, RunConfig
from repro.training.compiled import missing_for_compiling


class Mode(NamedTuple):
    """How training steps are computed; the default is plain float32."""

    precision: PrecisionName = "float32"
    compiled: bool = False

    def __str__(self) -> str:
        return self.precision + (", compiled" if self.compiled else "")


def mode_of(config: RunConfig) -> Mode:
    """The mode of a run's training steps."""
    return Mode() if isinstance(config, GeneratorConfig) else Mode(config.precision, config.compiled)


def modes_of(device: torch.device) -> list[Mode]:
    """The modes other than plain float32 that the device supports; compiled ones only if this machine can compile."""
    names: tuple[PrecisionName, ...] = ("tfloat32", "bfloat16") if device.type == "cuda" else ("bfloat16",)
    modes = [Mode(name) for name in names]
    return modes if missing_for_compiling() else [*modes, Mode("float32", True), *(Mode(name, True) for name in names)]
