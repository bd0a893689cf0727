"""How fast this machine trains and evaluates each network of the paper's studies: what `repro cost` predicts from.

Every network that a sweep in `sweeps/` trains at preset `paper` on images in memory, with the augmentation it is
trained with there; texts, generators and images in files are not measured. Speeds are the suite's own, engine
included, of one run that has the device for itself. There is no baseline: what counts is images per second.
"""

import os
from typing import Any

import torch
from tabulate import tabulate

from repro.bench.contenders import random_images, train_work
from repro.bench.timing import Report, interleave, repeat, spread
from repro.config import DataConfig, GeneratorConfig, Selection, TeacherConfig, TrainingConfig
from repro.distill.initialization import Random
from repro.distill.supervised import CrossEntropy
from repro.launch.plan import parents_first
from repro.launch.sweep import all_sweeps, read_sweep
from repro.training.evaluation import predict
from repro.training.hardware import choose_device, describe, keep_freed_memory, use_exact_kernels
from repro.training.start import build_network
from repro.training.trainer import Trainer


def networks_of_sweeps() -> list[TrainingConfig]:
    """One run for each network and shape of images that the sweeps train, as a training on labels alone."""
    found: dict[tuple[Any, ...], TrainingConfig] = {}
    for path in all_sweeps():
        for request in parents_first(read_sweep(path, {"preset": "paper"})):
            config = request.config
            if isinstance(config, GeneratorConfig):
                continue
            dataset = config.data.train.dataset
            if dataset.input_kind == "images" and not dataset.stays_in_files:
                found.setdefault((config.model, dataset.input_shape, dataset.num_classes), config)
    return list(found.values())


def measure(rounds: int = 3, seconds: float = 2.0, device: str = "auto") -> Report:
    """About 7 seconds a network for training and as much for evaluation, plus the time of a step beyond that.

    The numbers of the report:
    machine: as in `environment.json`, and load, the load average at the start.
    settings: rounds, seconds (of a slice).
    networks: a list of {model, input_shape, num_classes, batch_size, train, evaluate}: the last two are images/s, a
        number for each round, of training steps on labels and of evaluation.
    """
    load, chosen = os.getloadavg()[0], choose_device(device)
    use_exact_kernels()
    if chosen.type == "cpu":
        keep_freed_memory()
    entries = [_measure(config, chosen, rounds, seconds) for config in networks_of_sweeps()]
    machine = describe(chosen) | {"load": load}
    numbers = {"machine": machine, "settings": {"rounds": rounds, "seconds": seconds}, "networks": entries}
    rows = [
        [
            " ".join(str(value) for value in entry["model"].values()),
            "x".join(map(str, entry["input_shape"])),
            entry["batch_size"],
            spread(entry["train"]).text(0),
            spread(entry["evaluate"]).text(0),
        ]
        for entry in entries
    ]
    table = tabulate(rows, headers=["network", "images", "batch", "training, images/s", "evaluation, images/s"])
    where = machine["device"] if chosen.type == "cuda" else f"{machine['processor']}, {machine['threads']} threads"
    return Report(f"throughput: {where}, load {load:.1f} at the start\n\n{table}", numbers)


def _measure(config: TrainingConfig, device: torch.device, rounds: int, seconds: float) -> dict[str, Any]:
    dataset = config.data.train.dataset
    on_labels = TeacherConfig(
        data=DataConfig(train=Selection(dataset=dataset)),
        augmentation=tuple(change for change in config.augmentation if not change.mixes_images),
        model=config.model,
        init=Random(),
        objective=CrossEntropy(),
        optimizer=config.optimizer,
        schedule=config.schedule,
        epochs=1_000_000,
        batch_size=config.batch_size,
        evaluate_every=1_000_000,
        seed=0,
    )
    images = random_images(on_labels, 10_000)
    train = train_work(Trainer(on_labels, {dataset: images}, None, device))
    network = build_network(on_labels).to(device).to(memory_format=torch.channels_last)
    shown = images.test.inputs.to(device)

    def evaluate() -> int:
        predict(network, shown).sum().item()  # waits for the device
        return len(shown)

    return {
        "model": config.model.model_dump(mode="json"),
        "input_shape": list(dataset.input_shape),
        "num_classes": dataset.num_classes,
        "batch_size": config.batch_size,
        **interleave({"train": train, "evaluate": repeat(evaluate)}, rounds, seconds),
    }
