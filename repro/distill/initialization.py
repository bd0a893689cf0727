"""Where a network's training starts."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from repro.component import Component
from repro.data.dataset import Dataset
from repro.models.base import Model

if TYPE_CHECKING:
    from repro.config import ClassifierConfig

Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Origin:
    """A finished run's network before and after training, from which another network's starting point may be made."""

    initial: Callable[[], nn.Module]
    final: nn.Module


class Initialization(Component):
    """A starting point, chosen by name."""

    name: str
    needs_teacher: ClassVar[bool] = False
    """Whether it depends on the run's one teacher, which must then have the same architecture."""

    @property
    def reestimates_batch_norm(self) -> bool:
        """Whether BatchNorm statistics are re-estimated on the training images before training starts."""
        return False

    @abstractmethod
    def initialize(self, build: Build, seed: int, origin: Origin | None) -> nn.Module:
        """A network made by `build`, at its starting point. torch's global generator is left unchanged.

        `origin`: that of the run's teacher or of the `source`, for initialisations that depend on one.
        """


class Random(Initialization):
    """The architecture's own random initialisation, drawn from `seed`."""

    name: Literal["random"] = "random"

    def initialize(self, build: Build, seed: int, origin: Origin | None) -> nn.Module:  # noqa: ARG002
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build()


class Interpolated(Initialization):
    """theta = weight * theta_teacher + (1 - weight) * theta_random, for every parameter and buffer (Section 6.2).

    weight: the *teacher's* weight, lambda in the paper (the original code's lambda is the random network's weight).
    endpoint: the teacher's weights at the end of its training (Figure 6b, c) or at its start (Table 1).
    batch_norm: `reestimated` computes BatchNorm statistics in one pass over the augmented training images, as the
    original code does, so that weight = 1 is not exactly the teacher; `kept` interpolates them like everything else.
    """

    name: Literal["interpolated"] = "interpolated"
    needs_teacher: ClassVar[bool] = True
    weight: float = Field(ge=0.0, le=1.0)
    endpoint: Literal["final", "initial"] = "final"
    batch_norm: Literal["reestimated", "kept"] = "reestimated"

    @property
    def reestimates_batch_norm(self) -> bool:
        return self.batch_norm == "reestimated"

    def initialize(self, build: Build, seed: int, origin: Origin | None) -> nn.Module:
        if origin is None:
            raise ValueError("an interpolated start needs a teacher")
        network = Random().initialize(build, seed, None)
        endpoint = origin.final if self.endpoint == "final" else origin.initial()
        interpolate_into(network, endpoint, self.weight)
        return network


class Pretrained(Initialization):
    """The trunk of a finished run, buffers included, with a random classifier (Yosinski et al. 2014, arXiv:1411.1792).

    `source` is that run: a teacher or a student of the same architecture, trained on any data of the same input shape.
    """

    name: Literal["pretrained"] = "pretrained"
    source: "ClassifierConfig"

    def check(self, model: Model, dataset: Dataset) -> None:
        """Raise ValueError if a network like `model`, for inputs of `dataset`, cannot use the source's trunk."""
        if self.source.model != model:
            raise ValueError("init pretrained needs a source of the run's own architecture: their models differ")
        if problem := dataset.mismatch(self.source.data.train.dataset):
            raise ValueError(f"init pretrained: the source's data do not fit: {problem}")

    def initialize(self, build: Build, seed: int, origin: Origin | None) -> nn.Module:
        if origin is None:
            raise ValueError("a pretrained start needs its source's network")
        network = Random().initialize(build, seed, None)
        classifier = f"{self.source.model.classifier}."
        trunk = {name: t for name, t in origin.final.state_dict().items() if not name.startswith(classifier)}
        network.load_state_dict(network.state_dict() | trunk)
        return network


@torch.no_grad()
def interpolate_into(network: nn.Module, endpoint: nn.Module, weight: float) -> None:
    """Set `network` to weight * endpoint + (1 - weight) * network, for every parameter and buffer by name.

    Integer buffers (BatchNorm's count of batches) cannot be interpolated: they are the endpoint's at weight 1, else
    the network's. Raises a ValueError that names the first entry that one of the two lacks or that differs in shape.
    """
    own, other = network.state_dict(), endpoint.state_dict()
    for name in own.keys() ^ other.keys():
        raise ValueError(f"cannot interpolate: '{name}' is in only one of the two networks")
    between = {}
    for name, tensor in own.items():
        target = other[name].to(tensor.device)
        if target.shape != tensor.shape:
            raise ValueError(f"cannot interpolate '{name}': shapes {tuple(tensor.shape)} and {tuple(target.shape)}")
        if tensor.is_floating_point():
            # Exact at both ends: x + w (y - x) would not be.
            between[name] = (1.0 - weight) * tensor + weight * target
        elif weight == 1.0:
            between[name] = target
    network.load_state_dict(own | between)  # at once, so that a weight with several names moves only once
