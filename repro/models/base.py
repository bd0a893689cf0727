"""The interface of a network: a schema that builds it, and the names of its stages."""

from abc import abstractmethod
from typing import ClassVar, Literal, Protocol, runtime_checkable

from torch import nn

from repro.component import Component


@runtime_checkable
class Staged(Protocol):
    """A network whose intermediate representations have names."""

    stages: tuple[str, ...]
    """Names of the submodules whose outputs are the representations that CKA compares, from input to output."""


class Model(Component):
    """A network architecture. Subclasses add the architecture's options as fields."""

    name: str
    input_kind: ClassVar[Literal["images", "texts"]] = "images"
    """The kind of inputs it takes."""
    compiles: ClassVar[bool] = True
    """Whether `torch.compile` can compile its whole forward pass."""
    classifier: ClassVar[str] = "classifier"
    """The submodule that maps features to logits. All the rest is the *trunk*, which can be reused on another data
    set."""

    @abstractmethod
    def build(self, num_classes: int, input_shape: tuple[int, ...]) -> nn.Module:
        """A freshly initialised network for inputs of `input_shape`.

        `input_shape` is (channels, height, width) for images, (tokens, number of distinct values of a token) for
        texts. Weights are drawn from torch's global generator. The network maps inputs, images as floats in [-1, 1]
        (batch, channels, height, width) or texts as integers (batch, tokens), to logits (batch, num_classes), and has
        the attribute `stages`. Raises BadInput if the architecture does not fit the shape.
        """


def count_parameters(module: nn.Module) -> int:
    """The number of trainable scalars."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
