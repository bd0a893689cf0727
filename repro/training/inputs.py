"""Inputs of data sets that stay in files: decoded by worker processes, a few batches ahead."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from repro.data.augmentation import Augmentation, augment
from repro.data.dataset import LabeledData, Reader, as_input, to_unit_interval
from repro.errors import RunFailed
from repro.seeds import stream_seed

GRACE_SECONDS = 600
"""How long a worker that was asked to end keeps working, so that the run can finish its step or evaluation, which can
take minutes, and write its checkpoint. If the worker ended before, the run would count as failed."""


@dataclass(frozen=True)
class FileInputs:
    """The inputs of n examples, decoded each time they are read.

    numbers: int64 (n,), by which `reader` identifies the examples. seed: the seed and an example's number alone
    determine its random view and augmentation; None gives the view of the test set. workers: the number of decoding
    processes; 0 decodes in this one.
    """

    reader: Reader
    numbers: Tensor
    augmentation: tuple[Augmentation, ...]
    seed: int | None
    workers: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Tensor) -> "FileInputs":
        """The inputs at `rows` (int64); their views do not change."""
        return replace(self, numbers=self.numbers[rows.cpu()])

    def stream(self, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
        """The inputs of each chunk of rows (int64), in order, as a network takes them. Raises RunFailed."""
        loader = DataLoader(
            _Decoder(self),
            batch_sampler=[chunk.tolist() for chunk in chunks],
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_outlive_signals,
            generator=torch.Generator(),  # otherwise it would draw from the global generator, which dropout uses
        )
        try:
            for inputs in loader:
                yield as_input(inputs.to(self.device, non_blocking=True))
        except RunFailed as error:
            # A worker's error comes with the worker's traceback, whose last line is the message. Our own traceback is
            # dropped because it would keep the loader, and so the workers, alive.
            message = str(error).strip().splitlines()[-1].removeprefix("repro.errors.RunFailed: ")
            raise RunFailed(message) from error.with_traceback(None)


Inputs: TypeAlias = Tensor | FileInputs
"""Inputs as they are stored, in memory or in files."""


def inputs_of_test(data: LabeledData, workers: int, device: torch.device) -> Inputs:
    """The inputs of the test split: on the device, or in files."""
    if data.reader is None:
        return data.test.inputs.to(device)
    return FileInputs(data.reader, data.test.inputs, (), None, workers, device)


class _Decoder(TorchDataset[Tensor]):
    def __init__(self, inputs: FileInputs) -> None:
        self.inputs = inputs

    def __getitem__(self, row: int) -> Tensor:
        inputs = self.inputs
        number = int(inputs.numbers[row])
        if inputs.seed is None:
            return inputs.reader.read(number, None)
        image = inputs.reader.read(number, stream_seed(inputs.seed, "view", number))
        if inputs.augmentation:
            generator = torch.Generator().manual_seed(stream_seed(inputs.seed, "augmentation", number))
            image = augment(to_unit_interval(image.unsqueeze(0)), inputs.augmentation, generator).squeeze(0)
        return image


def _outlive_signals(worker: int) -> None:  # noqa: ARG001  (the DataLoader passes it)
    """Schedulers and terminals signal all processes at once. The run then writes a checkpoint and needs its workers
    until it has. They end with the run, or GRACE_SECONDS after a SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))
