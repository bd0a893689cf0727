"""The suite's engine against a typical training loop: ResNet-20 distilled from three ResNet-20 on CIFAR-100's shape.

The contenders are those of `repro.bench.contenders`, on the config of the study `capacity`, whose random crops and
flips require the teachers to predict every batch. Runs on the first CUDA device if there is one, else on the CPU.
"""

import os
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Literal

import torch
from tabulate import tabulate

from repro.bench.contenders import Distillation, random_examples
from repro.bench.floor import floor_speed
from repro.bench.timing import (
    PairedRatio,
    Report,
    Spread,
    Work,
    interleave_until_interrupted,
    paired_ratio,
    place,
    ratio,
    spread,
)
from repro.config import StudentConfig
from repro.experiments.capacity import Capacity
from repro.training.compiled import missing_for_compiling
from repro.training.hardware import choose_device, describe, keep_freed_memory, use_exact_kernels
from repro.training.mode import modes_of

MEMBERS: Literal[3] = 3
ENDLESS = {"epochs": 1_000_000, "last_batch": "drop"}
"""More epochs than a bench can run, of full batches: one of another size would be compiled in the middle of a slice."""


def study_config() -> StudentConfig:
    """The study's student, trained until the bench ends it."""
    return Capacity(members=MEMBERS).config().model_copy(update=ENDLESS)


def every_contender(job: Distillation, compiled: bool) -> Mapping[str, Work]:
    precisions = [mode.precision for mode in modes_of(job.device) if not mode.compiled]
    contenders = {
        "reference": job.reference(),
        "ours": job.ours(),
        **{f"ours, {precision}": job.ours(precision) for precision in precisions},
        "bare": job.bare(with_teachers=True),
        "bare, channels first": job.bare(with_teachers=True, memory_format=torch.contiguous_format),
        "bare, teachers folded": job.bare(with_teachers=True, folded=True),
    }
    if compiled:
        contenders |= {
            "ours, compiled": job.ours(compiled=True),
            **{f"ours, {precision}, compiled": job.ours(precision, compiled=True) for precision in precisions},
            "bare, compiled": job.bare(with_teachers=True, compiled=True),
        }
    return contenders


RATIOS = {
    "ours / reference": ("ours", "reference"),
    "ours / bare": ("ours", "bare"),
    "ours, compiled / reference": ("ours, compiled", "reference"),
    "ours, tfloat32 / reference": ("ours, tfloat32", "reference"),
    "ours, tfloat32, compiled / reference": ("ours, tfloat32, compiled", "reference"),
    "ours, bfloat16 / reference": ("ours, bfloat16", "reference"),
    "ours, bfloat16, compiled / reference": ("ours, bfloat16, compiled", "reference"),
    "ours, compiled / ours": ("ours, compiled", "ours"),
    "ours, compiled / bare, compiled": ("ours, compiled", "bare, compiled"),
    "ours, tfloat32 / ours": ("ours, tfloat32", "ours"),
    "ours, bfloat16 / ours": ("ours, bfloat16", "ours"),
    "ours, bfloat16, compiled / ours, bfloat16": ("ours, bfloat16, compiled", "ours, bfloat16"),
    "bare / bare, channels first": ("bare", "bare, channels first"),
    "bare, teachers folded / bare": ("bare, teachers folded", "bare"),
    "bare, compiled / bare": ("bare, compiled", "bare"),
}
"""The contenders that are compared round by round, if they are measured."""


