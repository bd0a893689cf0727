"""`repro bench precision`: how each faster training mode changes fidelity and accuracy, compared with plain float32.

A mode is a precision, compiled or not; compiled modes are measured only on machines that can compile.

The students are those of the study `methods` (soft labels, one teacher of their architecture), but at temperature 1. At
the study's temperature, 4, some LeNet-5 collapse in any mode, which hides the mode's effect (docs/speed.md). In every
mode each trial's student is distilled from the teacher trained in float32 and, unless `--same-teacher` is given, also
from one trained in the mode. Both have the random streams of the student in float32; the change is the difference from
it, trial by trial. All metrics are computed in float32. A run that diverges is a result too: it is counted, and its
trial is left out of the change.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd
import torch
from tabulate import tabulate

from analysis.statistics.intervals import interval
from analysis.statistics.sample import Sample
from analysis.tables import StudyTable, rows_of
from repro.config import PrecisionName, StudentConfig
from repro.config.override import override
from repro.errors import BadInput, Interrupted, RunFailed
from repro.experiments.methods import Methods
from repro.experiments.study import Study
from repro.launch.local import make_side_by_side
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.records.folder import RunFolder
from repro.runner import Runner
from repro.store import Store
from repro.training.hardware import choose_devices, describe
from repro.training.mode import Mode, modes_of

QUANTITIES = {"agreement": "student_agreement", "kl": "student_kl", "accuracy": "student_accuracy"}
Who = Literal["student", "student and teacher"]


class InMode(Methods):
    """The study `methods` in a training mode, which may be the teacher's mode too."""

    precision: PrecisionName = "float32"
    compiled: bool = False
    who: Who = "student"

    @property
    def mode(self) -> Mode:
        return Mode(self.precision, self.compiled)

    def config(self) -> StudentConfig:
        changes: dict[str, Any] = {**self.mode._asdict(), "objective.temperature": 1.0}
        if self.who == "student and teacher":
            changes |= {f"teachers.{key}": value for key, value in self.mode._asdict().items()}
        config = override(super().config(), changes)
        assert isinstance(config, StudentConfig)
        return config


def bench(options: argparse.Namespace) -> None:
    """Train the missing runs, `options.workers` at a time, and print what the modes change.

    With --json, print an object {"precision": {machine, settings, float32, changes}}: settings {on, preset, trials,
    images (in the test set)}; float32 {diverged, quantity: {mean, std, trials}}; changes a list of {precision,
    compiled, who, diverged, quantity: {estimate, low, high, trials}}. A quantity's `trials` are its values in single
    trials, `low` and `high` the 95 % interval of docs/statistics.md, `diverged` the trials left out. Raises BadInput
    for fewer than 2 trials, and RunFailed if fewer than 2 are left to compare or a run failed for another reason.
    """
    if options.trials < 2:
        raise BadInput("--trials: an interval needs at least 2")
    devices = choose_devices(options.device)
    device = torch.device(devices[0])
    common: dict[str, Any] = {"preset": options.preset, "data": options.on}
    whose: tuple[Who, ...] = ("student",) if options.same_teacher else ("student", "student and teacher")
    conditions = [(mode, who) for mode in modes_of(device) for who in whose]
    points = [
        InMode(**common, trial=trial, **mode._asdict(), who=who)
        for trial in range(options.trials)  # trial by trial, so that an interrupted bench leaves complete trials
        for mode, who in [(Mode(), "student"), *conditions]
    ]
    requests = [Request(f"{point.mode} {point.who} trial={point.trial}", point.config()) for point in points]
    store = Store(options.runs)
    runner = Runner(store, options.data, device)
    diverged = _make(requests, runner, devices, options.workers)
    done: dict[Study, str] = {
        point: request.run_id for point, request in zip(points, requests, strict=True) if request.run_id not in diverged
    }
    table = _table(done, RunFolder(store), options)
    for mode, who in [(Mode(), "student"), *conditions]:
        if len(table.sample("student_kl", **mode._asdict(), who=who)) < 2:
            raise RunFailed(f"{mode} ({who}): fewer than 2 of the {options.trials} trials finished without diverging")

    def lost(mode: Mode, who: Who) -> list[int]:
        those = [point for point in points if (point.mode, point.who) == (mode, who)]
        return [point.trial for point in those if point not in done]

    numbers = {
        "machine": describe(device),
        "settings": {
            "on": options.on,
            "preset": options.preset,
            "trials": options.trials,
            "images": _test_images(table),
        },
        "float32": {"diverged": lost(Mode(), "student")}
        | {name: _spread(table, quantity) for name, quantity in QUANTITIES.items()},
        "changes": [
            {**mode._asdict(), "who": who, "diverged": lost(mode, who)} | _changes(table, mode, who)
            for mode, who in conditions
        ],
    }
    print(json.dumps({"precision": numbers}, indent=1, allow_nan=False) if options.json else show(numbers))


