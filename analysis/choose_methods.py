"""Writes `repro/experiments/method_choices.py`: `python -m analysis.choose_methods --runs DIR`.

For every method it chooses the try (`sweeps/methods_tries.yaml`) with the highest score on held-out training images:
agreement with the teacher or, for controls, accuracy. Ties go to the first try. A try whose training diverged loses.
Data sets that were not tried keep their choices.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from repro.atomic import write_atomically
from repro.errors import BadInput
from repro.experiments import method_choices
from repro.experiments.method_choices import CHOICES
from repro.experiments.method_tries import CONTROLS
from repro.experiments.methods import DataName, Methods
from repro.experiments.study import Preset
from repro.launch.sweep import find_sweep, sweep_studies
from repro.store import Store

HEADER = '''"""Which try of each method the study `methods` takes, by data set; written by
`python -m analysis.choose_methods --runs RUNS` from the runs of `sweeps/methods_tries.yaml` at the preset beside each.

Of trial 0, with one teacher of the student's architecture, the try with the highest agreement with the teacher
(controls: accuracy) on held-out train images, in percent beside each; a dash diverged. A data set that is not here
takes each method's first try.
"""

CHOICES: dict[str, dict[str, int]] = {
'''
MODULE = Path(method_choices.__file__)
ENTRY = re.compile(r' {4}"(\w+)": \{  # preset \w+\n(?: {8}.*\n)* {4}\},\n')
"""A data set's part of the module."""


def scores_of(data: DataName, preset: Preset, store: Store) -> dict[str, list[float | None]]:
    """Method -> the score of each try, None if it diverged. Empty if no run on this data set is done.

    Raises BadInput if a try is neither done nor has diverged: one that failed otherwise says nothing about its setting.
    """
    points = sweep_studies(find_sweep("methods_tries"), {"preset": preset, "data": data})
    runs = {point: store.run(point.config().run_id) for point in points}
    if not any(run.is_done() for run in runs.values()):
        return {}
    scores: dict[str, list[float | None]] = {}
    for point, run in runs.items():
        assert isinstance(point, Methods)
        reason = run.failure() or ""
        if not run.is_done() and "training diverged" not in reason:
            command = f"repro launch sweeps/methods_tries.yaml preset={preset} data={data}"
            why = f"failed ({reason})" if reason else "is not done"
            raise BadInput(f"{point.label()} {why}; run `{command}`")
        metrics: dict[str, Any] = run.read_json("summary.json")["metrics"] if run.is_done() else {}
        metric = "test/accuracy" if point.method in CONTROLS else "test/agreement"
        scores.setdefault(point.method, []).append(metrics.get(metric))
    return scores


def best(scores: list[float | None]) -> int:
    """The index of the highest score; the first one if several are equal."""
    return max(range(len(scores)), key=lambda place: (scores[place] or 0.0, -place))


def source(preset: Preset, store: Store, present: str) -> str:
    """The module's new source; data sets without tries keep their entries in the `present` one.

    Raises BadInput if no data set has been tried.
    """
    entries = {found[1]: found[0] for found in ENTRY.finditer(present)}
    if set(entries) != set(CHOICES):
        raise BadInput(f"{MODULE}: differs in form from what this command writes; restore it, for example with git")
    tried = {data: scores for data in get_args(DataName) if (scores := scores_of(data, preset, store))}
    if not tried:
        raise BadInput(
            f"{store.root}: no tuning run is done; run `repro launch sweeps/methods_tries.yaml preset={preset}`"
        )
    for data, scores in tried.items():
        lines = []
        for method, values in scores.items():
            shown = " ".join("-" if value is None else f"{100 * value:.1f}" for value in values)
            lines.append(f'        "{method}": {best(values)},  # {shown}\n')
        entries[data] = "".join([f'    "{data}": {{  # preset {preset}\n', *lines, "    },\n"])
    return "".join([HEADER, *(entries[data] for data in get_args(DataName) if data in entries), "}\n"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the module."""
    parser = argparse.ArgumentParser(description="Choose each method's setting on held-out train images.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--preset", choices=get_args(Preset), default="short")
    options = parser.parse_args(arguments)
    try:
        made = source(options.preset, Store(options.runs), MODULE.read_text())
    except BadInput as error:
        sys.exit(str(error))
    write_atomically(MODULE, made.encode())
    print(MODULE)


if __name__ == "__main__":
    main()
