"""The commands that only read records. `repro.cli` parses their options."""

import argparse

from tqdm import tqdm

from analysis.changes import Changes
from analysis.compare import compare_runs
from analysis.figure import draw_figure, drawable_presets, file_stem
from analysis.figures import NAMES, find_figure
from analysis.report import write_report
from analysis.source import records_of
from analysis.tables import StudyTables
from repro import progress
from repro.atomic import make_folder
from repro.errors import BadInput
from repro.launch.plan import parents_first
from repro.launch.sweep import parse_settings, read_sweep
from repro.records import disagreements, write_export


def figures(options: argparse.Namespace) -> None:
    """`repro figures [NAME ...] [key=value ...]`"""
    names = [text for text in options.settings if "=" not in text]
    changes = Changes.parse([text for text in options.settings if "=" in text])
    every = names in ([], ["all"])
    wanted = [find_figure(name) for name in (NAMES if every else names)]
    tables = StudyTables(records_of(options), changes)
    if not tables.records.ids():
        raise BadInput(f"{tables.records.name}: holds no finished run; `repro demo` or `repro launch` makes some")
    tables.check([figure.sweeps for figure in wanted])
    make_folder(options.out, "--out")
    for figure in wanted:
        if every and not drawable_presets(figure, tables):
            why = tables.refusal(figure.sweeps) or " and ".join(figure.few_commands(tables))
            progress.for_this_output().say(f"{file_stem(figure.name).replace('_', ' ')}: not run; {why}")
            continue
        for path in draw_figure(figure, tables, options.out):
            print(path)


def report(options: argparse.Namespace) -> None:
    """`repro report [key=value ...]`"""
    changes = Changes.parse(options.settings)
    make_folder(options.out, "--out")
    records = records_of(options)
    if not records.ids():
        progress.for_this_output().say(
            f"warning: {records.name}: holds no finished run, so the report shows everything as not run"
        )
    for path in write_report(records, options.out, changes):
        print(path)


def compare(options: argparse.Namespace) -> None:
    """`repro compare RUN RUN`"""
    print(compare_runs(records_of(options), options.one, options.other))


def export(options: argparse.Namespace) -> None:
    """`repro export [SWEEP.yaml] --out FILE`"""
    if options.out.suffix != ".npz":
        raise BadInput(f"{options.out}: an export is an .npz file, for example {options.out.with_suffix('.npz')}")
    records = records_of(options)
    if options.sweep is not None:
        plan = parents_first(read_sweep(options.sweep, parse_settings(options.settings)))
        wanted = [(request.config.run_id, request.label) for request in plan]
    else:
        wanted = [(run_id, "") for run_id in records.ids()]
    if not any(records.has(run_id) for run_id, _ in wanted):
        asked = f" of {options.sweep}" if options.sweep is not None else ""
        raise BadInput(f"{records.name}: holds no finished run{asked}; see --runs")
    ids = {run_id for run_id, _ in wanted}
    if first := next((one for one in disagreements(records) if one.run_id in ids), None):
        run = f"run {first.run_id} ({first.metric} by {first.difference:+.2g})"
        problem = f"{first.first} and {first.other} disagree about {run}, and one file holds one copy"
        raise BadInput(f"{records.name}: {problem}: export them separately")
    make_folder(options.out.parent, "--out")
    with tqdm(total=len(wanted), unit="run", disable=None, leave=False) as bar:
        count = write_export(records, wanted, options.out, bar.update, examples=not options.without_examples)
    print(f"{options.out}: {count} of {len(wanted)} runs, {options.out.stat().st_size / 1000:,.0f} kB")
