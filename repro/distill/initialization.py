"""Where a network's training starts."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from repro.component import Component


class Initialization(Component):
    """A starting point, chosen by name."""

    name: str

    @abstractmethod
    def initialize(self, build: Callable[[], nn.Module], seed: int) -> nn.Module:
        """A network made by `build`, at its starting point. torch's global generator is left as it was."""


class Random(Initialization):
    """The architecture's own random initialisation, drawn from `seed`."""

    name: Literal["random"] = "random"

    def initialize(self, build: Callable[[], nn.Module], seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build()
