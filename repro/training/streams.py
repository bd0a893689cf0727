"""Images that are mixed into every batch in a fixed proportion (`data.streams` of a config).

Images of a data set are augmented like the run's own. Images drawn anew for every step are not, as in the original
code: the purpose of augmentation is to extend a finite set. What a stream yields depends only on the run's seed, the
epoch and the step, so a checkpoint does not contain any of it.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from repro.config import DataConfig, DatasetStream, GeneratedStream, GeneratorConfig
from repro.data.dataset import Dataset, LabeledData
from repro.generative.sampling import ImageSampler
from repro.seeds import stream_seed
from repro.training.examples import select_from


class ImageStream(Protocol):
    """An endless sequence of images for every seed."""

    augmented: bool

    def draw(self, first: int, count: int, seed: int) -> Tensor:
        """Images number `first` to `first + count - 1` (0-based) of the sequence of `seed`, on the device.

        (count, channels, height, width), count >= 1; uint8 or, if they are not augmented, float32 in [0, 1]. The same
        arguments give the same images; images drawn anew may depend on `first` and `count` together.
        """


class DatasetImages:
    """A data set's images in random order; after each pass they are shuffled again."""

    augmented = True

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.latest: tuple[int, Tensor] | None = None  # the order in use, by its seed

    def draw(self, first: int, count: int, seed: int) -> Tensor:
        indices = []
        while count > 0:
            round_, place = divmod(first, len(self.images))
            taken = self._order(stream_seed(seed, round_))[place : place + count]
            indices.append(taken)
            first, count = first + len(taken), count - len(taken)
        return self.images.index_select(0, torch.cat(indices))

    def _order(self, seed: int) -> Tensor:
        if self.latest is None or self.latest[0] != seed:
            order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))
            self.latest = seed, order.to(self.images.device)
        return self.latest[1]


class NoiseImages:
    """Noise: every channel of every pixel is drawn from U[0, 1]."""

    augmented = False

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.shape = shape
        self.device = device

    def draw(self, first: int, count: int, seed: int) -> Tensor:
        generator = torch.Generator(self.device).manual_seed(stream_seed(seed, first))
        return torch.rand(count, *self.shape, generator=generator, device=self.device)


class GeneratedImageStream:
    """Images made by a finished generator."""

    augmented = False

    def __init__(self, sampler: ImageSampler, device: torch.device) -> None:
        self.sampler = sampler
        self.device = device

    def draw(self, first: int, count: int, seed: int) -> Tensor:
        generator = torch.Generator(self.device).manual_seed(stream_seed(seed, first))
        return self.sampler.draw(count, generator)


def open_streams(
    config: DataConfig,
    datasets: Mapping[Dataset, LabeledData],
    device: torch.device,
    generators: Mapping[GeneratorConfig, nn.Module],
) -> list[ImageStream]:
    """The streams of a run. Raises BadInput if a data set has too few images.

    `generators` are the finished networks of `config.generators`, on the device.
    """
    streams: list[ImageStream] = []
    for stream in config.streams:
        if isinstance(stream, DatasetStream):
            images = datasets[stream.selection.dataset].train.inputs
            streams.append(DatasetImages(images[select_from(stream.selection, datasets)].to(device)))
        elif isinstance(stream, GeneratedStream):
            sampler = ImageSampler(
                generators[stream.generator], stream.generator.model.latent_size, stream.batch_statistics
            )
            streams.append(GeneratedImageStream(sampler, device))
        else:
            streams.append(NoiseImages(config.train.dataset.input_shape, device))
    return streams
