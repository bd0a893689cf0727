"""The batches of a run: which examples, in which order, augmented, as a network takes them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from repro.data.augmentation import Augmentation, augment
from repro.data.dataset import as_input, to_unit_interval
from repro.training.examples import TrainingExamples


class Batch(NamedTuple):
    """One step's examples.

    inputs: (n, ...), as a network takes them. labels: int64 (n,), NO_LABEL where withheld.
    indices: int64 (n,), their places among the run's training examples.
    """

    inputs: Tensor
    labels: Tensor
    indices: Tensor


class Batches:
    """Every example once an epoch, in an order that `seed` and the epoch alone decide.

    The augmentations' random draws come from `generator`, batch after batch, so a run that goes on in mid-epoch needs
    the generator's state and the position.
    """

    def __init__(
        self,
        examples: TrainingExamples,
        batch_size: int,
        augmentation: Sequence[Augmentation],
        generator: torch.Generator,
    ) -> None:
        self.examples = examples
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.generator = generator

    def __len__(self) -> int:
        """Batches an epoch; the last may be smaller."""
        return -(-len(self.examples) // self.batch_size)

    def sizes(self) -> Tensor:
        """Examples in each batch of an epoch, float64."""
        sizes = torch.full((len(self),), float(self.batch_size), dtype=torch.float64)
        sizes[-1] = len(self.examples) - self.batch_size * (len(self) - 1)
        return sizes

    def epoch(self, order_seed: int, start: int) -> Iterator[Batch]:
        """The batches of one epoch from number `start` (from 0) on, in the random order of `order_seed`."""
        for indices in self._shuffled(order_seed)[start:]:
            yield Batch(self._inputs(indices, self.generator), self.examples.labels[indices], indices)

    def extra_pass(self, seed: int) -> Iterator[Tensor]:
        """The inputs of all batches once more, with an order and draws of their own: training is not disturbed."""
        generator = torch.Generator(self.generator.device).manual_seed(seed)
        for indices in self._shuffled(seed):
            yield self._inputs(indices, generator)

    def sample(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """At most `count` random examples as training sees them (before `as_input`), and their ascending indices."""
        order = torch.randperm(len(self.examples), generator=torch.Generator().manual_seed(seed))
        indices = order[:count].sort().values.to(self.generator.device)
        inputs = self.examples.inputs[indices]
        if self.augmentation:
            generator = torch.Generator(self.generator.device).manual_seed(seed)
            inputs = augment(to_unit_interval(inputs), self.augmentation, generator)
        return inputs, indices

    def _shuffled(self, seed: int) -> tuple[Tensor, ...]:
        order = torch.randperm(len(self.examples), generator=torch.Generator().manual_seed(seed))
        return torch.split(order.to(self.generator.device), self.batch_size)

    def _inputs(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        inputs = self.examples.inputs.index_select(0, indices)
        if self.augmentation:
            inputs = augment(to_unit_interval(inputs), self.augmentation, generator)
        return as_input(inputs)
