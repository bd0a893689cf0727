"""The engine against the loop people write: LeNet-5 distilled on MNIST-shaped images, on the CPU.

`reference`  a Dataset of PIL images with torchvision transforms, a DataLoader of 2 worker processes, the
             teacher's forward at every step, unfused SGD, loss, accuracy and agreement read at every step.
`ours`       the suite's Trainer on the config of the study `lenet_mnist`. Without augmentation the teacher's
             logits are computed once; that pass is charged to it, spread over a run of EPOCHS epochs.
`bare`       forward, backward and optimizer step on one resident batch with the teacher's probabilities at
             hand: what is left if everything else were free.

All train the same network on the same loss with the same batch size and learning rate, and nobody's evaluation
is timed. With `crop` images are cropped at random, so that the teacher has to see every batch.
"""

import os
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import torch
import torch.nn.functional as F
from PIL import Image
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from repro.bench.timing import Report, Work, interleave, ratio, repeat, spread
from repro.config import StudentConfig
from repro.data.augment_geometric import RandomCrop
from repro.data.dataset import LabeledData, Split, as_input
from repro.data.prepared import MNIST
from repro.distill.ensemble import Ensemble
from repro.experiments.lenet_mnist import LenetMnist
from repro.models.lenet import LeNet5
from repro.training.evaluation import predict_members
from repro.training.hardware import describe, keep_freed_memory
from repro.training.trainer import Trainer

EPOCHS = 20
"""The length of the run that the teacher's one pass is charged to: that of the `short` preset."""

CPU = torch.device("cpu")


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images made and transformed one by one, as torchvision's data sets do it."""

    def __init__(self, split: Split, crop: bool) -> None:
        self.split = split
        first = [transforms.RandomCrop(28, padding=4)] if crop else []
        self.transform = transforms.Compose([*first, transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.split.inputs[index, 0].numpy())), int(self.split.labels[index])


def plain_loop(
    student: nn.Module, teacher: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], temperature: float = 1.0
) -> Iterator[tuple[int, float, float, float]]:
    """Distil, one step for every batch (images, labels); yields its size, loss, accuracy and agreement."""
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4, nesterov=True)
    student.train()
    teacher.eval()
    for images, labels in batches:
        with torch.no_grad():
            teacher_logits = teacher(images)
        logits = student(images)
        target = F.softmax(teacher_logits / temperature, dim=1)
        loss = -(target * F.log_softmax(logits / temperature, dim=1)).sum(dim=1).mean() * temperature**2
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        predicted = logits.argmax(dim=1)
        accuracy = (predicted == labels).float().mean()
        agreement = (predicted == teacher_logits.argmax(dim=1)).float().mean()
        yield len(images), loss.item(), accuracy.item(), agreement.item()


def study_config(crop: bool) -> StudentConfig:
    """The study's student, with so many epochs that no bench comes to their end."""
    changes = {"epochs": 1_000_000, "augmentation": (RandomCrop(padding=4),) if crop else ()}
    return LenetMnist(preset="short").config().model_copy(update=changes)


def random_images(count: int) -> LabeledData:
    """`count` training and 500 test images of MNIST's shape, with uniformly random pixels and labels."""

    def draw(size: int) -> Split:
        return Split(torch.randint(256, (size, *MNIST.shape), dtype=torch.uint8), torch.randint(10, (size,)))

    return LabeledData(draw(count), draw(500))


def fresh_network() -> nn.Module:
    return LeNet5().build(MNIST.num_classes, MNIST.shape)


def fresh_teachers() -> Ensemble:
    return Ensemble([fresh_network().to(memory_format=torch.channels_last)])


def reference(images: Split, config: StudentConfig) -> Work:
    dataset = PilImages(images, crop=bool(config.augmentation))
    loader = DataLoader(dataset, config.batch_size, shuffle=True, num_workers=2, persistent_workers=True)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    steps = plain_loop(fresh_network(), fresh_network(), batches())
    next(steps)  # starts the workers
    return repeat(lambda: next(steps)[0])


def ours(images: LabeledData, config: StudentConfig) -> Work:
    trainer = Trainer(config, {MNIST(): images}, fresh_teachers(), CPU)

    def work(seconds: float) -> int:
        end, before = time.perf_counter() + seconds, trainer.images_seen
        while time.perf_counter() < end:
            trainer.advance(lambda: time.perf_counter() >= end)
        return trainer.images_seen - before

    return work


