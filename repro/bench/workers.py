"""Several runs side by side, compared with a single run on the same machine or GPU.

Each run is a separate process, as with `repro launch --workers N`. On a CPU, as many runs as there are processors, with
one thread each, train the students of the benches `lenet` and `resnet`. On a GPU, which they share, 2, 4 or 8 runs
train the student of the bench `resnet`, or a ResNet-56 student of one ResNet-56.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import torch
from tabulate import tabulate

from repro.bench import lenet, resnet
from repro.bench.contenders import Distillation, random_examples
from repro.bench.timing import Report, Work, interleave_until_interrupted, place, ratio, spread, until_interrupted
from repro.config import StudentConfig
from repro.experiments.capacity import Capacity
from repro.training.compiled import missing_for_compiling
from repro.training.hardware import choose_device, describe, keep_freed_memory, use_exact_kernels

IMAGES = 10_000
PARTING_SECONDS = 10.0
ON_A_GPU = (2, 4, 8)
"""Numbers of runs side by side."""


class Crew(NamedTuple):
    """A number of processes, each with its own run and the same number of threads."""

    processes: int
    threads: int


@dataclass(frozen=True)
class Processes:
    """The processes of a crew. They all train the same config at the same time, for a given number of seconds."""

    pipes: Sequence[Connection]

    def on(self, config: int) -> Work:
        """Work that trains the config with this number."""

        def work(seconds: float) -> int:
            for pipe in self.pipes:
                pipe.send((config, seconds))
            return sum(pipe.recv() for pipe in self.pipes)

        return work


@contextlib.contextmanager
def at_work(
    configs: Sequence[StudentConfig], crews: Sequence[Crew], images: int, device: torch.device
) -> Iterator[list[Processes]]:
    """The processes of each crew, ready to train any of the configs on the device. They end when the block ends."""
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        hired = []
        for crew in crews:
            pipes: list[Connection] = []
            for _ in range(crew.processes):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, configs, crew.threads, images, device))
                process.start()
                stack.callback(_end, process)
                stack.callback(ours.close)  # called before the join; it ends the process
                theirs.close()  # so that the death of a process is noticed
                pipes.append(ours)
            hired.append(Processes(pipes))
        for processes in hired:
            for pipe in processes.pipes:
                pipe.recv()
        yield hired


def _end(process: BaseProcess) -> None:
    """Wait until the process has noticed the end of its pipe; kill it if it is at something long, such as compiling."""
    process.join(PARTING_SECONDS)
    process.kill()
    process.join()


def _serve(pipe: Connection, configs: Sequence[StudentConfig], threads: int, images: int, device: torch.device) -> None:
    """On each request, train the requested config for the requested seconds and reply with the number of images.

    Only the end of the pipe ends the process: a terminal or `timeout` signals all processes of a bench at once.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
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
    """config -> crew -> images/s of all its runs together, one number per round.

    If interrupted as in `measure`, only configs and rounds that are complete.
    """
    speeds: dict[str, dict[str, list[float]]] = {}
    with until_interrupted(), at_work(list(configs.values()), list(crews.values()), images, device) as hired:
        for number, name in enumerate(configs):
            works = {crew: of.on(number) for crew, of in zip(crews, hired, strict=True)}
            speeds[name] = interleave_until_interrupted(works, rounds, seconds, name)
            if min(map(len, speeds[name].values())) < rounds:
                break
    return {name: of for name, of in speeds.items() if all(of.values())}


def measure(images: int = IMAGES, rounds: int = 5, seconds: float = 1.5, device: str = "auto") -> Report:
    """Takes about 90 s on 2 cores.

    Prints each round on stderr. Ctrl-C, SIGTERM or SIGHUP ends it with the networks and rounds that are complete; if
    there are none, raises KeyboardInterrupt.

    The numbers of the report:
    machine: as in `environment.json`, plus `processors` and `load`, the load average at the start.
    settings: images, rounds, seconds (of a slice).
    images_per_second: network (`lenet5`, `preresnet20 from 3`, ...) -> crew -> one number per round. Crews on a CPU are
        `one run, all threads` (torch's default number of threads), `one run, one thread` and `side by side, one thread
        each`; on a GPU, `one run` and `N side by side`.
    ratios: network -> comparison -> {median, low, high}. Comparisons are `side by side / one run` and `all threads /
        one thread` on a CPU, `N side by side / one run` on a GPU.
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
    if not speeds:
        raise KeyboardInterrupt
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
    text = f"""workers: runs side by side against one
{place(machine)}, {processors} processors, load {load:.1f} at the start
median (range) of {rounds} rounds of {seconds:g} s

{tabulate(rows, headers=headers, stralign="right")}"""
    return Report(text, numbers)


def _on_a_gpu() -> tuple[dict[str, StudentConfig], dict[str, Crew]]:
    """The configs that are trained on a GPU, in float32 and in the fastest mode, and the crews that train them."""
    deep = Capacity(teacher_depth=56, student_depth=56).config().model_copy(update=resnet.ENDLESS)
    configs = {"preresnet20 from 3": resnet.study_config(), "preresnet56": deep}
    if missing_for_compiling() is None:
        fastest = {"precision": "bfloat16", "compiled": True}
        configs |= {f"{name}, bfloat16, compiled": of.model_copy(update=fastest) for name, of in configs.items()}
    return configs, {"one run": Crew(1, 1)} | {f"{runs} side by side": Crew(runs, 1) for runs in ON_A_GPU}
