"""The records that an analysis command reads, and warnings about them."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from repro import progress
from repro.cli import exit_code
from repro.records import Disagreement, Records, disagreements, left_out, open_records
from repro.tracking.commands import records_folder
from repro.usage.options import Parser, source_option

COMMITTED = Path("results")
MOST_NAMED = 4
"""The most runs that a warning names."""


def records_of(options: argparse.Namespace) -> Records:
    """The records that `--source` and `--runs` select.

    Warns on stderr about every export that others disagree with, and about runs of parts that this suite does not have.
    """
    records = open_records(records_folder(options))
    if unknown := left_out(records):
        runs = progress.counted(len(unknown), "run")
        progress.for_this_output().say(f"warning: left out {runs} that this suite cannot read: {min(unknown.values())}")
    for line in warnings(disagreements(records)):
        progress.for_this_output().say(line)
    return records


def print_page(
    parser: Parser, make: Callable[[Records, argparse.Namespace], str], arguments: Sequence[str] | None = None
) -> int:
    """Run a script that prints what it makes of records, by default the committed ones. Returns the exit code."""
    source_option(parser)
    parser.set_defaults(runs=COMMITTED)

    def work() -> None:
        options = parser.parse_args(arguments)
        print(make(records_of(options), options), end="")

    return exit_code(work)


def warnings(found: Sequence[Disagreement]) -> list[str]:
    """A line for every file whose copies count: which others disagree with it, about which runs and by how much."""
    lines = []
    for first in dict.fromkeys(one.first for one in found):
        here = [one for one in found if one.first == first]
        files = " and ".join(dict.fromkeys(one.other for one in here))
        largest = {one.run_id: one for one in sorted(here, key=lambda one: abs(one.difference))}
        runs = [f"{one.run_id} ({one.metric} by {one.difference:+.2g})" for one in reversed(largest.values())]
        named = ", ".join(runs[:MOST_NAMED]) + (f" and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED else "")
        count = progress.counted(len(runs), "run")
        lines.append(f"warning: other results than in {first}, which counts, are in {files} for {count}: {named}")
    return lines
