"""Several runs side by side, one thread each, against one run that has all threads.

As many as the machine has processors, each in a process of its own, which is how `repro launch --workers N` makes them.
The runs are those of the benches `lenet` and `resnet`, on the CPU.
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
from repro.bench.contenders import Distillation, random_images
from repro.bench.timing import Report, Work, interleave, ratio, spread
from repro.config import StudentConfig
from repro.training.hardware import describe, keep_freed_memory

CPU = torch.device("cpu")
IMAGES = 10_000


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
def at_work(configs: Sequence[StudentConfig], crews: Sequence[Crew], images: int) -> Iterator[list[Processes]]:
    """The processes of each crew, ready to train any of the configs. They end with the block."""
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        hired = []
        for crew in crews:
            pipes: list[Connection] = []
            for _ in range(crew.processes):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, configs, crew.threads, images))
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


def _serve(pipe: Connection, configs: Sequence[StudentConfig], threads: int, images: int) -> None:
    """Train whenever asked, what is asked and for as many seconds, and answer with the number of images."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    works = [Distillation(config, random_images(config, images), CPU).ours() for config in configs]
    pipe.send(0)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            config, seconds = pipe.recv()
            pipe.send(works[config](seconds))


def measure_crews(
    configs: Mapping[str, StudentConfig], crews: Mapping[str, Crew], images: int, rounds: int, seconds: float
) -> dict[str, dict[str, list[float]]]:
    """Of each config, images/s of each crew, all its runs together, in each round."""
    with at_work(list(configs.values()), list(crews.values()), images) as hired:
        return {
            name: interleave({crew: of.on(number) for crew, of in zip(crews, hired, strict=True)}, rounds, seconds)
            for number, name in enumerate(configs)
        }


def measure(images: int = IMAGES, rounds: int = 5, seconds: float = 1.5) -> Report:
    """About 90 s on 2 cores.

    The numbers of the report:
    machine: as in `environment.json`; and processors, and load, the load average at the start.
    settings: images, rounds, seconds (of a slice).
    images_per_second: network (`lenet5`, `preresnet20 from 3`) -> crew -> one number per round. Crews are `one run, all
        threads` (as many as torch takes by itself), `one run, one thread` and `side by side, one thread each`.
    ratios: network -> `side by side / one run` and `all threads / one thread` -> {median, low, high}.
    """
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    crews = {
        "one run, all threads": Crew(1, torch.get_num_threads()),
        "one run, one thread": Crew(1, 1),
        "side by side, one thread each": Crew(processors, 1),
    }
    configs = {"lenet5": lenet.study_config(crop=False), "preresnet20 from 3": resnet.study_config()}
    speeds = measure_crews(configs, crews, images, rounds, seconds)
    ratios = {
        name: {
            "side by side / one run": ratio(of["side by side, one thread each"], of["one run, all threads"]),
            "all threads / one thread": ratio(of["one run, all threads"], of["one run, one thread"]),
        }
        for name, of in speeds.items()
    }
    machine = describe(CPU) | {"processors": processors, "load": load}
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
    headers = ["images/s in all", *crews, *next(iter(ratios.values()))]
    text = f"""workers: {processors} runs side by side against one
{machine["processor"]}, {machine["threads"]} threads, load {load:.1f} at the start
median (range) of {rounds} rounds of {seconds:g} s

{tabulate(rows, headers=headers, stralign="right")}"""
    return Report(text, numbers)