def _make(requests: list[Request], runner: Runner, devices: Sequence[str], workers: int) -> set[str]:
    """Train the runs and their teachers; return the ids of those that diverged. RunFailed if one failed otherwise."""
    plan = parents_first(requests)
    missing = [request for request in plan if not runner.store.run(request.run_id).is_done()]
    runner.check(request.config for request in missing)
    try:
        if missing:
            make_side_by_side(missing, runner, devices, workers, code=None)
    except Interrupted:
        raise
    except RunFailed:
        reasons = {request.run_id: runner.store.run(request.run_id).failure() for request in plan}
        diverged = {run_id for run_id, reason in reasons.items() if reason and "training diverged" in reason}
        if any(not runner.store.run(run_id).is_done() for run_id in reasons.keys() - diverged):
            raise
        return diverged
    return set()


def _table(done: dict[Study, str], records: RunFolder, options: argparse.Namespace) -> StudyTable:
    rows = pd.DataFrame(rows_of(done, records))
    sweep, conditions = f"methods_{options.on}", ("precision", "compiled", "who")
    return StudyTable(sweep, options.preset, conditions, rows, (), len(done), records)


def _test_images(table: StudyTable) -> int:
    examples = _plain(table, "student_agreement").examples
    assert examples is not None
    return len(examples[0])


def _spread(table: StudyTable, quantity: str) -> dict[str, Any]:
    sample = _plain(table, quantity)
    return {"mean": interval(sample).estimate, "std": interval(sample).std, "trials": sample.values.tolist()}


def _plain(table: StudyTable, quantity: str) -> Sample:
    return table.sample(quantity, **Mode()._asdict())


def _changes(table: StudyTable, mode: Mode, who: Who) -> dict[str, Any]:
    """The mode minus plain float32, paired by trial."""
    changes: dict[str, Any] = {}
    for name, quantity in QUANTITIES.items():
        change = table.sample(quantity, **mode._asdict(), who=who) - _plain(table, quantity)
        of = interval(change)
        changes[name] = {"estimate": of.estimate, "low": of.low, "high": of.high, "trials": change.values.tolist()}
    return changes


def show(numbers: dict[str, Any]) -> str:
    """The numbers as a text table."""
    settings, machine = numbers["settings"], numbers["machine"]
    where = machine["device"] if machine["device"] != "cpu" else machine["processor"]
    float32 = numbers["float32"]
    own = [_value(name, float32[name]["mean"]) + f" ± {_value(name, float32[name]['std'])}" for name in QUANTITIES]
    rows = [["float32", "", *own, len(float32["diverged"])]]
    for change in numbers["changes"]:
        cells = [
            _value(name, change[name]["estimate"], "+")
            + f" ({_value(name, change[name]['low'], '+')} to {_value(name, change[name]['high'], '+')})"
            for name in QUANTITIES
        ]
        mode = Mode(change["precision"], change["compiled"])
        rows.append([mode, change["who"], *cells, len(change["diverged"])])
    headers = ["mode", "trained in it", "agreement %", "KL", "accuracy %", "diverged"]
    table = tabulate(rows, headers, disable_numparse=True)
    return f"""precision: soft labels on {settings["on"]}, preset {settings["preset"]}, {settings["trials"]} trials, \
{settings["images"]:,} test images; {where}
float32: mean ± standard deviation over trials. Below: the change against it, paired by trial (95 % interval)

{table}"""


def _value(name: str, value: float, sign: Literal["", "+"] = "") -> str:
    """Shares in percent, KL in nats."""
    return f"{value:{sign}.4f}" if name == "kl" else f"{100 * value:{sign}.2f}"
