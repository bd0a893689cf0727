"""Several runs side by side against one that has the machine, or the GPU, for itself.

Each run is a process of its own, which is how `repro launch --workers N` makes them. On a CPU as many as there are
processors, one thread each, of the benches `lenet` and `resnet`; on a GPU, which they share, several numbers of them,
of the bench `resnet` and of ResNet-56 students of one ResNet-56.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from tabulate import tabulate

from repro.bench import lenet, resnet
from repro.bench.contenders import Distillation, random_examples
from repro.bench.timing import Report, Work, interleave, ratio, spread
from repro.config import StudentConfig
from repro.experiments.capacity import Capacity
from repro.training.compiled import missing_for_compiling
from repro.training.hardware import choose_device, describe, keep_freed_memory, use_exact_kernels

IMAGES = 10_000
ON_A_GPU = (2, 4, 8)
"""Runs side by side."""


class Crew(NamedTuple):
    """So many processes, each with a run of its own and so many threads."""

    processes: int
    threads: int


@dataclass(frozen=True)
class Processes:
    """The crew at work: each process trains the config that is named, for the given seconds, all at the same time."""

    pipes: Sequence[Connection]

    def on(self, config: int) -> Work:
        """Work on the config of this number."""

        def work(seconds: float) -> int:
            for pipe in self.pipes:
                pipe.send((config, seconds))
            return sum(pipe.recv() for pipe in self.pipes)

        return work


@contextlib.contextmanager
def at_work(
    configs: Sequence[StudentConfig], crews: Sequence[Crew], images: int, device: torch.device
) -> Iterator[list[Processes]]:
    """The processes of each crew, ready to train any of the configs on the device. They end with the block."""
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        hired = []
        for crew in crews:
            pipes: list[Connection] = []
            for _ in range(crew.processes):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, configs, crew.threads, images, device))
                process.start()
                stack.callback(process.join)
                stack.callback(ours.close)  # before that; it ends the process
                theirs.close()  # so that a process that dies is noticed
                pipes.append(ours)
            hired.append(Processes(pipes))
        for processes in hired:
            for pipe in processes.pipes:
                pipe.recv()
        yield hired


def _serve(pipe: Connection, configs: Sequence[StudentConfig], threads: int, images: int, device: torch.device) -> None:
    """Train whenever asked, what is asked and for as many seconds, and answer with the number of images."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    use_exact_kernels()
    jobs = [(Distillation(config, random_examples(config, images), device), config) for config in configs]
    works = [job.ours(config.precision, config.compiled) for job, config in jobs]
    pipe.send(0)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            config, seconds = pipe.recv()
            pipe.send(works[config](seconds))


def measure_crews(
    configs: Mapping[str, StudentConfig],
    crews: Mapping[str, Crew],
    images: int,
    rounds: int,
    seconds: float,
    device: torch.device,
) -> dict[str, dict[str, list[float]]]:
    """Of each config, images/s of each crew, all its runs together, in each round."""
    with at_work(list(configs.values()), list(crews.values()), images, device) as hired:
        return {
            name: interleave({crew: of.on(number) for crew, of in zip(crews, hired, strict=True)}, rounds, seconds)
            for number, name in enumerate(configs)
        }


def measure(images: int = IMAGES, rounds: int = 5, seconds: float = 1.5, device: str = "auto") -> Report:
    """About 90 s on 2 cores.

    The numbers of the report:
    machine: as in `environment.json`; and processors, and load, the load average at the start.
    settings: images, rounds, seconds (of a slice).
    images_per_second: network (`lenet5`, `preresnet20 from 3`, ...) -> crew -> one number per round. Crews on a CPU are
        `one run, all threads` (as many as torch takes by itself), `one run, one thread` and `side by side, one thread
        each`; on a GPU `one run` and `N side by side`.
    ratios: network -> `crew / crew` -> {median, low, high}.
    """
    load, processors, chosen = os.getloadavg()[0], os.cpu_count() or 1, choose_device(device)
    if chosen.type == "cuda":
        configs, crews = _on_a_gpu()
        pairs = {f"{crew} / one run": (crew, "one run") for crew in crews if crew != "one run"}
    else:
        configs = {"lenet5": lenet.study_config(crop=False), "preresnet20 from 3": resnet.study_config()}
        crews = {
            "one run, all threads": Crew(1, torch.get_num_threads()),
            "one run, one thread": Crew(1, 1),
            "side by side, one thread each": Crew(processors, 1),
        }
        pairs = {
            "side by side / one run": ("side by side, one thread each", "one run, all threads"),
            "all threads / one thread": ("one run, all threads", "one run, one thread"),
        }
    speeds = measure_crews(configs, crews, images, rounds, seconds, chosen)
    ratios = {
        name: {which: ratio(of[above], of[below]) for which, (above, below) in pairs.items()}
        for name, of in speeds.items()
    }
    machine = describe(chosen) | {"processors": processors, "load": load}
    numbers: dict[str, Any] = {
        "machine": machine,
        "settings": {"images": images, "rounds": rounds, "seconds": seconds},
        "images_per_second": speeds,
        "ratios": {name: {which: value._asdict() for which, value in of.items()} for name, of in ratios.items()},
    }
    rows = [
        [
            name,
            *(spread(by_round).text(0) for by_round in of.values()),
            *(value.text(2) for value in ratios[name].values()),
        ]
        for name, of in speeds.items()
    ]
    headers = ["images/s in all", *crews, *pairs]
    where = machine["device"] if chosen.type == "cuda" else f"{machine['processor']}, {machine['threads']} threads"
    text = f"""workers: runs side by side against one
{where}, {processors} processors, load {load:.1f} at the start
median (range) of {rounds} rounds of {seconds:g} s

{tabulate(rows, headers=headers, stralign="right")}"""
    return Report(text, numbers)


def _on_a_gpu() -> tuple[dict[str, StudentConfig], dict[str, Crew]]:
    """What is trained on a GPU, in float32 and in the fastest mode, and by whom."""
    deep = Capacity(teacher_depth=56, student_depth=56).config().model_copy(update={"epochs": 1_000_000})
    configs = {"preresnet20 from 3": resnet.study_config(), "preresnet56": deep}
    if missing_for_compiling() is None:
        fastest = {"precision": "bfloat16", "compiled": True}
        configs |= {f"{name}, bfloat16, compiled": of.model_copy(update=fastest) for name, of in configs.items()}
    return configs, {"one run": Crew(1, 1)} | {f"{runs} side by side": Crew(runs, 1) for runs in ON_A_GPU}
