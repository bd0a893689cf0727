"""The contenders of the benches: one distillation as commonly written, as the suite does it, and its bare compute.

`reference`  a Dataset of PIL images with torchvision transforms, a DataLoader with 2 worker processes, the teachers'
             forward pass at every step, unfused SGD, and loss, accuracy and agreement read at every step.
`ours`       the suite's Trainer on a study's config, in float32 and not compiled unless the name says so. Without
             augmentation, the teachers' logits are computed once (`teacher_pass`); that time is included, spread over
             the epochs of a run.
`bare`       forward, backward and optimizer step on one batch in device memory, with the teachers' probabilities given;
             with `with_teachers`, the teachers' forward pass too: the time that would be left if all else were free.
             `folded`: the teachers' BatchNorm is folded into their convolutions; `compiled`: student and teachers are
             compiled by `torch.compile`, unfolded.

All train the same network on the same loss with the same batch size and learning rate, and no evaluation is timed. All
use the exact float32 kernels of the suite (no TF32 on a GPU) unless the name says otherwise.
Networks are freshly initialised and data random: neither changes the time of a step.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from repro.bench.timing import Work, repeat, wait_for
from repro.config import GeneratorConfig, PrecisionName, StudentConfig, TrainingConfig
from repro.data.augment_geometric import HorizontalFlip, RandomCrop
from repro.data.augmentation import Augmentation
from repro.data.dataset import LabeledData, Split, as_input
from repro.data.tokens import PADDING
from repro.distill.ensemble import Ensemble, ensemble_logits
from repro.training.compiled import without_batch_norm
from repro.training.evaluation import predict_members
from repro.training.generator_trainer import GeneratorTrainer
from repro.training.start import build_network
from repro.training.trainer import Trainer


def random_examples(config: TrainingConfig | GeneratorConfig, count: int) -> LabeledData:
    """`count` training and 500 test examples in the format of the config's data set, with uniformly random content and
    labels.

    Texts fill their rows, without padding.
    """
    dataset = config.data.train.dataset

    def draw(size: int) -> Split:
        labels = torch.randint(dataset.num_classes, (size,))
        if dataset.input_kind == "texts":
            tokens, words = dataset.input_shape
            return Split(torch.randint(PADDING + 1, words, (size, tokens), dtype=torch.int32), labels)
        return Split(torch.randint(256, (size, *dataset.input_shape), dtype=torch.uint8), labels)

    return LabeledData(draw(count), draw(500))


class PilImages(Dataset[tuple[Tensor, int]]):
    """PIL images, made and transformed one by one as in torchvision's data sets."""

    def __init__(self, split: Split, augmentation: Sequence[Augmentation]) -> None:
        self.split = split
        channels, size = split.inputs.shape[1], split.inputs.shape[-1]
        scale = [transforms.ToTensor(), transforms.Normalize((0.5,) * channels, (0.5,) * channels)]
        self.transform = transforms.Compose([*(_of_torchvision(change, size) for change in augmentation), *scale])

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.split.inputs[index].permute(1, 2, 0).squeeze(2).numpy()
        return self.transform(Image.fromarray(pixels)), int(self.split.labels[index])


def _of_torchvision(change: Augmentation, size: int) -> object:
    if isinstance(change, RandomCrop):
        return transforms.RandomCrop(size, padding=change.padding)
    assert isinstance(change, HorizontalFlip)
    return transforms.RandomHorizontalFlip(change.p)


