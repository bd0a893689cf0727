"""`repro bench precision`: what each faster mode of precision changes in fidelity and accuracy, against float32.

The students are those of the study `methods` (soft labels, one teacher of their architecture). In every mode each
trial's student is made twice, from the teacher that was trained in float32 and from one trained in the mode, with the
float32 student's random streams; the change is their difference, trial by trial. All metrics are taken in float32.
"""

import argparse
import json
from typing import Any, Literal

import pandas as pd
import torch
from tabulate import tabulate

from analysis.intervals import interval
from analysis.tables import StudyTable, rows_of
from repro import progress
from repro.config import PrecisionName, StudentConfig
from repro.config_override import override
from repro.experiments.methods import Methods
from repro.experiments.study import Study
from repro.launch.local import run_here
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.records.folder import RunFolder
from repro.runner import Runner
from repro.stop import StopRequest
from repro.store import Store
from repro.training.hardware import choose_device, describe, keep_freed_memory

TRIALS = 5
QUANTITIES = {"agreement": "student_agreement", "kl": "student_kl", "accuracy": "student_accuracy"}
Who = Literal["student", "student and teacher"]


class InMode(Methods):
    """The study with a mode of precision, in which the teacher may have been trained too."""

    precision: PrecisionName = "float32"
    who: Who = "student"

    def config(self) -> StudentConfig:
        changes = {"precision": self.precision}
        if self.who == "student and teacher":
            changes["teachers.precision"] = self.precision
        config = override(super().config(), changes)
        assert isinstance(config, StudentConfig)
        return config


def modes_of(device: torch.device) -> list[PrecisionName]:
    """The modes beside float32 that the device has."""
    return ["tfloat32", "bfloat16"] if device.type == "cuda" else ["bfloat16"]


def bench(options: argparse.Namespace) -> None:
    """Train what is missing of `TRIALS` trials, and print what the modes change.

    With --json an object {"precision": {machine, settings, float32, changes}}: settings {on, preset, trials, images (of
    the test set)}; float32 {quantity: {mean, std, trials}}; changes a list of {precision, who, quantity: {estimate,
    low, high, trials}}. `trials` are the values of single trials, intervals those of docs/statistics.md (95 %).
    """
    device = choose_device(options.device)
    keep_freed_memory()
    common: dict[str, Any] = {"preset": options.preset, "data": options.on}
    points = [InMode(**common, trial=trial) for trial in range(TRIALS)]
    whose: tuple[Who, ...] = ("student", "student and teacher")
    conditions = [(mode, who) for mode in modes_of(device) for who in whose]
    for mode, who in conditions:
        points += [InMode(**common, trial=trial, precision=mode, who=who) for trial in range(TRIALS)]
    requests = [Request(f"{point.precision} {point.who} trial={point.trial}", point.config()) for point in points]
    store = Store(options.runs)
    runner = Runner(store, options.data, device, progress.for_this_output(), StopRequest())
    with runner.stop.listening():
        run_here(parents_first(requests), runner)
    done: dict[Study, str] = {point: request.run_id for point, request in zip(points, requests, strict=True)}
    table = _table(done, RunFolder(store), options)
    numbers = {
        "machine": describe(device),
        "settings": {"on": options.on, "preset": options.preset, "trials": TRIALS, "images": _test_images(table)},
        "float32": {name: _spread(table, quantity) for name, quantity in QUANTITIES.items()},
        "changes": [{"precision": mode, "who": who} | _changes(table, mode, who) for mode, who in conditions],
    }
    print(json.dumps({"precision": numbers}, indent=1, allow_nan=False) if options.json else show(numbers))


def _table(done: dict[Study, str], records: RunFolder, options: argparse.Namespace) -> StudyTable:
    rows = pd.DataFrame(rows_of(done, records))
    sweep, conditions = f"methods_{options.on}", ("precision", "who")
    return StudyTable(sweep, options.preset, conditions, rows, (), len(done), "", records)


def _test_images(table: StudyTable) -> int:
    examples = table.sample("student_agreement", precision="float32").examples
    assert examples is not None
    return len(examples[0])


def _spread(table: StudyTable, quantity: str) -> dict[str, Any]:
    sample = table.sample(quantity, precision="float32")
    return {"mean": interval(sample).estimate, "std": interval(sample).std, "trials": sample.values.tolist()}


def _changes(table: StudyTable, mode: PrecisionName, who: Who) -> dict[str, Any]:
    """In the mode minus in float32, paired by trial."""
    changes: dict[str, Any] = {}
    for name, quantity in QUANTITIES.items():
        change = table.sample(quantity, precision=mode, who=who) - table.sample(quantity, precision="float32")
        of = interval(change)
        changes[name] = {"estimate": of.estimate, "low": of.low, "high": of.high, "trials": change.values.tolist()}
    return changes


def show(numbers: dict[str, Any]) -> str:
    """The table for people."""
    settings, machine = numbers["settings"], numbers["machine"]
    where = machine["device"] if machine["device"] != "cpu" else machine["processor"]
    own = [
        _value(name, of["mean"], "") + f" ± {_value(name, of['std'], '')}" for name, of in numbers["float32"].items()
    ]
    rows = [["float32", "", *own]]
    for change in numbers["changes"]:
        cells = [
            _value(name, change[name]["estimate"], "+")
            + f" ({_value(name, change[name]['low'], '+')} to {_value(name, change[name]['high'], '+')})"
            for name in QUANTITIES
        ]
        rows.append([change["precision"], change["who"], *cells])
    table = tabulate(rows, ["precision", "trained in it", "agreement %", "KL", "accuracy %"], disable_numparse=True)
    return f"""precision: soft labels on {settings["on"]}, preset {settings["preset"]}, {settings["trials"]} trials, \
{settings["images"]:,} test images; {where}
float32: mean ± standard deviation over trials. Below: the change against it, paired by trial (95 % interval)

{table}"""


def _value(name: str, value: float, sign: Literal["", "+"]) -> str:
    """Shares in percent, KL in nats."""
    return f"{value:{sign}.4f}" if name == "kl" else f"{100 * value:{sign}.2f}"