def teacher_pass(images: Split) -> Work:
    """What `ours` does once in a run, here on one part of the training images after another."""
    teachers, part = fresh_teachers(), images.inputs[:1000]
    return repeat(lambda: predict_members(teachers, part).shape[1])


def bare(images: Split, config: StudentConfig) -> Work:
    network = fresh_network().to(memory_format=torch.channels_last)
    optimizer = config.optimizer.build(network.parameters())
    inputs = as_input(images.inputs[: config.batch_size])
    target = fresh_teachers()(inputs)[0].softmax(dim=1)

    def step() -> int:
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return len(inputs)

    return repeat(step)


def measure_speeds(images: LabeledData, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Images/s of every contender in each round, under the allocator as it is set now."""
    plain, crop = study_config(crop=False), study_config(crop=True)
    contenders = {
        "reference": reference(images.train, plain),
        "ours, steps": ours(images, plain),
        "teacher pass": teacher_pass(images.train),
        "bare": bare(images.train, plain),
        "reference, crop": reference(images.train, crop),
        "ours, crop": ours(images, crop),
    }
    speeds = interleave(contenders, rounds, seconds)
    by_round = zip(speeds["ours, steps"], speeds["teacher pass"], strict=True)
    return {"ours": [1 / (1 / steps + 1 / (EPOCHS * once)) for steps, once in by_round], **speeds}


def measure(count: int = 60_000, rounds: int = 5, seconds: float = 1.0) -> Report:
    """Measure under the default allocator, then with freed memory kept: about 80 s on 2 cores.

    The numbers of the report:
    machine: as in `environment.json`; and torchvision's version, and load, the load average at the start.
    settings: images, batch_size, rounds, seconds (of a slice), epochs (that the teacher's pass is charged to).
    images_per_second: allocator (`default` or `kept`) -> contender -> one number per round. Contenders are those
        of this module; `ours` is made up of `ours, steps` and its share of `teacher pass`.
    ratios: name -> {median, low, high}. Contenders are compared under `kept` unless the name says `default`;
        `kept / default, X` is what keeping freed memory gives contender X, not interleaved: a drift of
        the machine's speed is part of it.
    """
    load, images = os.getloadavg()[0], random_images(count)
    default = measure_speeds(images, rounds, seconds)
    keep_freed_memory()  # cannot be undone, hence the order
    kept = measure_speeds(images, rounds, seconds)
    ratios = {
        "ours / reference": ratio(kept["ours"], kept["reference"]),
        "ours / reference, default": ratio(default["ours"], default["reference"]),
        "ours / reference, crop": ratio(kept["ours, crop"], kept["reference, crop"]),
        "ours, steps / bare": ratio(kept["ours, steps"], kept["bare"]),
        **{f"kept / default, {name}": ratio(kept[name], default[name]) for name in kept},
    }
    machine = describe(CPU) | {"torchvision": version("torchvision"), "load": load}
    batch_size = study_config(crop=False).batch_size
    settings = {"images": count, "batch_size": batch_size, "rounds": rounds, "seconds": seconds, "epochs": EPOCHS}
    numbers = {
        "machine": machine,
        "settings": settings,
        "images_per_second": {"default": default, "kept": kept},
        "ratios": {name: value._asdict() for name, value in ratios.items()},
    }
    speeds = [
        [name, spread(default[name]).text(0), spread(kept[name]).text(0), ratios[f"kept / default, {name}"].text(2)]
        for name in kept
    ]
    between = [[name, value.text(2)] for name, value in ratios.items() if not name.startswith("kept")]
    text = f"""lenet: ours / reference = {ratios["ours / reference"].text(1, unit="x")}
{machine["processor"]}, {machine["threads"]} threads, load {load:.1f} at the start
Python {machine["python"]}, torch {machine["torch"]}, torchvision {machine["torchvision"]}
{count:,} images, batches of {batch_size}; median (range) of {rounds} rounds of {seconds:g} s

{tabulate(speeds, headers=["images/s", "default allocator", "freed memory kept", "kept / default *"], stralign="right")}
* not interleaved: also holds whatever the machine's speed did meanwhile

{tabulate(between, headers=["ratio", "freed memory kept, unless it says default"])}"""
    return Report(text, numbers)
