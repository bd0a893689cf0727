"""Writes `repro/experiments/method_choices.py`: `python -m analysis.choose_methods --runs DIR > that file`.

For every method it chooses the try (`sweeps/methods_tries.yaml`) with the highest score on held-out training images:
agreement with the teacher or, for controls, accuracy. Ties go to the first try. A failed try (training diverged) loses.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, get_args

from repro.errors import BadInput
from repro.experiments.method_tries import CONTROLS
from repro.experiments.methods import DataName, Methods
from repro.experiments.study import Preset
from repro.launch.sweep import find_sweep, sweep_studies
from repro.store import Store

HEADER = '''"""Which try of each method the study `methods` takes, by data set; written by
`python -m analysis.choose_methods --preset {preset} --runs RUNS` from the runs of `sweeps/methods_tries.yaml`.

Of trial 0, with one teacher of the student's architecture, the try with the highest agreement with the teacher
(controls: accuracy) on held-out train images, in percent beside each; a dash diverged. A data set that is not here
takes each method's first try.
"""

CHOICES: dict[str, dict[str, int]] = {{
'''


def scores_of(data: DataName, preset: Preset, store: Store) -> dict[str, list[float | None]]:
    """Method -> the score of each try, None if it failed (diverged). Empty if no run on this data set is done.

    Raises BadInput if a try is neither done nor failed.
    """
    points = sweep_studies(find_sweep("methods_tries"), {"preset": preset, "data": data})
    runs = {point: store.run(point.config().run_id) for point in points}
    if not any(run.is_done() for run in runs.values()):
        return {}
    scores: dict[str, list[float | None]] = {}
    for point, run in runs.items():
        assert isinstance(point, Methods)
        if not run.is_done() and run.state() != "failed":
            raise BadInput(f"{point.label()} is not done; run `repro launch sweeps/methods_tries.yaml data={data}`")
        metrics: dict[str, Any] = run.read_json("summary.json")["metrics"] if run.is_done() else {}
        metric = "test/accuracy" if point.method in CONTROLS else "test/agreement"
        scores.setdefault(point.method, []).append(metrics.get(metric))
    return scores


def best(scores: list[float | None]) -> int:
    """The index of the highest score; the first one if several are equal."""
    return max(range(len(scores)), key=lambda place: (scores[place] or 0.0, -place))


def source(preset: Preset, store: Store) -> str:
    """The module's source. Raises BadInput if no data set has been tried."""
    lines = []
    for data in get_args(DataName):
        scores = scores_of(data, preset, store)
        if scores:
            lines.append(f'    "{data}": {{')
            for method, values in scores.items():
                shown = " ".join("-" if value is None else f"{100 * value:.1f}" for value in values)
                lines.append(f'        "{method}": {best(values)},  # {shown}')
            lines.append("    },")
    if not lines:
        raise BadInput(
            f"{store.root}: no tuning run is done; run `repro launch sweeps/methods_tries.yaml preset={preset}`"
        )
    return HEADER.format(preset=preset) + "\n".join([*lines, "}"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Choose each method's setting on held-out train images.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--preset", choices=get_args(Preset), default="short")
    options = parser.parse_args()
    try:
        print(source(options.preset, Store(options.runs)))
    except BadInput as error:
        sys.exit(str(error))
