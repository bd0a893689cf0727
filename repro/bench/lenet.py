"""The suite's engine against a typical training loop: LeNet-5 distilled on MNIST-shaped images, on the CPU.

The contenders are those of `repro.bench.contenders`, on the config of the study `lenet_mnist`. With `crop`, images are
randomly cropped, so that the teacher has to predict every batch.
"""

import os
from importlib.metadata import version

import torch
from tabulate import tabulate

from repro.bench.contenders import Distillation, random_examples
from repro.bench.timing import Report, interleave, place, ratio, spread
from repro.config import StudentConfig
from repro.data.augment_geometric import RandomCrop
from repro.experiments.lenet_mnist import LenetMnist
from repro.training.hardware import describe, keep_freed_memory

EPOCHS = 20
"""The number of epochs over which the teacher's single pass is spread: that of the `short` preset."""

CPU = torch.device("cpu")


def study_config(crop: bool) -> StudentConfig:
    """The study's student, with more epochs than any bench can run."""
    changes = {"epochs": 1_000_000, "augmentation": (RandomCrop(padding=4),) if crop else ()}
    return LenetMnist(preset="short").config().model_copy(update=changes)


def measure_speeds(plain: Distillation, crop: Distillation, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Images/s of every contender in each round, with the current allocator settings."""
    contenders = {
        "reference": plain.reference(),
        "ours, steps": plain.ours(),
        "teacher pass": plain.teacher_pass(),
        "bare": plain.bare(),
        "reference, crop": crop.reference(),
        "ours, crop": crop.ours(),
    }
    speeds = interleave(contenders, rounds, seconds)
    by_round = zip(speeds["ours, steps"], speeds["teacher pass"], strict=True)
    return {"ours": [1 / (1 / steps + 1 / (EPOCHS * once)) for steps, once in by_round], **speeds}


def measure(count: int = 60_000, rounds: int = 5, seconds: float = 1.0) -> Report:
    """Measure with the default allocator, then with freed memory kept. Takes about 80 s on 2 cores.

    The numbers of the report:
    machine: as in `environment.json`, plus torchvision's version and `load`, the load average at the start.
    settings: images, batch_size, rounds, seconds (of a slice), epochs (over which the teacher's pass is spread).
    images_per_second: allocator (`default` or `kept`) -> contender -> one number per round. Contenders are those of
        `measure_speeds`; `ours` combines `ours, steps` with its share of `teacher pass`.
    ratios: name -> {median, low, high}. Contenders are compared with the `kept` allocator unless the name says
        `default`. `kept / default, X` is the speed-up of contender X from keeping freed memory. It is not
        interleaved, so it includes any drift of the machine's speed.
    """
    load, images = os.getloadavg()[0], random_examples(study_config(crop=False), count)
    plain, crop = (Distillation(study_config(crop), images, CPU) for crop in (False, True))
    default = measure_speeds(plain, crop, rounds, seconds)
    keep_freed_memory()  # cannot be undone, hence the order
    kept = measure_speeds(plain, crop, rounds, seconds)
    ratios = {
        "ours / reference": ratio(kept["ours"], kept["reference"]),
        "ours / reference, default": ratio(default["ours"], default["reference"]),
        "ours / reference, crop": ratio(kept["ours, crop"], kept["reference, crop"]),
        "ours, steps / bare": ratio(kept["ours, steps"], kept["bare"]),
        **{f"kept / default, {name}": ratio(kept[name], default[name]) for name in kept},
    }
    machine = describe(CPU) | {"torchvision": version("torchvision"), "load": load}
    batch_size = plain.config.batch_size
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
{place(machine)}, load {load:.1f} at the start
Python {machine["python"]}, torch {machine["torch"]}, torchvision {machine["torchvision"]}
{count:,} images, batches of {batch_size}; median (range) of {rounds} rounds of {seconds:g} s

{tabulate(speeds, headers=["images/s", "default allocator", "freed memory kept", "kept / default *"], stralign="right")}
* not interleaved: changes in the machine's speed count too

{tabulate(between, headers=["ratio", "freed memory kept, unless it says default"])}"""
    return Report(text, numbers)
