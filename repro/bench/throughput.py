"""How fast this machine trains and evaluates each network of the studies. `repro cost` predicts from these speeds.

Measures every network that a sweep in `sweeps/` trains at preset `paper` on data in memory, with the same augmentation.
Data sets of image files are not measured, as their speed is that of decoding images. Speeds include the suite's engine
and are those of a single run on the device. There is no baseline: what counts is examples per second.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from repro.bench.contenders import random_examples, train_work
from repro.bench.timing import Report, Work, interleave, note, place, repeat, spread, until_interrupted, wait_for
from repro.config import DataConfig, GeneratorConfig, RunConfig, Selection, TeacherConfig, TrainingConfig
from repro.data.dataset import as_input
from repro.distill.ensemble import Ensemble
from repro.distill.initialization import Random
from repro.distill.supervised import CrossEntropy
from repro.generative.sampling import BATCH, generate
from repro.launch.passes import network_of, show_network
from repro.launch.plan import parents_first
from repro.launch.sweep import all_sweeps, read_sweep
from repro.training.compiled import compiled, missing_for_compiling
from repro.training.evaluation import predict
from repro.training.generator_trainer import GeneratorTrainer
from repro.training.hardware import choose_device, describe, keep_freed_memory, use_exact_kernels
from repro.training.mode import Mode, modes_of
from repro.training.precision import Precision
from repro.training.start import build_network
from repro.training.trainer import Trainer

EXAMPLES = 10_000
ENDLESS = 1_000_000
"""Epochs, and steps per epoch of a generator: more than any slice can run."""
FEW = 16
"""A generator's batch size on a CPU, where a step with the paper's 128 takes a minute."""


def networks_of_sweeps() -> list[RunConfig]:
    """One run for each combination of network and input shape that the sweeps train."""
    found: dict[Any, RunConfig] = {}
    for path in all_sweeps():
        for request in parents_first(read_sweep(path, {"preset": "paper"})):
            if not request.config.data.train.dataset.stays_in_files:
                found.setdefault(network_of(request.config), request.config)
    return list(found.values())


def measure(rounds: int = 3, seconds: float = 2.0, device: str = "auto", fast: bool = False) -> Report:
    """Takes about 7 seconds per network for training and as long for evaluation, plus the time by which steps overrun.

    With `fast`, it takes as long again for every mode that the machine has in addition to float32, plus the time to
    compile. All networks are measured in one mode before the next.

    Prints each network on stderr. Ctrl-C, SIGTERM or SIGHUP ends it with the networks that are complete; if there are
    none, raises KeyboardInterrupt.

    The numbers of the report:
    machine: as in `environment.json`, plus `load`, the load average at the start.
    settings: rounds, seconds (of a slice).
    networks: a list of {model, input_shape, num_classes, batch_size, precision, compiled, train, evaluate}. The last
        two are examples/s, one number per round, of training steps on labels and of the forward pass alone. For a
        generator, they count the real images that its discriminator is shown, and the images that it makes.
    """
    load, chosen = os.getloadavg()[0], choose_device(device)
    use_exact_kernels()
    if chosen.type == "cpu":
        keep_freed_memory()
    modes = [Mode(), *(modes_of(chosen) if fast else [])]
    entries, rows = [], []
    networks = networks_of_sweeps()
    with until_interrupted():
        for mode, config in itertools.product(modes, networks):
            if isinstance(config, GeneratorConfig):
                if mode != Mode():
                    continue
                if chosen.type == "cpu":
                    config = config.model_copy(update={"batch_size": min(FEW, config.batch_size)})
            elif mode.compiled and not config.model.compiles:
                continue
            speeds = interleave(_contenders(config, mode, chosen), rounds, seconds)
            model, dataset = config.model.model_dump(mode="json"), config.data.train.dataset
            shape = {"input_shape": list(dataset.input_shape), "num_classes": dataset.num_classes}
            texts = [spread(speeds[name]).text(0) for name in ("train", "evaluate")]
            entries.append({"model": model, **shape, "batch_size": config.batch_size, **mode._asdict(), **speeds})
            rows.append([show_network(network_of(config)), config.batch_size, mode, *texts])
            note("{}, batch {}, {}: training {}, evaluation {} examples/s".format(*rows[-1]))
    if not rows:
        raise KeyboardInterrupt
    machine = describe(chosen) | {"load": load}
    numbers = {"machine": machine, "settings": {"rounds": rounds, "seconds": seconds}, "networks": entries}
    table = tabulate(rows, headers=["network", "batch", "mode", "training, examples/s", "evaluation, examples/s"])
    head = f"throughput: {place(machine)}, load {load:.1f} at the start"
    return Report("\n\n".join([head, *_left_out(modes, fast), table]), numbers)


def _left_out(modes: Sequence[Mode], fast: bool) -> list[str]:
    """A line about the modes that this machine does not have, if there are any."""
    if not fast:
        return []
    lacks = missing_for_compiling()
    missing = [] if any(mode.precision == "tfloat32" for mode in modes) else ["tfloat32, which needs a CUDA device"]
    missing += [f"compiled, which takes {lacks}"] if lacks is not None else []
    return [f"not measured: {'; '.join(missing)}"] if missing else []


def _contenders(config: RunConfig, mode: Mode, device: torch.device) -> dict[str, Work]:
    return _of_generator(config, device) if isinstance(config, GeneratorConfig) else _of_network(config, mode, device)


def _of_network(config: TrainingConfig, mode: Mode, device: torch.device) -> dict[str, Work]:
    """Training steps on labels, and forward passes: as in evaluation or, in compiled modes, as a training step runs a
    teacher's."""
    dataset = config.data.train.dataset
    on_labels = TeacherConfig(
        data=DataConfig(train=Selection(dataset=dataset)),
        augmentation=tuple(change for change in config.augmentation if not change.mixes_images),
        model=config.model,
        init=Random(),
        objective=CrossEntropy(),
        optimizer=config.optimizer,
        schedule=config.schedule,
        epochs=ENDLESS,
        batch_size=config.batch_size,
        last_batch="drop",  # its shape would be compiled separately, in the middle of a slice
        evaluate_every=ENDLESS,
        **mode._asdict(),
        seed=0,
    )
    examples = random_examples(on_labels, EXAMPLES)
    network = build_network(on_labels).to(device).to(memory_format=torch.channels_last).eval()
    shown = examples.test.inputs.to(device)
    ask: Callable[[Tensor], Tensor] | None = None
    if mode.compiled:
        _, ask = compiled(network, Ensemble([network]))  # before the trainer's, as each call resets the compiler
        shown = examples.train.inputs[: config.batch_size].to(device)

    @torch.no_grad()
    def evaluate() -> int:
        with Precision(mode.precision, device).networks():
            predict(network, shown) if ask is None else ask(as_input(shown))
        return len(shown)

    train = train_work(Trainer(on_labels, {dataset: examples}, None, device))
    return {"train": train, "evaluate": repeat(evaluate, lambda: wait_for(device))}


def _of_generator(config: GeneratorConfig, device: torch.device) -> dict[str, Work]:
    dataset = config.data.train.dataset
    alone = {"data": DataConfig(train=Selection(dataset=dataset)), "epochs": ENDLESS, "steps_per_epoch": ENDLESS}
    trainer = GeneratorTrainer(
        config.model_copy(update=alone), {dataset: random_examples(config, EXAMPLES)}, device, generators={}
    )
    latents = torch.randn(BATCH, config.model.latent_size, device=device)

    def make() -> int:
        generate(trainer.generator, latents)
        return BATCH

    return {"train": train_work(trainer), "evaluate": repeat(make, lambda: wait_for(device))}
