"""`python -m analysis.generations`: the study `generations`, and how well each last network agrees with the first."""

import sys
from typing import get_args

import numpy as np
from tabulate import tabulate

from analysis.formats import percent, plain
from analysis.source import print_page
from analysis.statistics.intervals import interval
from analysis.statistics.sample import Sample
from analysis.tables import StudyTable, study_table
from repro.experiments.generations import CHAINS
from repro.experiments.study import Preset
from repro.records import Records
from repro.usage.options import Parser


def with_the_first(table: StudyTable, records: Records, chain: str) -> Sample:
    """The test agreement of a chain's last network with its first one, trial by trial."""
    trials, values = [], []
    rows = table.rows[table.rows["chain"] == chain]
    for trial in sorted(rows["trial"]):
        (last,) = rows.loc[rows["trial"] == trial, "run_id"]
        first = last
        while records.has(first) and (teachers := records.record(first).teachers):
            first = teachers[0]
        ours, theirs = records.predictions(last), records.predictions(first)
        if ours is not None and theirs is not None:
            trials.append(int(trial))
            values.append(float((ours.top_class == theirs.top_class).mean()))
    return Sample(tuple(trials), np.array(values), None)


def generations_table(records: Records, preset: Preset) -> str:
    """A line for each chain that has runs, as Markdown."""
    table = study_table(records, "generations", preset)
    columns = {
        "teacher's accuracy %": ("teacher_accuracy", percent),
        "accuracy %": ("student_accuracy", percent),
        "agreement %": ("student_agreement", percent),
        "control %": ("control_agreement", percent),
        "KL": ("student_kl", plain),
    }
    lines = []
    for chain, widths in CHAINS.items():
        if table.rows.empty or not (table.rows["chain"] == chain).any():
            continue
        cells = [write(interval(table.sample(quantity, chain=chain))) for quantity, write in columns.values()]
        first = percent(interval(with_the_first(table, records, chain)))
        lines.append([chain, " → ".join(f"{width}×" for width in widths), *cells, first])
    headers = ["chain", "widths", *columns, "agreement with the first %"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    parser = Parser(description="Born-again generations and assistants, from records (results).")
    parser.add_argument("--preset", choices=get_args(Preset), default="short", help="which runs (short)")
    sys.exit(print_page(parser, lambda records, options: generations_table(records, options.preset) + "\n"))
