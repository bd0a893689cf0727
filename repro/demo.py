"""`repro demo`: the paper's question, answered on the embedded digits by training, distilling and measuring."""

import argparse
import sys
from pathlib import Path

import torch

from analysis.drawing.style import save
from analysis.figures.digits import FIGURE
from analysis.tables import StudyTables
from analysis.text_table import text_table
from repro.atomic import make_folder
from repro.launch.ledger import Ledger
from repro.launch.local import make_side_by_side
from repro.launch.plan import parents_first
from repro.launch.sweep import find_sweep, read_sweep
from repro.records import RunFolder
from repro.runner import Runner
from repro.store import Store
from repro.tracking.label import Label
from repro.tracking.mirror import mirrored
from repro.training.hardware import keep_freed_memory, processors

WORKERS = 4
"""The number of runs made side by side, if there are as many processors."""


def demo(options: argparse.Namespace) -> None:
    """Make the runs of `sweeps/digits.yaml` under `--out`, print their table and save their figure there."""
    out: Path = options.out
    make_folder(out, "--out")
    keep_freed_memory()
    runner = Runner(Store(out / "runs"), out, torch.device("cpu"))
    plan = parents_first(read_sweep(find_sweep("digits"), {}))
    # As `repro launch` does, so that `repro status` and `repro wandb sync` know what the runs were made for.
    ledger = Ledger(runner.store.root)
    with ledger.lock(runner.progress.say):
        ledger.remember_sweep("digits", {}, plan)
    missing = [request for request in plan if not runner.store.run(request.run_id).is_done()]
    runner.check(request.config for request in missing)
    runner.progress.say(
        f"{len(plan)} runs on scikit-learn's digits: {len(plan) - len(missing)} done, {len(missing)} to make"
    )
    labels = {request.run_id: Label(request.label, "digits", request.tags) for request in missing}
    with mirrored(options.wandb, out / "runs", labels, runner.progress.say):
        make_side_by_side(missing, runner, ["cpu"], min(WORKERS, processors()), code=None)
        evidence = FIGURE.evidence(StudyTables(RunFolder(runner.store)), "short")
        print(text_table(evidence.table))
        print(EXPLANATION)
        for path in save(FIGURE.picture(evidence, "short"), evidence.table, out, "digits"):
            print(path)
        sys.stdout.flush()


EXPLANATION = """
Mean ± standard deviation over 3 trials, on 597 test images. Agreement and KL are with the teacher.
control: how well students of the *other* trials' teachers, distilled the same way, match this teacher. Networks
that classify well agree anyway, so only what a student has above its control is fidelity to *its* teacher.
Read downwards: does the student come closer to its teacher? And does it become more accurate?
"""
