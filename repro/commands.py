"""What each command does. Options come parsed from `repro.cli`; output for people goes to stdout as tables."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from repro import progress
from repro.data.prepare import prepare, prepared_datasets
from repro.errors import BadInput
from repro.experiments.study import find_study
from repro.launch.local import run_here, run_side_by_side
from repro.launch.plan import Request, count_work, parents_first
from repro.launch.sweep import parse_settings, read_sweep, request_run
from repro.records import RunFolder, open_records, write_export
from repro.runner import Runner, StopRequest
from repro.status import status_row, status_table
from repro.store import RunDirectory, Store
from repro.surface import make_surface
from repro.training.hardware import choose_device, keep_freed_memory


def demo(options: argparse.Namespace) -> None:
    """`repro demo`"""
    from repro.demo import run_demo

    run_demo(options.out)


def data_list(options: argparse.Namespace) -> None:
    """`repro data list`"""
    rows = []
    for name, dataset in prepared_datasets().items():
        path = dataset.file(options.data)
        try:
            state = dataset.model_validate({}).fingerprint(options.data)
        except BadInput:
            state = "damaged" if path.exists() else "not prepared"
        shape = "x".join(map(str, dataset.shape))
        size = f"{path.stat().st_size / 1e6:.0f} MB" if path.exists() else ""
        rows.append([name, dataset.num_classes, shape, state, size])
    rows.append(["digits", 10, "1x28x28", "embedded", ""])
    print(f"prepared data in {options.data}\n")
    print(tabulate(rows, headers=["name", "classes", "image", "fingerprint", "file"]))


def data_prepare(options: argparse.Namespace) -> None:
    """`repro data prepare NAME`"""
    path = prepare(options.name, options.data, progress.for_this_output().say)
    print(path)


def run(options: argparse.Namespace) -> None:
    """`repro run STUDY`"""
    request = request_run(find_study(Path(options.study).stem), parse_settings(options.settings))
    plan = parents_first([request])
    _check_data(plan, options.data)
    runner = _runner(options)
    missing = _missing(plan, runner.store)
    if len(missing) > 1:
        runner.progress.say(f"{request.label}: trains {len(missing) - 1} missing parent(s) first")
    with runner.stop.listening():
        run_here(plan, runner)
    record = runner.store.run(request.config.run_id)
    if not missing:
        runner.progress.say(f"{request.label}: already done, nothing to train")
    metrics = record.read_json("summary.json")["metrics"]
    print(tabulate(sorted(metrics.items()), headers=["metric", request.label], floatfmt=".4f"))
    print(f"\nrecord: {record.path}")


def launch(options: argparse.Namespace) -> None:
    """`repro launch SWEEP.yaml`"""
    requests = read_sweep(options.sweep, parse_settings(options.settings))
    plan = parents_first(requests)
    if options.dry_run:
        store = Store(options.runs)
        print(status_table([status_row(r.label, store.run(r.config.run_id)) for r in plan]))
        print(count_work(plan))
        return
    _check_data(plan, options.data)
    runner = _runner(options)
    missing = _missing(plan, runner.store)
    runner.progress.say(f"{options.sweep}: {len(plan)} runs, {len(plan) - len(missing)} done, {len(missing)} to make")
    if options.workers == 1:
        with runner.stop.listening():
            run_here(plan, runner)
    else:
        run_side_by_side(plan, runner, options.device, options.workers)


def status(options: argparse.Namespace) -> None:
    """`repro status [SWEEP.yaml]`"""
    store = Store(options.runs)
    if options.sweep is not None:
        requests = read_sweep(options.sweep, parse_settings(options.settings))
        plan: Sequence[tuple[str, RunDirectory]] = [
            (request.label, store.run(request.config.run_id)) for request in parents_first(requests)
        ]
    else:
        plan = [("", record) for record in store.runs()]
    rows = [status_row(label, record) for label, record in plan]
    print(json.dumps(rows, indent=1) if options.json else status_table(rows))


def figures(options: argparse.Namespace) -> None:
    """`repro figures [NAME ...]`"""
    from analysis.catalogue import MODULES, find_figure
    from analysis.figure import StudyTables, draw_figure, drawable_presets

    wanted = [find_figure(name) for name in (MODULES if options.names == ["all"] else options.names)]
    tables = StudyTables(open_records(options.runs))
    if not tables.records.ids():
        raise BadInput(f"{options.runs}: holds no finished run; `repro demo` or `repro launch` makes some")
    for figure in wanted:
        if options.names == ["all"] and not drawable_presets(figure, tables):
            progress.for_this_output().say(f"figure {figure.name}: not run; {figure.commands('paper')[0]}")
            continue
        for path in draw_figure(figure, tables, options.out):
            print(path)


def surface(options: argparse.Namespace) -> None:
    """`repro surface STUDY`"""
    request = request_run(find_study(Path(options.study).stem), parse_settings(options.settings))
    path = make_surface(_runner(options), request.config, request.label, options.points, options.images)
    anchors = json.loads(path.read_text())["anchors"]
    rows = [{"network": name.replace("_", ", ")} | values for name, values in anchors.items()]
    print(tabulate(rows, headers="keys", floatfmt=".4f"))
    print(f"\nsurface: {path}")


def report(options: argparse.Namespace) -> None:
    """`repro report`"""
    from analysis.report import write_report

    for path in write_report(open_records(options.runs), options.out):
        print(path)


def compare(options: argparse.Namespace) -> None:
    """`repro compare RUN RUN`"""
    from analysis.compare import compare_runs

    print(compare_runs(open_records(options.runs), options.one, options.other))


def export(options: argparse.Namespace) -> None:
    """`repro export [SWEEP.yaml] --out FILE`"""
    if options.out.suffix != ".npz":
        raise BadInput(f"{options.out}: an export is an .npz file, for example {options.out.with_suffix('.npz')}")
    folder = RunFolder(Store(options.runs))
    if options.sweep is not None:
        plan = parents_first(read_sweep(options.sweep, parse_settings(options.settings)))
        wanted = [(request.config.run_id, request.label) for request in plan]
    else:
        wanted = [(run_id, "") for run_id in folder.ids()]
    with tqdm(total=len(wanted), unit="run", disable=None, leave=False) as bar:
        count = write_export(folder, wanted, options.out, on_run=bar.update)
    print(f"{options.out}: {count} of {len(wanted)} runs, {options.out.stat().st_size / 1000:,.0f} kB")


def bench(options: argparse.Namespace) -> None:
    """`repro bench [NAME ...]`"""
    from repro.bench import run_benches

    print(run_benches(options.names, as_json=options.json, say=progress.for_this_output().say))


def _runner(options: argparse.Namespace) -> Runner:
    keep_freed_memory()
    device = choose_device(options.device)
    return Runner(Store(options.runs), options.data, device, progress.for_this_output(), StopRequest())


def _check_data(plan: Sequence[Request], directory: Path) -> None:
    """Raise BadInput if a data set that any of the runs reads is not there: before the first of them starts."""
    for dataset in sorted({d for request in plan for d in request.config.data.datasets}, key=lambda d: d.name):
        dataset.fingerprint(directory)


def _missing(plan: Sequence[Request], store: Store) -> list[Request]:
    return [request for request in plan if not store.run(request.config.run_id).is_done()]