def measure(
    count: int = 10_000,
    rounds: int = 12,
    seconds: float = 1.5,
    device: str = "auto",
    compiled: bool | None = None,
) -> Report:
    """Measure with the default allocator, then, on a CPU, with freed memory kept.

    Takes 8 minutes on 2 cores of a CPU that has bfloat16 products, and 20 minutes on one that has none. Prints each
    round on stderr. Ctrl-C, SIGTERM or SIGHUP ends it with the rounds that are complete; if there are none, raises
    KeyboardInterrupt.

    compiled: also measure compiled contenders, which needs a C++ compiler and takes two minutes. By default, they are
        measured if this machine can compile.

    The numbers of the report:
    machine: as in `environment.json`, plus torchvision's version and `load`, the load average at the start.
    settings: images, batch_size, members, rounds (that are complete), seconds (of a slice).
    images_per_second: allocator (`default` or, on a CPU, `kept`) -> contender -> one number per round.
    floor: what `repro.bench.floor.floor_speed` returns, measured after all rounds.
    ratios: name -> {median, low, high, confidence}. Contenders are compared round by round with the last allocator,
        with an interval for the median. Ratios between two allocators, or to the floor, have a * in their name and no
        confidence: they are not interleaved, so they include any drift of the machine's speed, and low and high are
        the range over rounds.
    """
    load, chosen = os.getloadavg()[0], choose_device(device)
    missing = missing_for_compiling()
    compiled = missing is None if compiled is None else compiled
    use_exact_kernels()
    config = study_config()
    job = Distillation(config, random_examples(config, count), chosen)
    contenders = every_contender(job, compiled)
    speeds = {"default": interleave_until_interrupted(contenders, rounds, seconds, "default allocator")}
    done = len(speeds["default"]["ours"])
    if done == 0:
        raise KeyboardInterrupt
    if chosen.type == "cpu" and done == rounds:
        keep_freed_memory()  # cannot be undone, hence the order
        kept = interleave_until_interrupted(contenders, rounds, seconds, "freed memory kept")
        if done_again := len(kept["ours"]):
            speeds = {"default": {name: of[:done_again] for name, of in speeds["default"].items()}, "kept": kept}
            done = done_again
    floor = floor_speed(config, chosen)
    first, last = speeds["default"], list(speeds.values())[-1]
    ratios: dict[str, PairedRatio | Spread] = {
        name: paired_ratio(last[above], last[below]) for name, (above, below) in RATIOS.items() if above in last
    }
    ratios["ours / floor *"] = ratio(last["ours"], [floor["images_per_second"]] * done)
    if "kept" in speeds:
        ratios["ours, kept / reference, default *"] = ratio(last["ours"], first["reference"])
        ratios |= {f"kept / default, {name} *": ratio(last[name], first[name]) for name in last}
    machine = describe(chosen) | {"torchvision": version("torchvision"), "load": load}
    settings = {
        "images": count,
        "batch_size": config.batch_size,
        "members": MEMBERS,
        "rounds": done,
        "seconds": seconds,
    }
    numbers = {
        "machine": machine,
        "settings": settings,
        "images_per_second": speeds,
        "floor": floor,
        "ratios": {name: value._asdict() for name, value in ratios.items()},
    }
    not_compiled = "" if compiled else f"\nnot measured: what is compiled{f' (it takes {missing})' if missing else ''}"
    return Report(_text(numbers, ratios, not_compiled), numbers)


def _text(numbers: Mapping[str, Any], ratios: Mapping[str, PairedRatio | Spread], not_compiled: str) -> str:
    machine, settings, floor = numbers["machine"], numbers["settings"], numbers["floor"]
    speeds: dict[str, dict[str, list[float]]] = numbers["images_per_second"]
    rows = [[name, *(spread(of[name]).text(0) for of in speeds.values())] for name in speeds["default"]]
    headers = ["images/s", "default allocator", "freed memory kept"][: 1 + len(speeds)]
    table = tabulate(rows, headers=headers, stralign="right")
    between = tabulate([[name, value.text(2)] for name, value in ratios.items()], headers=["ratio", ""])
    return f"""resnet: ours / reference = {ratios["ours / reference"].text(2, unit="x")}
{place(machine)}, load {machine["load"]:.1f} at the start
Python {machine["python"]}, torch {machine["torch"]}, torchvision {machine["torchvision"]}
ResNet-20 from {MEMBERS} ResNet-20, batches of {settings["batch_size"]}; median (range) of {settings["rounds"]} rounds \
of {settings["seconds"]:g} s

{table}
floor: {floor["images_per_second"]:,.0f} images/s, from {floor["flops_per_image"] / 1e6:,.0f} MFLOP at \
{floor["flops_per_second"] / 1e9:,.0f} GFLOP/s and {floor["bytes_per_image"] / 1e6:.1f} MB at \
{floor["bytes_per_second"] / 1e9:.0f} GB/s

{between}
of ratios: median over rounds, and an interval that holds it with 95 % (of fewer than 6 rounds, the range)
* not interleaved: the range, in which changes in the machine's speed count too{not_compiled}"""
