"""Draw images from a generator, and arrange them in a picture."""

import io
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call

BATCH = 128
"""The paper's batch size. With batch statistics, an image depends on the batch that it is drawn in."""


@dataclass(frozen=True)
class ImageSampler:
    """A trained generator to draw images from.

    batch_statistics: normalise by the statistics of the batch that is drawn, as the paper's original code does (it
    samples in training mode). By default, normalise by the running statistics of training, so that an image depends
    only on its latent.
    """

    network: nn.Module
    latent_size: int
    batch_statistics: bool = False

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """`count` images float32 (count, channels, height, width) in [0, 1], on the device of `random`."""
        latents = torch.randn(count, self.latent_size, generator=random, device=random.device)
        return generate(self.network, latents, self.batch_statistics)

    def fixed_set(self, count: int, seed: int, device: torch.device) -> Tensor:
        """The first `count` images of the sequence that `seed` determines, as uint8, like those of a `Dataset`."""
        # Latents are drawn on the CPU, so that all devices make the same images to within rounding.
        random = torch.Generator().manual_seed(seed)
        batches = -(-count // BATCH)
        latents = [torch.randn(BATCH, self.latent_size, generator=random).to(device) for _ in range(batches)]
        images = [to_uint8(generate(self.network, batch, self.batch_statistics)) for batch in latents]
        return torch.cat(images)[:count]


@torch.no_grad()
def generate(network: nn.Module, latents: Tensor, batch_statistics: bool = False) -> Tensor:
    """The images of `latents` (n, latent_size), float32 in [0, 1]. The network is left unchanged."""
    was_training = network.training
    network.train(batch_statistics)
    # Copies, because BatchNorm in training mode updates its running statistics, which normalise later images.
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    images: Tensor = functional_call(network, buffers, (latents,))
    network.train(was_training)
    return images.add(1.0).div_(2.0)


def to_uint8(images: Tensor) -> Tensor:
    """Convert images in [0, 1] to uint8, rounding to the nearest."""
    return images.mul(255.0).round_().to(torch.uint8)


def picture(images: Tensor, columns: int = 8) -> bytes:
    """A PNG of uint8 images (n, 1 or 3 channels, height, width) in rows of `columns`."""
    from torchvision.utils import make_grid

    grid = make_grid(images.cpu(), nrow=columns, padding=1, pad_value=255)
    content = io.BytesIO()
    Image.fromarray(grid.permute(1, 2, 0).numpy()).save(content, "PNG")
    return content.getvalue()
