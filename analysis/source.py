"""The records that a command of the analysis reads, and what has to be said of them."""

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from repro import progress
from repro.cli import exit_code
from repro.records import Disagreement, Records, disagreements, open_records
from repro.tracking.commands import records_folder
from repro.usage.options import Parser, source_option

COMMITTED = Path("results")
MOST_NAMED = 4
"""So many runs a warning names."""


def records_of(options: argparse.Namespace) -> Records:
    """What `--source` and `--runs` say; on stderr a line for every two exports that disagree about runs."""
    records = open_records(records_folder(options))
    for line in warnings(disagreements(records)):
        progress.for_this_output().say(line)
    return records


def print_page(
    parser: Parser, make: Callable[[Records, argparse.Namespace], str], arguments: Sequence[str] | None = None
) -> int:
    """The command line of a script that prints what it makes of records, by default the committed ones; exit code."""
    source_option(parser)
    parser.set_defaults(runs=COMMITTED)

    def work() -> None:
        options = parser.parse_args(arguments)
        print(make(records_of(options), options), end="")

    return exit_code(work)


def warnings(found: Sequence[Disagreement]) -> list[str]:
    """A line for every two files that disagree: which, about which runs, and whose numbers are shown."""
    lines = []
    for (first, other), group in itertools.groupby(
        sorted(found, key=lambda one: (one.first, one.other)), key=lambda one: (one.first, one.other)
    ):
        runs = [f"{one.run_id} ({one.metric} by {one.difference:+.2g})" for one in group]
        named = ", ".join(runs[:MOST_NAMED]) + (f" and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED else "")
        count = progress.counted(len(runs), "run")
        lines.append(f"warning: {other} disagrees with {first}, whose numbers count, about {count}: {named}")
    return lines
