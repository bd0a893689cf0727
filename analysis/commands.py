"""What the commands that only read records do. Options come parsed from `repro.cli`."""

import argparse

from analysis.catalogue import MODULES, find_figure
from analysis.compare import compare_runs
from analysis.figure import StudyTables, draw_figure, drawable_presets
from analysis.report import write_report
from analysis.source import records_of
from repro import progress
from repro.errors import BadInput


def figures(options: argparse.Namespace) -> None:
    """`repro figures [NAME ...]`"""
    wanted = [find_figure(name) for name in (MODULES if options.names == ["all"] else options.names)]
    tables = StudyTables(records_of(options))
    if not tables.records.ids():
        raise BadInput(f"{tables.records.name}: holds no finished run; `repro demo` or `repro launch` makes some")
    for figure in wanted:
        if options.names == ["all"] and not drawable_presets(figure, tables):
            progress.for_this_output().say(f"figure {figure.name}: not run; {figure.commands('paper')[0]}")
            continue
        for path in draw_figure(figure, tables, options.out):
            print(path)


def report(options: argparse.Namespace) -> None:
    """`repro report`"""
    for path in write_report(records_of(options), options.out):
        print(path)


def compare(options: argparse.Namespace) -> None:
    """`repro compare RUN RUN`"""
    print(compare_runs(records_of(options), options.one, options.other))
