"""Batches of a data set that stays in files."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from repro.config import TrainingConfig
from repro.data.augmentation import Augmentation
from repro.data.dataset import Reader, Split
from repro.training.batches import Batch, Batches
from repro.training.distributed import Ranks
from repro.training.inputs import FileInputs
from repro.training.streams import ImageStream


def make_batches(
    config: TrainingConfig,
    examples: Split,
    streams: Sequence[ImageStream],
    generator: torch.Generator,
    reader: Reader | None,
    loader_workers: int,
) -> Batches:
    """The batches of a run, from memory or, if its data set has a `reader`, from files."""
    batch_size, augmentation, last_batch = config.batch_size, config.augmentation, config.last_batch
    if reader is not None:
        return FileBatches(examples, batch_size, augmentation, generator, last_batch, reader, loader_workers)
    return Batches(examples, batch_size, augmentation, generator, streams, config.stream_counts, last_batch)


class FileBatches(Batches):
    """Batches of a data set that stays in files.

    What an example looks like in an epoch depends only on the run's seed, the epoch and the example, not on the
    number of workers or processes, nor on where the run was interrupted.
    """

    def __init__(
        self,
        examples: Split,
        batch_size: int,
        augmentation: Sequence[Augmentation],
        generator: torch.Generator,
        last_batch: Literal["keep", "drop"],
        reader: Reader,
        workers: int,
    ) -> None:
        super().__init__(examples, batch_size, augmentation, generator, last_batch=last_batch)
        self.reader = reader
        self.workers = workers

    def epoch(self, order_seed: int, start: int) -> Iterator[Batch]:
        return self._read(self._shuffled(order_seed)[start:], order_seed)

    def steps(
        self, order_seed: int, start: int, micro_batch_size: int | None, ranks: Ranks
    ) -> Iterator[Sequence[Batch]]:
        """Like `Batches.steps`; only this process's micro-batches are read."""
        size = micro_batch_size or self.own_size
        steps = [ranks.share(torch.split(batch, size)) for batch in self._shuffled(order_seed)[start:]]
        micro_batches = self._read([rows for step in steps for rows in step], order_seed)
        for step in steps:
            yield list(itertools.islice(micro_batches, len(step)))

    def extra_pass(self, seed: int) -> Iterator[Tensor]:
        return self._inputs_of(self.examples.inputs, seed).stream(self._shuffled(seed))

    def first(self, count: int) -> FileInputs:
        """Like `Batches.first`, in the view of the test set."""
        return replace(self._inputs_of(self.examples.inputs[:count], 0), augmentation=(), seed=None)

    def sample(self, count: int, seed: int) -> tuple[FileInputs, Tensor]:
        indices = self._sampled(count, seed)
        return self._inputs_of(self.examples.inputs[indices], seed), indices

    @property
    def fixed_inputs(self) -> None:
        """None: even if no view is random, all inputs together are too large to be processed in advance."""

    def _read(self, chunks: Sequence[Tensor], seed: int) -> Iterator[Batch]:
        inputs = self._inputs_of(self.examples.inputs, seed).stream(chunks)
        for rows, images in zip(chunks, inputs, strict=True):
            yield Batch(images, self.examples.labels[rows], rows, (len(rows),))

    def _inputs_of(self, numbers: Tensor, seed: int) -> FileInputs:
        device = self.generator.device
        return FileInputs(self.reader, numbers.cpu(), tuple(self.augmentation), seed, self.workers, device)
