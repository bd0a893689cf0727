"""The batches of a run: the choice and order of examples, their augmentation and conversion to network inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.config import TrainingConfig
from repro.data.augmentation import Augmentation, augment
from repro.data.dataset import Dataset, LabeledData, Split, as_input, to_unit_interval
from repro.errors import BadInput
from repro.seeds import stream_seed
from repro.training.distributed import Ranks
from repro.training.examples import NO_LABEL, select_from
from repro.training.inputs import Inputs
from repro.training.streams import ImageStream

NO_INDEX = -1


def plan_epoch(
    examples: int, batch_size: int, stream_counts: Sequence[int], last_batch: Literal["keep", "drop"]
) -> list[tuple[int, ...]]:
    """The parts of every batch of an epoch: how many are the run's own examples, and how many are from each stream.

    An epoch is one pass over the run's own `examples`. A full batch of `batch_size` contains `stream_counts` images of
    the streams. The last batch has the remaining examples and the same proportion of each stream, rounded half up; with
    `drop` it is left out if it would not be full. Over any number of batches, the streams therefore keep their
    proportion to the run's own examples, to within half an image of the last batch.
    """
    own = batch_size - sum(stream_counts)
    full, rest = divmod(examples, own)
    batches = [(own, *stream_counts)] * full
    if rest > 0 and last_batch == "keep":
        batches.append((rest, *((2 * count * rest + own) // (2 * own) for count in stream_counts)))
    return batches


def smallest_batch(config: TrainingConfig, datasets: Mapping[Dataset, LabeledData]) -> int:
    """How many images the smallest batch, or micro-batch, of an epoch has.

    Raises BadInput if a data set has too few examples, or if all of them together do not fill a single batch.
    """
    selected = [len(select_from(selection, datasets)) for selection in config.data.selections]
    own = sum(selected[: 1 + len(config.data.pools)]) + sum(images.images for images in config.data.generated)
    batches = plan_epoch(own, config.batch_size, config.stream_counts, config.last_batch)
    if not batches:
        raise BadInput(
            f"last_batch is 'drop', and {own} examples do not fill one batch of batch_size {config.batch_size}"
        )
    micro = config.micro_batch_size or config.batch_size
    return min(sum(parts) % micro or micro for parts in batches)


class Batch(NamedTuple):
    """One step's examples: the run's own, then those of each stream.

    inputs: (n, ...), as a network takes them. labels: int64 (n,), NO_LABEL where withheld.
    indices: int64 (n,), their positions among the run's training examples, NO_INDEX for images of streams.
    parts: how many are the run's own and how many are from each stream; n in total.
    """

    inputs: Tensor
    labels: Tensor
    indices: Tensor
    parts: tuple[int, ...]

    def split(self, size: int | None) -> Sequence["Batch"]:
        """The batch, which must have no streams, as micro-batches of `size` examples; the last may be smaller. None
        leaves any batch whole."""
        if size is None:
            return [self]
        pieces = zip(*(torch.split(field, size) for field in (self.inputs, self.labels, self.indices)), strict=True)
        return [Batch(inputs, labels, indices, (len(indices),)) for inputs, labels, indices in pieces]


class Batches:
    """Batches with every example once per epoch, in an order determined by `order_seed`, and images of the `streams`.

    The augmentations' random draws come from `generator`, batch after batch, so a run that resumes in mid-epoch needs
    the generator's state and the position. Each part of a batch is augmented separately, so that images from different
    sources are never mixed. `stream_counts` is the number of images of each stream in a full batch. A last batch that
    is not full is left out if `last_batch` is `drop`.
    """

    def __init__(
        self,
        examples: Split,
        batch_size: int,
        augmentation: Sequence[Augmentation],
        generator: torch.Generator,
        streams: Sequence[ImageStream] = (),
        stream_counts: Sequence[int] = (),
        last_batch: Literal["keep", "drop"] = "keep",
    ) -> None:
        self.examples = examples
        self.augmentation = augmentation
        self.generator = generator
        self.streams = streams
        self.stream_counts = stream_counts
        self.own_size = batch_size - sum(stream_counts)
        self.parts = plan_epoch(len(examples), batch_size, stream_counts, last_batch)

    def __len__(self) -> int:
        """Batches per epoch; the last may be smaller."""
        return len(self.parts)

    def sizes(self) -> Tensor:
        """Examples in each batch of an epoch, float64."""
        return torch.tensor([sum(parts) for parts in self.parts], dtype=torch.float64)

    def epoch(self, order_seed: int, start: int) -> Iterator[Batch]:
        """The batches of one epoch from number `start` (0-based) on, in the random order of `order_seed`."""
        order = self._shuffled(order_seed)
        for number in range(start, len(self)):
            indices = order[number]
            inputs = self._mixed(number, indices, order_seed, self.generator)
            labels = self.examples.labels[indices]
            if self.streams:
                others = (0, len(inputs) - len(indices))
                labels, indices = F.pad(labels, others, value=NO_LABEL), F.pad(indices, others, value=NO_INDEX)
            yield Batch(inputs, labels, indices, self.parts[number])

    def steps(
        self, order_seed: int, start: int, micro_batch_size: int | None, ranks: Ranks
    ) -> Iterator[Sequence[Batch]]:
        """Like `epoch`, but yields this process's share of each batch's micro-batches."""
        for batch in self.epoch(order_seed, start):
            yield ranks.share(batch.split(micro_batch_size))

    def extra_pass(self, seed: int) -> Iterator[Tensor]:
        """The inputs of one more epoch, with an order and random draws of its own, so that training is not affected."""
        generator = torch.Generator(self.generator.device).manual_seed(seed)
        for number, indices in enumerate(self._shuffled(seed)):
            yield self._mixed(number, indices, seed, generator)

    @property
    def fixed_inputs(self) -> Tensor | None:
        """All inputs as stored, if batches consist of exactly these (no augmentation, no streams); else None."""
        return None if self.augmentation or self.streams else self.examples.inputs

    def first(self, count: int) -> Inputs:
        """At most `count` of the run's own examples, the first ones, as stored."""
        return self.examples.inputs[:count]

    def sample(self, count: int, seed: int) -> tuple[Inputs, Tensor]:
        """At most `count` random examples of the run's own, as training sees them (before `as_input`), and their
        ascending indices."""
        indices = self._sampled(count, seed)
        inputs = self.examples.inputs[indices]
        if self.augmentation:
            generator = torch.Generator(self.generator.device).manual_seed(seed)
            inputs = to_unit_interval(inputs)
            # Augmentations that mix images draw once per batch, as in training; each batch is spread over the whole
            # sample, since a data set may be stored class by class.
            mixes = any(augmentation.mixes_images for augmentation in self.augmentation)
            batches = -(-len(inputs) // self.own_size) if mixes else 1
            for first in range(batches):
                inputs[first::batches] = augment(inputs[first::batches], self.augmentation, generator)
        return inputs, indices

    def _sampled(self, count: int, seed: int) -> Tensor:
        order = torch.randperm(len(self.examples), generator=torch.Generator().manual_seed(seed))
        return order[:count].sort().values.to(self.generator.device)

    def _shuffled(self, seed: int) -> tuple[Tensor, ...]:
        order = torch.randperm(len(self.examples), generator=torch.Generator().manual_seed(seed))
        return torch.split(order.to(self.generator.device), self.own_size)[: len(self)]

    def _mixed(self, number: int, indices: Tensor, seed: int, generator: torch.Generator) -> Tensor:
        """The inputs of batch `number` of an epoch: the own examples, then each stream's images."""
        inputs = [self._inputs(indices, generator)]
        for which, (stream, count) in enumerate(zip(self.streams, self.parts[number][1:], strict=True)):
            if count > 0:
                first = number * self.stream_counts[which]  # all batches before this one are full
                images = stream.draw(first, count, stream_seed(seed, "stream", which))
                if stream.augmented and self.augmentation:
                    images = augment(to_unit_interval(images), self.augmentation, generator)
                inputs.append(as_input(images))
        return torch.cat(inputs) if len(inputs) > 1 else inputs[0]

    def _inputs(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        inputs = self.examples.inputs.index_select(0, indices)
        if self.augmentation:
            inputs = augment(to_unit_interval(inputs), self.augmentation, generator)
        return as_input(inputs)
