"""The interface of a generative adversarial network: a schema that builds its two networks."""

from abc import abstractmethod

from pydantic import Field
from torch import nn

from repro.component import Component


class GenerativeModel(Component):
    """A generator and its discriminator. Subclasses add the architecture's options as fields."""

    name: str
    latent_size: int = Field(default=128, ge=1)
    """The size of the generator's input: independent standard normal numbers per image."""

    @abstractmethod
    def build_generator(self, image_shape: tuple[int, ...]) -> nn.Module:
        """A freshly initialised generator: latents (batch, latent_size) -> images (batch, *image_shape) in [-1, 1].

        `image_shape` is (channels, height, width). Weights are drawn from torch's global generator. Raises BadInput
        if the architecture does not fit the shape.
        """

    @abstractmethod
    def build_discriminator(self, image_shape: tuple[int, ...]) -> nn.Module:
        """A freshly initialised discriminator: images in [-1, 1] -> scores (batch,), high for real images."""