def plain_loop(
    student: nn.Module,
    teachers: Sequence[nn.Module],
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    temperature: float = 1.0,
) -> Iterator[tuple[int, float, float, float]]:
    """Distil with one step per batch (images, labels). Yields the batch's size, loss, accuracy and agreement."""
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, nesterov=True)
    student.train()
    for teacher in teachers:
        teacher.eval()
    for images, labels in batches:
        images, labels = images.to(device), labels.to(device)
        with torch.no_grad():
            teacher_logits = torch.stack([F.softmax(teacher(images), dim=1) for teacher in teachers]).mean(dim=0).log()
        logits = student(images)
        target = F.softmax(teacher_logits / temperature, dim=1)
        loss = -(target * F.log_softmax(logits / temperature, dim=1)).sum(dim=1).mean() * temperature**2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        predicted = logits.argmax(dim=1)
        accuracy = (predicted == labels).float().mean()
        agreement = (predicted == teacher_logits.argmax(dim=1)).float().mean()
        yield len(images), loss.item(), accuracy.item(), agreement.item()


def train_work(trainer: Trainer | GeneratorTrainer) -> Work:
    """Training steps of a run that has enough epochs never to end."""

    def work(seconds: float) -> int:
        end, before = time.perf_counter() + seconds, trainer.images_seen
        while time.perf_counter() < end:
            trainer.advance(lambda: time.perf_counter() >= end)
        wait_for(trainer.device)
        return trainer.images_seen - before

    return work


@dataclass(frozen=True)
class Distillation:
    """The job of every contender: training a study's student on random images of its input shape, on a device."""

    config: StudentConfig
    images: LabeledData
    device: torch.device

    def student(self) -> nn.Module:
        return build_network(self.config).to(self.device)

    def teachers(self) -> Ensemble:
        networks = [build_network(teacher).to(memory_format=torch.channels_last) for teacher in self.config.teachers]
        return Ensemble(networks).to(self.device)

    def reference(self) -> Work:
        dataset = PilImages(self.images.train, self.config.augmentation)
        loader = DataLoader(
            dataset,
            self.config.batch_size,
            shuffle=True,
            num_workers=2,
            persistent_workers=True,
            drop_last=self.config.last_batch == "drop",
        )

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            while True:
                yield from loader

        teachers = [build_network(teacher).to(self.device) for teacher in self.config.teachers]
        steps = plain_loop(self.student(), teachers, batches(), self.device, self._temperature)
        next(steps)  # starts the workers
        return repeat(lambda: next(steps)[0])

    def ours(self, precision: PrecisionName = "float32", compiled: bool = False) -> Work:
        config = self.config.model_copy(update={"precision": precision, "compiled": compiled})
        datasets = {config.data.train.dataset: self.images}
        return train_work(Trainer(config, datasets, self.teachers(), self.device))

    def teacher_pass(self) -> Work:
        """The pass over the training images that `ours` makes once in a run without augmentation, here repeated on the
        same images."""
        teachers, part = self.teachers(), self.images.train.inputs[:1000].to(self.device)

        def once() -> int:
            return predict_members(teachers, part).shape[1]

        return repeat(once, lambda: wait_for(self.device))

    def bare(
        self,
        with_teachers: bool = False,
        memory_format: torch.memory_format = torch.channels_last,
        folded: bool = False,
        compiled: bool = False,
    ) -> Work:
        network = self.student().to(memory_format=memory_format).train()
        optimizer = self.config.optimizer.build(network.parameters())
        teachers = self.teachers().to(memory_format=memory_format)
        if folded:
            teachers = without_batch_norm(teachers).to(memory_format=memory_format)
        if compiled:
            network.compile()
            teachers.compile()
        images = self.images.train.inputs[: self.config.batch_size].to(self.device)
        inputs = as_input(images).contiguous(memory_format=memory_format)
        target = self._target(teachers(inputs))

        def step() -> int:
            wanted = self._target(teachers(inputs)) if with_teachers else target
            optimizer.zero_grad()
            F.cross_entropy(network(inputs) / self._temperature, wanted).backward()
            optimizer.step()
            return len(inputs)

        return repeat(step, lambda: wait_for(self.device))

    @property
    def _temperature(self) -> float:
        temperature: float = self.config.objective.model_dump()["temperature"]
        return temperature

    def _target(self, member_logits: Tensor) -> Tensor:
        return (ensemble_logits(member_logits) / self._temperature).softmax(dim=1)
