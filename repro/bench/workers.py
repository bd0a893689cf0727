"""Several runs side by side, one thread each, against one run that has all threads.

As many as the machine has processors, each in a process of its own, which is how `repro launch --workers N` makes them.
The runs are those of the benches `lenet` and `resnet`, on the CPU.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Mapping
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


@contextlib.contextmanager
def at_work(config: StudentConfig, crew: Crew, images: int) -> Iterator[Work]:
    """Work of all processes together: each trains for the given seconds. They are ready, and end with the block."""
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(crew.processes)]
    processes = [context.Process(target=_serve, args=(end, config, crew.threads, images)) for _, end in ends]
    pipes: list[Connection] = [ours for ours, _ in ends]
    for process in processes:
        process.start()
    for _, theirs in ends:
        theirs.close()  # so that a process that dies is noticed

    def work(seconds: float) -> int:
        for pipe in pipes:
            pipe.send(seconds)
        return sum(pipe.recv() for pipe in pipes)

    try:
        for pipe in pipes:
            pipe.recv()
        yield work
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join()


def _serve(pipe: Connection, config: StudentConfig, threads: int, images: int) -> None:
    """Train whenever asked, for as many seconds as asked, and answer with the number of images."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    work = Distillation(config, random_images(config, images), CPU).ours()
    pipe.send(0)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(work(pipe.recv()))


def measure_crews(
    config: StudentConfig, crews: Mapping[str, Crew], images: int, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Images/s of each crew, all its runs together, in each round."""
    with contextlib.ExitStack() as stack:
        contenders = {name: stack.enter_context(at_work(config, crew, images)) for name, crew in crews.items()}
        return interleave(contenders, rounds, seconds)


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
    speeds = {name: measure_crews(config, crews, images, rounds, seconds) for name, config in configs.items()}
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
