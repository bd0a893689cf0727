"""Speed as ratios against stated baselines, measured in one run.

A bench is one file in this folder whose `measure` returns a Report, plus one line in BENCHES. A bench may measure a
process before and after `keep_freed_memory`, which cannot be undone. Several benches are therefore run in a process
each: in one that has already called it, or has run such a bench, a bench measures wrongly.
"""

import importlib.util
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

from repro.bench import analysis, launch, lenet, resnet, throughput, wandb_faults, workers
from repro.bench.timing import Report
from repro.errors import BadInput, did_you_mean


def _wandb(**options: int) -> Report:
    from repro.bench import wandb  # it needs psutil, which comes with the extra `wandb`

    return wandb.measure(**options)


BENCHES: dict[str, Callable[..., Report]] = {
    "analysis": analysis.measure,
    "lenet": lenet.measure,
    "launch": launch.measure,
    "resnet": resnet.measure,
    "throughput": throughput.measure,
    "wandb": _wandb,
    "wandb_faults": wandb_faults.measure,
    "workers": workers.measure,
}

PACKAGES = {"launch": ("submitit", "slurm"), "wandb": ("wandb", "wandb"), "wandb_faults": ("wandb", "wandb")}
"""The package that a bench needs, and the extra of the suite that installs it."""

APART = ("fidelity", "precision")
"""Benches of results instead of speed. They are in `analysis/`."""


def run_benches(names: Sequence[str], as_json: bool, say: Callable[[str], None], **options: bool | str) -> str:
    """Run the benches called `names` (all if empty), each once and with `options`, and return their reports.

    With `as_json`, returns one JSON object that maps each bench's name to its numbers; `measure` of the bench documents
    these and its options. `say` is called with a message when measuring begins. Raises BadInput for an unknown name,
    or if a bench needs a package that is not installed, before anything is measured.
    """
    for name in names:
        if name not in BENCHES:
            raise BadInput(f"no bench is called '{name}'{did_you_mean(name, [*BENCHES, *APART])}")
    chosen = list(dict.fromkeys(names or BENCHES))
    for name in chosen:
        package, extra = PACKAGES.get(name, (None, None))
        if package is not None and importlib.util.find_spec(package) is None:
            raise BadInput(
                f"bench {name}: {package} is not installed: pip install -e '.[{extra}]' in the suite's folder"
            )
    say("measuring; keep the machine idle until it is done")
    if len(chosen) == 1:  # here, where a bench can end with what it has when it is interrupted
        reports = {chosen[0]: BENCHES[chosen[0]](**options)}
    else:
        new = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max_workers=1, mp_context=new, max_tasks_per_child=1) as processes:
            reports = {name: processes.submit(BENCHES[name], **options).result() for name in chosen}
    if as_json:
        return json.dumps({name: report.numbers for name, report in reports.items()}, indent=1, allow_nan=False)
    return "\n\n".join(report.text for report in reports.values())
