"""The tables of the study `transfer`: `python -m analysis.transfer_table`."""

import sys
from itertools import product
from typing import get_args

from tabulate import tabulate

from analysis.figures.transfer import LOSSES, TRUNKS, WEIGHTS
from analysis.formats import percent, plain, with_interval
from analysis.source import print_page
from analysis.statistics.intervals import interval
from analysis.tables import StudyTable, study_table
from repro.experiments.study import Preset
from repro.records import Records
from repro.usage.options import Parser

COLUMNS = {
    "accuracy %": ("student_accuracy", percent),
    "agreement %": ("student_agreement", percent),
    "control %": ("control_agreement", percent),
    "KL": ("student_kl", plain),
}
CONTRASTS = (
    ("trunk", "supervised", "random"),
    ("trunk", "distilled", "supervised"),
    ("weights", "fine_tuned", "frozen"),
    ("loss", "teacher", "labels"),
)


def conditions_table(table: StudyTable) -> str:
    """A line for each condition, as Markdown: means and standard deviations over trials."""
    conditions = list(product(TRUNKS.names, WEIGHTS, LOSSES.names))
    lines = []
    for trunk, weights, loss in conditions:
        samples = {name: table.sample(q, trunk=trunk, weights=weights, loss=loss) for name, (q, _) in COLUMNS.items()}
        lines.append([trunk, weights, loss, *(COLUMNS[name][1](interval(samples[name])) for name in COLUMNS)])
    return tabulate(lines, ["trunk", "weights", "loss", *COLUMNS], tablefmt="github", disable_numparse=True)


def contrasts_table(table: StudyTable) -> str:
    """What one setting changes with the others fixed, trial by trial: percentage points and 95 % intervals."""
    settings = {"trunk": list(TRUNKS.names), "weights": list(WEIGHTS), "loss": list(LOSSES.names)}
    lines = []
    for name, one, other in CONTRASTS:
        rest = {key: values for key, values in settings.items() if key != name}
        for values in product(*rest.values()):
            fixed = dict(zip(rest, values, strict=True))
            differences = [
                table.sample(quantity, **fixed, **{name: one}) - table.sample(quantity, **fixed, **{name: other})
                for quantity in ("student_accuracy", "student_agreement")
            ]
            cells = [with_interval(interval(difference)) for difference in differences]
            lines.append([f"{one} - {other}", ", ".join(values), *cells])
    headers = ["difference", "of", "accuracy", "agreement"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def tables(records: Records, preset: Preset) -> str:
    """Both tables."""
    table = study_table(records, "transfer", preset)
    return f"{conditions_table(table)}\n\n{contrasts_table(table)}\n"


if __name__ == "__main__":
    parser = Parser(description="Transfer: every condition, and what each setting changes, from records (results).")
    parser.add_argument("--preset", choices=get_args(Preset), default="short", help="which runs (short)")
    sys.exit(print_page(parser, lambda records, options: tables(records, options.preset)))
